"""Every graph of a repository, read by TensorRT-RTX, which needs no GPU for it.

A graph that it reads has operators, types and shapes that TensorRT knows. It says nothing of
numerics or speed, and Triton does not load what it builds. Reading ends at the first operator that
is not there. What it cannot do and TensorRT can is listed here; any other failure is a defect.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwise_export.checkpoints.network import Report
from boxwise_export.repository.manifest import find_manifest
from boxwise_export.tensorrt.build import graphs_of, profile_of
from boxwise_export.tensorrt.engine import EngineError, build, make_log, parse

# A pattern of what TensorRT-RTX says -> why it is no fault of the graph.
KNOWN_LIMITS = {
    r"NonMaxSuppression": "TensorRT-RTX has no NonMaxSuppression; TensorRT has (slow from 10.0 to "
    "10.6)",
    r"NonZero": "TensorRT-RTX has no NonZero; TensorRT has, as a layer of its own",
    r"RoiAlign": "TensorRT-RTX reads RoiAlign only where there is a GPU",
    r"antialias": "Resize with antialias is in neither",
}


@dataclass(frozen=True)
class Checked:
    """A graph: `problem` is None where it was read, `known` says why a problem is none of the
    graph's.
    """

    model: str
    problem: str | None = None
    known: str | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong with the graph."""
        return self.problem is None or self.known is not None


def load_rtx() -> Any:
    """TensorRT-RTX.

    Raises:
        EngineError: it is not installed.
    """
    try:
        return importlib.import_module("tensorrt_rtx")
    except ImportError as error:
        raise EngineError(
            f"TensorRT-RTX is not here ({error}); it needs no GPU: pip install "
            '"boxwise[export,trt-check]"'
        ) from error


def check_graphs(
    repository: Path,
    pipeline: str | None,
    trt: Any,
    *,
    capability: str | None = None,
    report: Report = lambda _: None,
) -> list[Checked]:
    """Read every graph of the served revision, and build it too where a compute capability is
    named.

    Args:
        repository: what `boxwise export` wrote.
        pipeline: which, where the repository has several.
        trt: tensorrt_rtx.
        capability: as "8.9"; one that TensorRT-RTX can build for.
        report: told each step.

    Raises:
        ExportError: no such pipeline, or a capability that TensorRT-RTX does not know.
    """
    revision = find_manifest(repository, pipeline).revision()
    configure = for_capability(trt, capability) if capability else None
    checked = []
    for model, graph in graphs_of(repository, revision).items():
        report(f"{model}: {'building' if capability else 'reading'}")
        try:
            _check(trt, graph, configure, report)
        except EngineError as error:
            checked.append(Checked(model, str(error), _known(error.said)))
        else:
            checked.append(Checked(model))
    return checked


def for_capability(trt: Any, capability: str) -> Callable[[Any], None]:
    """What makes a builder of TensorRT-RTX build for such a GPU, wherever it runs.

    Raises:
        EngineError: it cannot; says which it can.
    """
    name = f"SM{capability.replace('.', '')}"
    known = [each for each in dir(trt.ComputeCapability) if each.startswith("SM")]
    if name not in known:
        names = ", ".join(f"{each[2:-1]}.{each[-1]}" for each in known)
        raise EngineError(
            f"--capability: {capability!r} is not known to TensorRT-RTX; expected one of {names}"
        )

    def configure(config: Any) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)

    return configure


def _known(said: Sequence[str]) -> str | None:
    """Why none of the errors is the graph's own; None where one is."""
    reasons = [
        next((why for limit, why in KNOWN_LIMITS.items() if re.search(limit, each)), None)
        for each in said
    ]
    known = dict.fromkeys(why for why in reasons if why is not None)
    return "; ".join(known) if reasons and None not in reasons else None


def _check(trt: Any, graph: Path, configure: Callable[[Any], None] | None, report: Report) -> None:
    if configure is not None:
        build(trt, graph, profile_of(graph), report=report, configure=configure)
        return
    log = make_log(trt)
    parse(trt, trt.Builder(log), graph, log)

"""A checkpoint, read and run once: what its input is, whether it takes batches,
and what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.checkpoints import Source, read_source
from boxwise_export.errors import PipelineError
from boxwise_export.graphs.batch import with_dynamic_batch
from boxwise_export.graphs.source import SourceInput, probe, read_input
from boxwise_export.pipeline import Weights

Report = Callable[[str], None]


@dataclass(frozen=True)
class Network:
    """A source's graph, ready to be wrapped.

    Attributes:
        source: what was read; its own graph is gone, and `model` in its place.
        model: its graph, of any batch where it can have one.
        input: the graph's; its batch is None (any) or 1.
        height: of the images, pixels.
        width: of the same.
        outputs: name -> what it gave for one image of noise, float32.
        alone: why the graph takes one image at a time; None where it takes any number.
    """

    source: Source
    model: onnx.ModelProto
    input: SourceInput
    height: int
    width: int
    outputs: Mapping[str, NDArray[np.float32]]
    alone: str | None


def read_network(
    weights: Weights, size: tuple[int, int] | None, key: str, size_key: str, report: Report
) -> Network:
    """Read a checkpoint, settle its size, open its batch and run it.

    Args:
        weights: from the pipeline file.
        size: height and width that the file asks for.
        key: of the detector or classifier in the file, for errors.
        size_key: where the file would say the size.
        report: told why the graph takes one image at a time, where it does.

    Raises:
        ExportError: the checkpoint cannot be read or run, or its size is not the one asked for.
    """
    source = read_source(weights, f"{key}.weights", size)
    graph = read_input(source.model)
    height, width = _settle_size(graph, size or source.preprocessing.size, size_key)
    model, alone = source.model, None
    opened = with_dynamic_batch(model, graph, height, width)
    if isinstance(opened, str):
        alone = opened
        report(f"  one image at a time: {alone}")
    else:
        model = opened
    graph = replace(read_input(model), batch=1 if alone else None)
    source = replace(source, model=onnx.ModelProto())  # its memory: once is enough
    return Network(source, model, graph, height, width, probe(model, graph, height, width), alone)


def _settle_size(graph: SourceInput, asked: tuple[int, int] | None, key: str) -> tuple[int, int]:
    """Height and width: the graph's own where it has them, which the pipeline file must not
    contradict.
    """
    if graph.height is not None and graph.width is not None:
        fixed = (graph.height, graph.width)
        if asked is not None and asked != fixed:
            raise PipelineError(
                f"{key}: {list(asked)}, but the graph takes {list(fixed)}; leave it out or "
                "correct it"
            )
        return fixed
    if asked is None:
        raise PipelineError(
            f"{key}: the graph takes images of any size; say which it was trained on"
        )
    return asked

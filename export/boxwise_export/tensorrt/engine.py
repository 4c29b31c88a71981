"""One ONNX graph becomes one serialised engine.

Networks are strongly typed: what is computed in which precision stands in the graph (fp16, or Q/DQ
for int8), as TensorRT 11 alone allows and TensorRT 10 does too. Names of TensorRT are those that
10.12 to 11.4 share; the tests hold every one of them against both APIs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwise_export.checkpoints.network import Report
from boxwise_export.errors import ExportError

WORKSPACE = 2 << 30  # bytes of scratch memory that the builder may try tactics with
_MOST_BEST = 8


class EngineError(ExportError):
    """A plan that cannot be built; its text names the graph, what TensorRT said, and the fix.

    Args:
        message: the text.
        said: what TensorRT said, error by error.
    """

    def __init__(self, message: str, said: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.said = tuple(said)


@dataclass(frozen=True)
class Profile:
    """The shapes that an engine takes: one image or crop up to `most`, fastest at `best`.

    Attributes:
        input: its name.
        dims: height, width, channels.
        most: the largest batch.
    """

    input: str
    dims: tuple[int, ...]
    most: int

    @property
    def best(self) -> int:
        """What is tuned for: what dynamic batching, or the boxes of an image or two,
        usually fill.
        """
        return min(self.most, _MOST_BEST)


@dataclass(frozen=True)
class Built:
    """A serialised engine, and the timings that the next build can start from."""

    plan: bytes
    timings: bytes


def parse(trt: Any, builder: Any, graph: Path, log: Any) -> Any:
    """Read a graph into a network of TensorRT.

    Raises:
        EngineError: with every error of the parser, one after the other.
    """
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        said = [_sentence(parser.get_error(index)) for index in range(parser.num_errors)]
        title = f"{graph.parent.parent.name}: TensorRT {trt.__version__} cannot read its graph"
        raise EngineError(f"{title}: {'; '.join(said)}", said)
    return network


def build(
    trt: Any,
    graph: Path,
    profile: Profile,
    *,
    timings: bytes = b"",
    workspace: int = WORKSPACE,
    report: Report = lambda _: None,
    configure: Callable[[Any], None] = lambda _: None,
) -> Built:
    """Build an engine for the GPU of this machine.

    Args:
        trt: the module: tensorrt, or tensorrt_rtx.
        graph: a model.onnx of a repository; its folder's folder has the model's name.
        profile: the shapes.
        timings: the timing cache of earlier builds on such a GPU.
        workspace: bytes of GPU memory that the builder may use beside weights and tensors.
        report: told each phase of the build.
        configure: the last word on the builder's configuration.

    Raises:
        EngineError: TensorRT cannot read the graph or build it; says what TensorRT said.
    """
    log = make_log(trt)
    builder = trt.Builder(log)
    network = parse(trt, builder, graph, log)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32; who wants speed exports in fp16
    shapes = [(batch, *profile.dims) for batch in (1, profile.best, profile.most)]
    optimization = builder.create_optimization_profile()
    optimization.set_shape(profile.input, *shapes)
    config.add_optimization_profile(optimization)
    cache = config.create_timing_cache(timings)
    config.set_timing_cache(cache, ignore_mismatch=False)
    monitor = _make_monitor(trt, graph.parent.parent.name, report)
    config.progress_monitor = monitor
    configure(config)
    with _interruptible(monitor):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        said = log.errors or ["it gives no reason"]
        title = f"{graph.parent.parent.name}: TensorRT {trt.__version__} cannot build it"
        raise EngineError(f"{title}: {'; '.join(said)}", said)
    return Built(bytes(plan), bytes(config.get_timing_cache().serialize()))


def make_log(trt: Any) -> Any:
    """A logger that keeps the errors, in `errors`, and says nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


def _make_monitor(trt: Any, title: str, report: Report) -> Any:
    """Reports the outermost phases, and stops the build at the next step after Ctrl-C.

    TensorRT calls it from C++, which knows nothing of Python's exceptions.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False  # set by the handler that `_interruptible` puts in place

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                report(f"  {title}: {phase_name}, {num_steps} steps")

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002
            return not self.interrupted

    return Monitor()


@contextmanager
def _interruptible(monitor: Any) -> Iterator[None]:
    """Ctrl-C ends the build at its next step, and arrives here when it has."""

    def interrupt(_signal: int, _frame: object) -> None:
        monitor.interrupted = True

    if threading.current_thread() is not threading.main_thread():  # signals are not ours there
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if monitor.interrupted:
        raise KeyboardInterrupt


def _sentence(error: Any) -> str:
    """One error of the parser, as "Resize node_12: what it says"."""
    node = f"{error.node_operator()} {error.node_name()}: " if error.node_operator() else ""
    return node + " ".join(error.desc().split())

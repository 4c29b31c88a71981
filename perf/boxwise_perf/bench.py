"""A test bench: servers, the load generator, and the GPUs that it watches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

from boxwise import Client
from boxwise_perf.endpoint import Endpoint, served
from boxwise_perf.generator import TIMEOUT_S, Generator
from boxwise_perf.images import Workload
from boxwise_perf.load import Load
from boxwise_perf.result import LoadTarget, Trial
from boxwise_perf.trial import Plan, measure
from boxwise_perf.triton_statistics import TritonStatistics
from boxwise_perf.usage import Gpus


class Bench(AbstractContextManager["Bench"]):
    """Servers and the process that loads them. All of them stop at the end of the block.

    Args:
        workload: what the generator sends.
        timeout_s: deadline of a request.
        report: called with a line before each start and each trial.
    """

    def __init__(
        self,
        workload: Workload,
        timeout_s: float = TIMEOUT_S,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._workload, self._timeout_s, self._report = workload, timeout_s, report
        self._stack = ExitStack()
        self._gpus = Gpus()
        self.generator = self._stack.enter_context(Generator(workload.requests, timeout_s))

    def add(
        self, repository: Path | None, url: str | None, pipeline: str | None
    ) -> tuple[Endpoint, LoadTarget]:
        """Serve a repository, or connect to `url`; return the server and its entry in a result.

        If the workload sets the number of boxes, the networks of the repository are replaced by
        ones that return constants.

        Raises:
            LaunchError, AmbiguousPipeline: see `endpoint.served`.
            BoxwiseError: the server does not respond, or does not have the pipeline.
        """
        source = repository
        if repository and self._workload.most_boxes is not None:
            source = self._with_constant_networks(repository, self._workload.most_boxes)
        endpoint = self._stack.enter_context(served(source, url, pipeline, self._report))
        with Client(endpoint.url, pipeline=endpoint.pipeline, timeout_s=self._timeout_s) as client:
            digests = {name: str(digest) for name, digest in client.info().digests.items()}
        name = str(repository) if repository else None
        return endpoint, LoadTarget(endpoint.pipeline, name, url, digests)

    def trial(self, endpoint: Endpoint, load: Load, plan: Plan) -> Trial:
        """Measure one load. Raises LoadError if no request succeeds."""
        self._report(f"{load}: {plan.warm_up_s:g} s of warm-up, {plan.seconds:g} s measured")
        with TritonStatistics(endpoint.url, endpoint.pipeline, endpoint.metrics) as statistics:
            return measure(self.generator, statistics, endpoint, load, plan, self._gpus)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _with_constant_networks(self, repository: Path, objects: int) -> Path:
        from boxwise_perf.null import nullify  # needs onnx, which `perf` does not install

        folder = tempfile.TemporaryDirectory(prefix="boxwise-null-")
        copy = Path(self._stack.enter_context(folder), "repository")
        nullify(repository, copy, objects=max(1, objects))
        return copy

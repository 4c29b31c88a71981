"""Arrangements, served: each in a repository and a Triton of its own,
two of them loaded in turn.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_perf.compare import IMAGES_APART, interleave, ratio
from boxwise_perf.generator import Generator, Job
from boxwise_perf.load import Closed
from boxwise_perf.stats import Estimate
from boxwise_perf.tune import HOPELESS, LEAST_PAIRS, Objective
from boxwise_runtime.launcher import ServerOptions, TritonProcess

LAST_WORD = 3  # times as many pairs for the comparison at the end


class Tuner(AbstractContextManager["Tuner"]):
    """Runs a candidate beside the best so far; both are up, one at a time is loaded.

    Args:
        repository: what is tuned; it is copied, not changed.
        pipeline: which of it.
        generator: of the load.
        objective: what a block is judged by.
        options: of a server for a repository.
        pairs: of blocks for each candidate.
        block_s: seconds of each.
        warm_up_s: seconds of load before the first block of a server.
    """

    def __init__(
        self,
        repository: Path,
        pipeline: str,
        generator: Generator,
        objective: Objective,
        options: Callable[[Path], ServerOptions] = ServerOptions.on_free_ports,
        *,
        pairs: int,
        block_s: float,
        warm_up_s: float,
    ) -> None:
        self._repository, self._pipeline, self._generator, self._objective = (
            repository,
            pipeline,
            generator,
            objective,
        )
        self._pairs, self._block_s, self._warm_up_s, self._options = (
            pairs,
            block_s,
            warm_up_s,
            options,
        )
        self._up: dict[
            str, tuple[ExitStack, str]
        ] = {}  # by the serving: what ends its server, and its address

    def measure(
        self, candidate: ServingConfig, best: ServingConfig, last_word: bool
    ) -> tuple[float, Estimate]:
        """The candidate's score, and its ratio to that of the best so far; see `tune.Measure`.

        Raises:
            LaunchError, LoadError: one of them cannot be served or measured.
        """
        for name in [name for name in self._up if name not in (str(candidate), str(best))]:
            self._up.pop(name)[0].close()
        urls = [self._serve(each) for each in (best, candidate)]

        def score(side: int, number: int) -> float:
            return self._score(urls[side], number)

        pairs = self._pairs * (LAST_WORD if last_word else 1)
        found = interleave(score, min(LEAST_PAIRS, pairs), seed=0)
        if last_word or _ratio(found).value > HOPELESS:
            found += interleave(score, pairs - len(found), seed=1)
        return statistics.median(other for _, other in found), _ratio(found)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the servers and remove the copies."""
        for stack, _ in self._up.values():
            stack.close()

    def _serve(self, serving: ServingConfig) -> str:
        if str(serving) not in self._up:
            with ExitStack() as stack:
                folder = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix="boxwise-tune-")),
                    "repository",
                )
                shutil.copytree(self._repository, folder)
                change_layout(folder, self._pipeline, serving)
                options = self._options(folder)
                stack.enter_context(TritonProcess.start(options))
                for concurrency in self._objective.loads:
                    warm_up = self._warm_up_s / len(self._objective.loads)
                    self._generator.run(
                        Job(options.grpc_url, self._pipeline, Closed(concurrency), warm_up)
                    )
                self._up[str(serving)] = (stack.pop_all(), options.grpc_url)
        return self._up[str(serving)][1]

    def _score(self, url: str, number: int) -> float:
        """One block of every load."""
        seen = {}
        for concurrency in self._objective.loads:
            job = Job(
                url, self._pipeline, Closed(concurrency), self._block_s, first=number * IMAGES_APART
            )
            seen[concurrency] = self._generator.run(job).samples
        return self._objective.score(seen, self._block_s)


def _ratio(pairs: Sequence[tuple[float, float]]) -> Estimate:
    return ratio([one for one, _ in pairs], [other for _, other in pairs])

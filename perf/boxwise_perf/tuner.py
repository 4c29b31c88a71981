"""Candidates of a tuning, served: a repository and a Triton for each, loaded one at a time."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType

from boxwise_export.repository.layouts import stage_folders
from boxwise_export.repository.manifest import Manifest
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import ServingConfig
from boxwise_perf.compare import IMAGES_APART, interleave, ratio
from boxwise_perf.generator import Generator, Job
from boxwise_perf.load import Closed
from boxwise_perf.stats import Estimate
from boxwise_perf.tune import (
    HOPELESS,
    LEAST_PAIRS,
    Objective,
    Tried,
    Tuning,
    climb,
    neighbours_of,
)
from boxwise_runtime.launcher import ServerOptions, TritonProcess
from boxwise_runtime.resources import available
from boxwise_runtime.targets import EMBEDDED, Target

FINAL_FACTOR = 3  # times as many pairs in the final comparison


class Tuner(AbstractContextManager["Tuner"]):
    """Runs a candidate beside the best so far: both are served, one at a time is loaded.

    Args:
        repository: the tuned repository; it is copied, not changed.
        pipeline: the tuned pipeline.
        generator: of the load.
        objective: scores the blocks.
        options: returns the server's options for a repository.
        pairs: of blocks for each candidate.
        block_s: duration of a block in seconds.
        warm_up_s: duration of the warm-up of each server in seconds.
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
        self._repository, self._pipeline = repository, pipeline
        self._generator, self._objective, self._options = generator, objective, options
        self._pairs, self._block_s, self._warm_up_s = pairs, block_s, warm_up_s
        # By configuration: what stops its server, and its URL.
        self._running: dict[str, tuple[ExitStack, str]] = {}

    def search(
        self,
        manifest: Manifest,
        target: Target = EMBEDDED,
        budget_s: float = float("inf"),
        report: Callable[[Tried], None] = lambda _: None,
    ) -> Tuning:
        """Search from the served configuration; see `tune.climb`.

        Args:
            manifest: of the pipeline.
            target: the target that is served.
            budget_s: seconds after which no further candidate starts.
            report: called after each candidate.

        Raises:
            LaunchError, LoadError: a candidate cannot be served or measured.
        """
        models = manifest.revision().models
        stages = stage_folders(self._repository, self._pipeline, models)
        neighbours = neighbours_of(
            [stage for stage in stages if stage != "info"], available().cores, target
        )
        return climb(
            served_now(manifest),
            neighbours,
            self.measure,
            objective=str(self._objective),
            until=time.monotonic() + budget_s,
            report=report,
        )

    def measure(
        self, candidate: ServingConfig, best: ServingConfig, final: bool
    ) -> tuple[float, Estimate]:
        """Return the candidate's score, and its ratio to that of the best; see `tune.Measure`.

        Raises:
            LaunchError, LoadError: one of them cannot be served or measured.
        """
        for name in [name for name in self._running if name not in (str(candidate), str(best))]:
            self._running.pop(name)[0].close()
        urls = [self._serve(each) for each in (best, candidate)]

        def score(side: int, number: int) -> float:
            return self._score(urls[side], number)

        pairs = self._pairs * (FINAL_FACTOR if final else 1)
        found = interleave(score, min(LEAST_PAIRS, pairs), seed=0)
        if final or _ratio(found).value > HOPELESS:
            found += interleave(score, pairs - len(found), seed=1)
        return statistics.median(other for _, other in found), _ratio(found)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the servers and remove the copies."""
        for stack, _ in self._running.values():
            stack.close()

    def _serve(self, serving: ServingConfig) -> str:
        if str(serving) not in self._running:
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
                self._running[str(serving)] = (stack.pop_all(), options.grpc_url)
        return self._running[str(serving)][1]

    def _score(self, url: str, number: int) -> float:
        """Measure one block at every load."""
        samples = {}
        for concurrency in self._objective.loads:
            job = Job(
                url, self._pipeline, Closed(concurrency), self._block_s, first=number * IMAGES_APART
            )
            samples[concurrency] = self._generator.run(job).samples
        return self._objective.score(samples, self._block_s)


def served_now(manifest: Manifest) -> ServingConfig:
    """Return the served configuration, with the number of instances of each model."""
    serving = manifest.serving()
    return replace(serving, instances=serving.served_instances)


def pipeline_lines(serving: ServingConfig) -> str:
    """Return the lines of a pipeline file that describe a configuration."""
    import yaml

    settings = {key: value for key, value in asdict(serving).items() if value}
    layout = settings.pop("layout")
    settings.pop("max_batch_size", None)  # a key of the detector
    return str(yaml.safe_dump({"layout": layout, "serving": settings}, sort_keys=False)).rstrip()


def _ratio(pairs: Sequence[tuple[float, float]]) -> Estimate:
    return ratio([one for one, _ in pairs], [other for _, other in pairs])

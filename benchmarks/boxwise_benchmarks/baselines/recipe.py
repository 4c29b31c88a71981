"""A pipeline without its repository: fields of its stages and paths of its graphs, as JSON.

From it, the frameworks' servers build the same stages and sessions, in an environment that cannot
read repositories.
"""

from __future__ import annotations

import ctypes
import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from boxwise_runtime.pipeline_runner import PipelineRunner
from boxwise_runtime.session import OnnxGraph

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Let the kernel send SIGINT to this process when its parent dies, even by SIGKILL.

    It is not SIGTERM, on which LitServe ends without its workers.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@dataclass(frozen=True)
class Recipe:
    """The description of a pipeline with one detector and one classifier.

    Attributes:
        pipeline: its name.
        preprocess: fields of `stages.Preprocess`.
        objects: fields of `stages.Suppress`.
        classifier: its name.
        top_k: its number of labels.
        graphs: paths of "detector" and "classifier_<name>".
        instances: processes that run the pipeline, as in the repository.
        threads: of a run of a graph, as in the repository.
        chunk: maximum rows of a run.
    """

    pipeline: str
    preprocess: Mapping[str, Any]
    objects: Mapping[str, Any]
    classifier: str
    top_k: int
    graphs: Mapping[str, str]
    instances: int
    threads: int
    chunk: int

    def runner(self, threads: int | None = None) -> PipelineRunner:
        """Load stages and graphs into this process; OpenCV uses one thread, as when serving."""
        cv2.setNumThreads(1)
        return PipelineRunner.build(
            self.preprocess,
            self.objects,
            {self.classifier: self.top_k},
            lambda name: OnnxGraph(
                Path(self.graphs[name]), threads=threads or self.threads, chunk=self.chunk
            ),
        )

    def write(self, path: Path) -> None:
        """Write the recipe as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Return the recipe that `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

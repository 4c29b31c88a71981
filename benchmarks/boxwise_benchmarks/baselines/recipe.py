"""A pipeline without its repository: the fields of its stages and the paths of its graphs, as one
JSON document.

The frameworks' servers build the same stages and sessions of it in an environment that can read no
repository.
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
    """Have the kernel press Ctrl-C when the benchmark that started this process dies, kill -9
    included.

    On SIGTERM, LitServe ends without its workers.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@dataclass(frozen=True)
class Recipe:
    """What peers need to know of a pipeline with one detector and one classifier.

    Attributes:
        pipeline: its name.
        preprocess: fields of `stages.Preprocess`.
        objects: fields of `stages.Suppress`.
        classifier: the classifier's name.
        top_k: how many labels it gives.
        graphs: paths of "detector" and "classifier_<name>".
        instances: processes that run the pipeline, as the repository has them.
        threads: of each run of a graph, as the repository has them.
        chunk: the most rows of one run.
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
        """The stages and graphs, loaded into this process; OpenCV keeps to one thread, as it does
        when we serve.
        """
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
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """What `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

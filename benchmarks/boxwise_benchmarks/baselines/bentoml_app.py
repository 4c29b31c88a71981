"""The pipeline in BentoML: `python -m boxwise_benchmarks.baselines.bentoml_app RECIPE PORT`, in
.venv-peers.

It follows BentoML's documentation: a class with `@bentoml.service` whose constructor loads and
whose `@bentoml.api` predicts, served by `bentoml serve` with several workers of one thread. The
body is the image file (a positional-only argument). Access log, metrics and usage statistics are
off.
"""

# No `from __future__ import annotations`: BentoML reads the annotations of these methods.
import os
import sys
from pathlib import Path

import bentoml
import numpy as np

from boxwise_benchmarks.baselines.base import Detections
from boxwise_benchmarks.baselines.recipe import Recipe, end_with_parent

# BentoML's workers import this module in new processes, which only the environment reaches.
_RECIPE = "BOXWISE_PEERS_RECIPE"


def main() -> None:
    """Replace this process by `bentoml serve`."""
    end_with_parent()  # stays in force after execve
    recipe, port = sys.argv[1:]
    service = "boxwise_benchmarks.baselines.bentoml_app:Pipeline"
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        service,
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    environment = {**os.environ, _RECIPE: recipe, "BENTOML_DO_NOT_TRACK": "True"}
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
else:
    recipe = Recipe.load(Path(os.environ[_RECIPE]))

    @bentoml.service(
        workers=recipe.instances,
        threads=1,
        metrics={"enabled": False},
        logging={"access": {"enabled": False}},
    )
    class Pipeline:
        """Encoded image in, `Detections` as JSON out."""

        def __init__(self) -> None:
            self._runner = recipe.runner()

        @bentoml.api  # type: ignore[untyped-decorator]
        def predict(self, image: bytes, /) -> bytes:
            """Return the detections in an image."""
            reply = self._runner({"image": np.frombuffer(image, np.uint8)})
            return Detections.from_tensors(reply, recipe.classifier).to_json()

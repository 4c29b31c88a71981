"""The pipeline in LitServe: `python -m boxwise_benchmarks.baselines.litserve_app RECIPE PORT`, in
.venv-peers.

It follows LitServe's documentation: a LitAPI whose `setup` loads and whose `predict` predicts, with
several workers. Its advice for speed is followed: the image file as the body, not base64; one API
server per worker (the default); ZeroMQ between them (`fast_queue`); responses encoded by the
worker.
"""

# No `from __future__ import annotations`: LitServe and FastAPI read the annotations of these
# methods.
import sys
from pathlib import Path
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body, Response

from boxwise_benchmarks.baselines.base import Detections
from boxwise_benchmarks.baselines.recipe import Recipe, end_with_parent


class Pipeline(litserve.LitAPI):  # type: ignore[misc] # only in .venv-peers
    """Encoded image in, `Detections` as JSON out."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load stages and graphs, once per worker."""
        self._runner = self._recipe.runner()

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """Return the body unchanged."""
        return request

    def predict(self, x: bytes) -> Detections:
        """Return the detections in an image."""
        return Detections.from_tensors(
            self._runner({"image": np.frombuffer(x, np.uint8)}), self._recipe.classifier
        )

    def encode_response(self, output: Detections) -> Response:
        """Encode the response here: FastAPI's own encoder visits every number."""
        return Response(output.to_json(), media_type="application/json")


def main() -> None:
    """Serve until stopped."""
    end_with_parent()
    recipe, port = Recipe.load(Path(sys.argv[1])), int(sys.argv[2])
    server = litserve.LitServer(
        Pipeline(recipe),
        accelerator="cpu",
        devices=1,
        workers_per_device=recipe.instances,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()

"""The pipeline in LitServe: `python -m boxwise_benchmarks.baselines.litserve_app RECIPE PORT`, in
.venv-peers.

As its documentation has it: a LitAPI whose `setup` loads and whose `predict` answers, several
workers a device. What its documentation counsels for speed is on: image bytes as the body and not
base64, one API server a worker (the default), ZeroMQ between them (`fast_queue`), a reply that is
written by the worker.
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


class Pipeline(litserve.LitAPI):  # type: ignore[misc] # it is installed in .venv-peers alone
    """Encoded image in, `Detections` as JSON out."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._recipe = recipe

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load stages and graphs, once a worker."""
        self._runner = self._recipe.runner()

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """The body as it is."""
        return request

    def predict(self, x: bytes) -> Detections:
        """Answer."""
        return Detections.from_tensors(
            self._runner({"image": np.frombuffer(x, np.uint8)}), self._recipe.classifier
        )

    def encode_response(self, output: Detections) -> Response:
        """Written here, in the worker: FastAPI's own encoder walks through every number."""
        return Response(output.to_json(), media_type="application/json")


def main() -> None:
    """Serve until told to end."""
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

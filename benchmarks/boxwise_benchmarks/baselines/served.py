"""Ours: the repository in a Triton of its own, called with the SDK."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from boxwise import Client
from boxwise_benchmarks.baselines.base import Detections, Peer
from boxwise_benchmarks.baselines.recipe import Recipe
from boxwise_runtime.launcher import ServerOptions, TritonProcess

OURS = "boxwise"  # prefix of the names of our rows


class Served(Peer):
    """One request per image, by the contract.

    Args:
        repository: exported, in any layout.
        recipe: of its pipeline.
        layout: for the name of its row.
    """

    def __init__(self, repository: Path, recipe: Recipe, layout: str = "") -> None:
        self.name = f"{OURS} {layout}".strip()
        self._repository = repository
        self._recipe = recipe

    def start(self, stack: ExitStack) -> None:
        """Start the server and a client of it."""
        options = ServerOptions.on_free_ports(self._repository)
        stack.enter_context(TritonProcess.start(options))
        self._client = stack.enter_context(Client(options.grpc_url, pipeline=self._recipe.pipeline))

    def call(self, image: bytes) -> Detections:
        """Call the pipeline."""
        result, name = self._client.predict(image), self._recipe.classifier
        return Detections(
            result.xyxy,
            result.confidence,
            result.class_id,
            result.label_ids[name],
            result.label_scores[name],
        )

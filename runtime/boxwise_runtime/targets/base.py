"""What a target is: a way to run a pipeline's networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """One way to run the networks of a pipeline.

    Attributes:
        name: of `--target`, of the chart's `target`, and of the configurations.
        engine: what runs a network.
        backend: Triton's, which a server needs for it.
        instance_kind: of the networks' instances, in the templates.
        config: a network's configuration, a path in its model's folder.
        image: what deploys it, a file of the project.
        in_flight: requests that one instance of the layout `bls` runs concurrently, unless the
            pipeline file gives a number. Where networks share the cores with decoding, more than
            two only queue longer; a GPU works meanwhile (docs/explanation/limits.md).
    """

    name: str
    engine: Literal["onnxruntime", "tensorrt"]
    backend: Literal["python", "onnxruntime", "tensorrt"]
    instance_kind: Literal["KIND_CPU", "KIND_AUTO", "KIND_GPU"]
    config: str
    image: str
    in_flight: int

    @property
    def bundled(self) -> bool:
        """Whether the Triton from pip serves it: that has the Python backend and no other."""
        return self.backend == "python"

    @property
    def joins_networks(self) -> bool:
        """Whether networks run in the processes of their stages, so that the layout `fused` can
        hold them and Triton batches nothing.
        """
        return self.backend == "python"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of tritonserver: which configurations it reads; left out, each model's config.pbtxt."""
        return () if self.config == "config.pbtxt" else (f"--model-config-name={self.name}",)

    def __str__(self) -> str:
        return self.name

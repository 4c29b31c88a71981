"""How a pipeline is laid out, and with how many processes and threads: what its file says and
`perf tune` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from boxwise_runtime.targets import Target

Layout = Literal["ensemble", "bls", "fused"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# Requests of one bls instance at once, by target: one decodes or crops while others wait for a
# network. Where networks have the same cores, more than two are all answered later; a GPU takes its
# time elsewhere (docs/explanation/limits.md).
IN_FLIGHT: Mapping[Target, int] = {"embedded": 2, "onnxruntime": 4, "tensorrt": 4}


@dataclass(frozen=True)
class ServingConfig:
    """A layout, and how many processes and threads each of its models gets; what is left out stays
    as it is.

    Attributes:
        layout: of the models.
        instances: processes, by the stage's name; `fused` and `bls` are stages too.
        threads: of each network's run.
        by_cores: whether both follow the cores of the machine that serves; `instances` and
            `threads` are then those of the machine that exported, and what Triton takes where
            nothing changes them.
        in_flight: requests of one bls instance at once; None: `IN_FLIGHT` of the target that is
            served.
        queue_delay_us: how long a network waits for a batch to fill, microseconds, in the targets
            that batch.
        max_batch_size: of the detector, in the targets that batch.
        max_queue: requests that may wait in each process of a stage, beside those that it works on.
        max_wait_ms: milliseconds that a request may wait there.
        response_cache: whether replies to the same request are remembered.
    """

    layout: Layout = "ensemble"
    instances: Mapping[str, int] = field(default_factory=dict)
    threads: int | None = None
    in_flight: int | None = None
    queue_delay_us: int | None = None
    max_batch_size: int | None = None
    max_queue: int | None = None
    max_wait_ms: int | None = None
    response_cache: bool = False
    by_cores: bool = False

    def describe(self) -> str:
        """The layout, the processes, the threads, what is in flight and what may wait,
        in a line.
        """
        said = ", ".join(f"{count} {stage}" for stage, count in self.instances.items())
        flying = f", {self.in_flight} in flight each" if self.in_flight else ""
        waiting = (
            f"; {self.max_queue} may wait in each, {self.max_wait_ms} ms"
            if self.max_queue is not None
            else ""
        )
        follows = ", by the cores" if self.by_cores else ""
        return f"{self.layout} ({said}; {self.threads} threads{follows}{flying}{waiting})"

"""How a pipeline is served: its layout, its processes and threads, its queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

from boxwise_runtime.request_queue import QueueLimits

Layout = Literal["ensemble", "bls", "fused"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
JOINED = ("bls", "fused")  # the layouts that are one model
QUEUE_DELAY_US = 500  # little against a detector's milliseconds; not measured on a GPU yet
NETWORKS = ("detector", "classifier_")  # how the names of stages begin that run one


@dataclass(frozen=True)
class ServingConfig:
    """The settings of a pipeline file's `layout:` and `serving:`; None for what it leaves out.

    A revision's manifest has it `settled`, with every number.

    Attributes:
        layout: of the models.
        instances: processes, by the stage's name; a joined model has its layout's name. Settled,
            every stage has its number, those inside a joined model too.
        threads: of each network's run.
        in_flight: requests that one `bls` instance runs concurrently; None: the target's own.
        queue_delay_us: how long a network waits for a batch to fill, microseconds, in the targets
            that batch.
        max_batch_size: of the detector, in the targets that batch.
        max_queue: requests that may be queued in each process of a stage, beside those in flight.
        max_wait_ms: milliseconds that a request may be queued.
        response_cache: whether responses to the same request are remembered.
        by_cores: whether processes and threads follow the cores of the machine that serves;
            `instances` and `threads` are then those of the machine that exported.
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

    def settled(
        self, stages: Sequence[str], *, instances: int, threads: int, max_batch_size: int | None
    ) -> ServingConfig:
        """Every number settled, for a pipeline that is exported.

        Args:
            stages: by name, in their order.
            instances: processes of each stage that is worth more than one.
            threads: of each network's run.
            max_batch_size: of the detector; None where there is none.
        """
        usual = ServingConfig(
            instances=default_instances(stages, instances),
            threads=threads,
            queue_delay_us=QUEUE_DELAY_US,
            max_batch_size=max_batch_size,
            **asdict(QueueLimits()),
        )
        return usual.followed_by(self)

    def followed_by(self, change: ServingConfig) -> ServingConfig:
        """The settings after a change; what it leaves open stays as it is here.

        Two numbers belong to the layout: `in_flight`, which left open is the target's, and the
        processes of a joined model, which are then those of the stage that decodes.
        """
        kept = ("threads", "queue_delay_us", "max_batch_size", "max_queue", "max_wait_ms")
        every = {**self.instances, **change.instances}
        instances = {name: count for name, count in every.items() if name not in JOINED}
        if change.layout in JOINED:
            decodes = "preprocess" if "preprocess" in instances else "whole_picture"
            instances[change.layout] = every.get(change.layout, instances[decodes])
        return replace(
            change,
            instances=instances,
            **{key: getattr(self, key) for key in kept if getattr(change, key) is None},
        )

    @property
    def served_instances(self) -> dict[str, int]:
        """The processes of the models that this layout has."""
        begins = {"ensemble": ("",), "bls": ("bls", *NETWORKS), "fused": ("fused",)}[self.layout]
        return {name: count for name, count in self.instances.items() if name.startswith(begins)}

    def describe(self) -> str:
        """The layout, the processes, the threads and the queues, in one line."""
        instances = ", ".join(f"{count} {stage}" for stage, count in self.served_instances.items())
        in_flight = f", {self.in_flight} in flight each" if self.in_flight else ""
        queue = (
            f"; {self.max_queue} may wait in each, {self.max_wait_ms} ms"
            if self.max_queue is not None
            else ""
        )
        follows = ", by the cores" if self.by_cores else ""
        return f"{self.layout} ({instances}; {self.threads} threads{follows}{in_flight}{queue})"


def default_instances(stages: Sequence[str], instances: int) -> dict[str, int]:
    """Processes of every stage: `instances` of those that decode, crop or run a network, one of
    those that only pass numbers on.
    """
    crops = any(stage.startswith("classifier_") for stage in stages)
    light = {"assemble"} if crops else {"assemble", "nms"}
    return {stage: 1 if stage in light else instances for stage in stages}

"""Results of `boxwise perf` to test with, without a server."""

from dataclasses import replace

from boxwise_perf.images import ImageSet
from boxwise_perf.load import Closed, Open
from boxwise_perf.machine import Machine
from boxwise_perf.result import (
    FORMAT,
    Block,
    Columns,
    Comparison,
    Distribution,
    LoadTarget,
    Result,
    Slo,
    Streams,
    Trial,
    Try,
)
from boxwise_perf.stats import Estimate
from boxwise_perf.steady import Steadiness
from boxwise_perf.triton_statistics import Stage
from boxwise_perf.usage import ServerUse


def machine(cores: int = 2) -> Machine:
    return Machine(
        "a CPU", cores, 8, "Linux 6.1", "3.11.7", {"boxwise": "0.1.0", "numpy": "1.26.4"}
    )


def target() -> LoadTarget:
    return LoadTarget("boxwise", "models", None, {"boxwise_detector": "0123456789abcdef"})


def trial(
    load: Closed | Open,
    rate: float = 100.0,
    p99_ms: float = 20.0,
    *,
    failed: dict[str, int] | None = None,
    void: str | None = None,
    growing: bool = False,
) -> Trial:
    distribution = Distribution(5, 5, 5, 5)
    return Trial(
        load=load,
        warm_up_s=1,
        seconds=10,
        seed=0,
        requests=1000,
        failed=failed or {},
        messages=dict.fromkeys(failed or {}, "said so"),
        images_per_s=Estimate(rate, rate * 0.95, rate * 1.05),
        boxes_per_s=Estimate(rate * 5),
        boxes_per_image=distribution,
        latency_ms={
            "p50": Estimate(10, 9, 11),
            "p90": Estimate(15, 14, 16),
            "p99": Estimate(p99_ms, p99_ms * 0.9, None),
            "p99.9": None,
        },
        latency_mean_ms=11,
        send_lag_ms=distribution if isinstance(load, Open) else None,
        streams=Streams(3, 0.0, 3),
        steady=Steadiness(
            not growing, 0.5 if growing else 0.0, 0.0, "latency grew" if growing else ""
        ),
        void=void,
        generator_cpu=0.2,
        stages=(
            Stage("", 1000, 1000, 1, 0, 10, 0, 0.5, 9, 0.5, {1: 1000}),
            Stage("preprocess", 1000, 1000, 1, 0, 4, 1, 0.1, 2.8, 0.1, {1: 1000}),
            Stage("detector", 1000, 500, 2, 8, 5, 1, 0.1, 3.8, 0.1, {1: 250, 3: 250}),
        ),
        server=ServerUse(1.5, 15.0, 480.0),
        gpus=(),
        notes=(),
        samples=Columns((0.0, 1.5), (0.0, 1.5), (0.01, 1.52), (5, 5), ("", "")),
    )


IMAGES = ImageSet("synthetic 40x24, seed 0", 16, (40, 40, 40), (24, 24, 24), 900)
EMPTY = Result(FORMAT, "2026-01-01T00:00:00+00:00", machine(), target(), IMAGES, 0.95)
RUN = replace(EMPTY, trials=(trial(Closed(4)), trial(Open(50, "fixed"), failed={"Overloaded": 2})))
SLO = replace(
    EMPTY, slo=Slo(100, None, (Try("search", 50, False, "p99 120.0 ms", trial(Open(50))),))
)
COMPARISON = Comparison(
    target(),
    target(),
    Closed(4),
    2,
    0,
    ((Block(1, 2), Block(3, 4)),),
    Estimate(3, 2, 4),
    Estimate(2),
    "B is faster",
)

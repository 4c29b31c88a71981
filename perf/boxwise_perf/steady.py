"""Whether a run was in its steady state, or still warming up, slowing down or falling behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_perf.stats import trend

WINDOWS = 12  # the test for a trend wants at least 10 values
LEAST_CHANGE = 0.1  # of the median: a smaller drift is real and does not matter
LEAST_CHANCE = 0.01  # a steady run is called unsteady as rarely as this, for each of the two series


@dataclass(frozen=True)
class Steadiness:
    """What the windows of a run say.

    Attributes:
        steady: None where there were too few requests to tell.
        latency_change: from the first to the last window, relative to the median; 0.2 is 20 %
            slower.
        rate_change: the same of the answers a second.
        advice: what to do where it was not steady, or cannot be told; "" where it was.
    """

    steady: bool | None
    latency_change: float
    rate_change: float
    advice: str = ""

    @property
    def growing(self) -> bool:
        """Whether latency went up throughout: requests wait longer and longer."""
        return self.steady is False and self.latency_change >= LEAST_CHANGE


def steadiness(
    begun: NDArray[np.float64],
    latencies: NDArray[np.float64],
    done: NDArray[np.float64],
    start: float,
    end: float,
) -> Steadiness:
    """Look for a trend over equal windows of a run, in the mean latency and in the answers a
    second.

    A run is unsteady where the Mann-Kendall test (`stats.trend`) finds a trend that chance makes in
    one of a hundred steady runs, and which is larger than a tenth of the median.

    Args:
        begun: seconds, when each answered request was scheduled.
        latencies: seconds of each.
        done: seconds, when each was answered.
        start: seconds, the end of the warm-up.
        end: seconds.
    """
    counts, _ = np.histogram(begun, WINDOWS, (start, end))
    if counts.min() < 2:
        longer = "make --duration longer: too few requests to see whether the run was steady"
        return Steadiness(None, 0.0, 0.0, longer)
    sums, _ = np.histogram(begun, WINDOWS, (start, end), weights=latencies)
    answers, _ = np.histogram(done, WINDOWS, (start, end))
    latency, latency_is_real = _change(sums / counts)
    rate, rate_is_real = _change(answers.astype(np.float64))
    if latency_is_real and latency > 0:
        advice = "latency grew throughout: lower the load, or look for what slows the server down"
    elif latency_is_real or rate_is_real:
        advice = (
            "the run was still changing: make --warm-up longer, and see that nothing else runs here"
        )
    else:
        advice = ""
    return Steadiness(not advice, latency, rate, advice)


def _change(windows: NDArray[np.float64]) -> tuple[float, bool]:
    """The relative change over the windows, and whether it is a real one."""
    change, chance = trend(windows)
    relative = change / max(float(np.median(windows)), 1e-12)
    return relative, chance < LEAST_CHANCE and abs(relative) > LEAST_CHANGE

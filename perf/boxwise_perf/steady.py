"""Whether a run was in its steady state, or still warming up, slowing down or falling behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwise_perf.stats import trend

WINDOWS = 12  # the test for a trend needs at least 10 values
LEAST_CHANGE = 0.1  # of the median: a smaller drift does not matter
LEAST_CHANCE = 0.01  # the chance that a steady run is called unsteady, for each of the two series


@dataclass(frozen=True)
class Steadiness:
    """How latency and throughput changed over the windows of a run.

    Attributes:
        steady: None if there were too few requests to tell.
        latency_change: from the first to the last window, relative to the median; 0.2 is 20 %
            slower.
        rate_change: the same change of the throughput.
        advice: what to do if the run was not steady, or if that is unknown; otherwise "".
    """

    steady: bool | None
    latency_change: float
    rate_change: float
    advice: str = ""

    @property
    def growing(self) -> bool:
        """Whether latency rose throughout, because the queue grew."""
        return self.steady is False and self.latency_change >= LEAST_CHANGE


def steadiness(
    begun: NDArray[np.float64],
    latencies: NDArray[np.float64],
    done: NDArray[np.float64],
    start: float,
    end: float,
) -> Steadiness:
    """Test the mean latency and the throughput over equal windows of a run for a trend.

    A run is unsteady if the Mann-Kendall test (`stats.trend`) finds a trend with a p-value below
    `LEAST_CHANCE` that is larger than a tenth of the median.

    Args:
        begun: scheduled times of the successful requests, seconds.
        latencies: of the same requests, seconds.
        done: times of their responses, seconds.
        start: end of the warm-up, seconds.
        end: end of the run, seconds.
    """
    counts, _ = np.histogram(begun, WINDOWS, (start, end))
    if counts.min() < 2:
        longer = "make --duration longer: too few requests to see whether the run was steady"
        return Steadiness(None, 0.0, 0.0, longer)
    sums, _ = np.histogram(begun, WINDOWS, (start, end), weights=latencies)
    responses, _ = np.histogram(done, WINDOWS, (start, end))
    latency, latency_is_real = _change(sums / counts)
    rate, rate_is_real = _change(responses.astype(np.float64))
    if latency_is_real and latency > 0:
        advice = "latency grew throughout: lower the load, or find what slows the server down"
    elif latency_is_real or rate_is_real:
        advice = "the run was still changing: make --warm-up longer, and stop other programs"
    else:
        advice = ""
    return Steadiness(not advice, latency, rate, advice)


def _change(windows: NDArray[np.float64]) -> tuple[float, bool]:
    """Return the relative change over the windows, and whether it is significant."""
    change, chance = trend(windows)
    relative = change / max(float(np.median(windows)), 1e-12)
    return relative, chance < LEAST_CHANCE and abs(relative) > LEAST_CHANGE

"""Statistics with confidence intervals: percentiles, means, rates and trends."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
RATE_BATCHES = 20
_RESAMPLES = 4000
_ALL_SUBSAMPLES = 12  # values up to which every subsample is used: 4,095 of them


@dataclass(frozen=True)
class Estimate:
    """A value and its confidence interval. A bound is None if the sample is too small for it."""

    value: float
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate in another unit; `factor` is positive."""
        low, high = (None if bound is None else bound * factor for bound in (self.low, self.high))
        return Estimate(self.value * factor, low, high)


def percentile(
    values: ArrayLike, percent: float, confidence: float = CONFIDENCE
) -> Estimate | None:
    """Return a percentile with its distribution-free interval.

    The bounds are order statistics. Their ranks follow from the binomial distribution: of n values,
    the number below the true p-quantile is Binomial(n, p) (Hahn & Meeker, Statistical Intervals,
    1991, section 5.2). They are exact for independent values of any distribution. Latencies of one
    queue are correlated, so on a saturated server the true interval is a little wider.

    Args:
        values: in any order.
        percent: between 0 and 100, exclusive.
        confidence: of the interval, between 0 and 1.

    Returns:
        None if fewer than one value is expected above the percentile.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, p = len(ordered), percent / 100
    if n == 0 or n * (1 - p) < 1 - 1e-9:
        return None
    below = binomial_cdf(n, p)  # [k]: the chance that at most k values lie below the quantile
    tail = (1 - confidence) / 2
    # The last rank, from 0, that is low enough.
    low = int(np.searchsorted(below, tail, side="right")) - 1
    high = int(np.searchsorted(below, 1 - tail, side="left"))
    return Estimate(
        float(ordered[max(0, math.ceil(n * p - 1e-9) - 1)]),
        float(ordered[low]) if low >= 0 else None,
        float(ordered[high]) if high < n else None,
    )


def mean(values: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Return a mean with its bootstrap-t interval; without bounds for fewer than three values.

    The deviation of each resample's mean is measured in its own standard errors. The quantiles of
    these deviations, in standard errors of the sample, are the bounds (Efron & Tibshirani, An
    Introduction to the Bootstrap, 1993, section 12.5). The interval is as accurate as BCa to second
    order, and covers better in samples of ten or twenty (Hall, Annals of Statistics 16, 1988), the
    size of ours.

    Args:
        values: independent values, such as those of the pairs of a comparison.
        confidence: of the interval.
        seed: of the resampling.
    """
    sample = np.asarray(values, np.float64)
    n, centre = len(sample), float(np.mean(sample))
    if n < 3:
        return Estimate(centre)
    error = float(np.std(sample, ddof=1)) / math.sqrt(n)
    if error == 0:
        return Estimate(centre, centre, centre)
    drawn = sample[np.random.default_rng(seed).integers(0, n, (_RESAMPLES, n))]
    errors = np.std(drawn, axis=1, ddof=1) / math.sqrt(n)
    kept = errors > error * 1e-9  # not if one value was drawn n times
    t = (drawn.mean(axis=1)[kept] - centre) / errors[kept]
    tail = (1 - confidence) / 2
    low, high = np.quantile(t, [1 - tail, tail])
    return Estimate(centre, centre - float(low) * error, centre - float(high) * error)


def paired_mean(differences: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Return the mean of paired differences, the order within each pair being random.

    Such differences are symmetric around the true one, whatever disturbs them. So the means of all
    subsamples divide the line into intervals that are equally likely to contain it (Hartigan, Using
    subsample values as typical values, JASA 64, 1969); inverting a sign-flip test gives the same
    interval. Its coverage holds even if a few pairs are disturbed strongly. That of bootstrap-t
    does not: for 12 values of a t distribution with 3 degrees of freedom it is 92 %, not 95 %. At
    95 %, fewer than six pairs have no bounds.

    Args:
        differences: one per pair, independent of each other.
        confidence: of the interval.
        seed: of the subsamples, if there are too many to use them all.
    """
    sample = np.asarray(differences, np.float64)
    means = np.sort(_subsamples(len(sample), seed) @ sample)
    # How many of the intervals lie beyond each bound.
    beyond = int((1 - confidence) / 2 * (len(means) + 1) + 1e-9)
    centre = float(np.mean(sample))
    return (
        Estimate(centre, float(means[beyond - 1]), float(means[-beyond]))
        if beyond
        else Estimate(centre)
    )


@functools.lru_cache(4)
def _subsamples(count: int, seed: int) -> NDArray[np.float64]:
    """Return the weights of values in subsamples, float64 [subsamples, count].

    These are all subsamples but the empty one, or 4,095 random ones of more than 12 values.
    """
    if count <= _ALL_SUBSAMPLES:
        chosen = np.arange(1, 1 << count)[:, np.newaxis] >> np.arange(count) & 1
    else:
        chosen = np.random.default_rng(seed).integers(0, 2, ((1 << _ALL_SUBSAMPLES) - 1, count))
        chosen = chosen[chosen.any(axis=1)]
    weights: NDArray[np.float64] = chosen / chosen.sum(axis=1, keepdims=True)
    return weights


def rate(
    times: ArrayLike,
    start: float,
    end: float,
    weights: ArrayLike | None = None,
    batches: int = RATE_BATCHES,
) -> Estimate:
    """Return events per second between `start` and `end`, with an interval by batch means.

    The time is divided into equal batches. They are much longer than a request, so their rates are
    nearly independent (Law, Simulation Modeling and Analysis, 5th edition, section 9.5.3).

    Args:
        times: of the events in seconds; events outside do not count.
        start: seconds.
        end: seconds, later than `start`.
        weights: of the events, such as numbers of boxes; default: 1.
        batches: number of batches.
    """
    weights = None if weights is None else np.asarray(weights, np.float64)
    counts, edges = np.histogram(np.asarray(times), batches, (start, end), weights=weights)
    return mean(counts / np.diff(edges))


def trend(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the change of a series from first to last, and the p-value of a trend.

    The p-value is that of the two-sided Mann-Kendall test, by its normal approximation, which is
    good from 10 values on (Mann, Econometrica 13, 1945; Kendall, Rank Correlation Methods, 1975).
    The change is by the Theil-Sen slope (Sen, JASA 63, 1968). Both are robust to outliers.
    """
    series = np.asarray(values, np.float64)
    n = len(series)
    earlier, later = np.triu_indices(n, 1)
    differences = series[later] - series[earlier]
    score = float(np.sign(differences).sum())
    ties = np.unique(series, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0:
        return 0.0, 1.0
    z = max(0.0, abs(score) - 1) / math.sqrt(variance)
    return float(np.median(differences / (later - earlier))) * (n - 1), math.erfc(z / math.sqrt(2))


def binomial_cdf(n: int, p: float) -> NDArray[np.float64]:
    """Return P(X <= k) for X ~ Binomial(n, p) and k = 0 ... n, [n + 1].

    It sums log probabilities, so that no n underflows.
    """
    k = np.arange(n)
    steps = np.log((n - k) / (k + 1)) + math.log(p / (1 - p))
    logs = np.concatenate(([0.0], np.cumsum(steps))) + n * math.log1p(-p)
    cumulated: NDArray[np.float64] = np.minimum(1.0, np.cumsum(np.exp(logs)))
    return cumulated

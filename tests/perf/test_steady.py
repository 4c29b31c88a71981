"""A run is steady, growing, still warming up, or too short to tell."""

import numpy as np
import pytest

from boxwise_benchmarks.calibrate import binomial_tail
from boxwise_perf.steady import steadiness


def look(latencies: np.ndarray, begun: np.ndarray | None = None) -> object:
    begun = np.linspace(0, 9.99, len(latencies)) if begun is None else begun
    return steadiness(begun, latencies, begun + latencies, 0, 10)


def test_too_few_to_tell() -> None:
    found = look(np.full(5, 0.1))
    assert found.steady is None
    assert "--duration" in found.advice


@pytest.mark.parametrize(
    ("latencies", "steady", "growing"),
    [
        (np.full(500, 0.1), True, False),
        (np.linspace(0.1, 0.5, 500), False, True),
        (np.linspace(0.5, 0.1, 500), False, False),
        (np.linspace(0.1, 0.102, 500), True, False),  # real, and too small to matter
    ],
)
def test_of_latency(latencies: np.ndarray, steady: bool, growing: bool) -> None:
    found = look(latencies)
    assert found.steady is steady
    assert found.growing is growing
    assert bool(found.advice) is not steady


def test_a_rate_that_changes_is_not_steady() -> None:
    begun = 10 * np.sqrt(np.linspace(0, 0.999, 500))  # more and more of them
    found = look(np.full(500, 0.01), begun)
    assert found.steady is False
    assert found.rate_change > 0.5
    assert not found.growing


def test_noise_is_seldom_called_unsteady() -> None:
    random = np.random.default_rng(4)
    wrong = sum(look(random.gamma(2, 0.05, 500)).steady is False for _ in range(300))
    assert binomial_tail(wrong, 300, 0.02) > 0.01

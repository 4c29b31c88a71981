"""The slowdown that is planted has the size it is said to have, and the test of false alarms is the
binomial one.
"""

import numpy as np
import pytest

from boxwise_benchmarks.calibrate import binomial_tail, slow_down
from boxwise_perf.compare import block
from boxwise_perf.load import Samples


@pytest.mark.parametrize(
    ("successes", "trials", "p", "expected"),
    [(0, 10, 0.05, 1.0), (1, 1, 0.05, 0.05), (2, 3, 0.5, 0.5)],
)
def test_the_binomial_test(successes: int, trials: int, p: float, expected: float) -> None:
    assert binomial_tail(successes, trials, p) == pytest.approx(expected)


def test_a_planted_slowdown_is_of_5_percent() -> None:
    done = np.arange(0.01, 2.5, 0.001)
    samples = Samples(
        done - 0.01, done - 0.01, done, np.ones(len(done), np.int64), ("",) * len(done), {}
    )
    ratio = block(slow_down(samples)).images_per_s / block(samples).images_per_s
    assert ratio == pytest.approx(0.95, abs=0.002)

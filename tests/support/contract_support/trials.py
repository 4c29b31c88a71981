"""A trial of the server: short in CI, long by `make soak`, its figures printed and, where asked,
written down.

Each trial asserts what must hold, and says what it measured: one row of
docs/explanation/reliability.md.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boxwise_perf.stats import Estimate

ROOT = Path(__file__).resolve().parents[3]
SAY_EVERY_S = 60


@dataclass
class Trial:
    """One run of one trial.

    Attributes:
        name: of the test.
        long: whether it takes its long form.
        hours: how long the soak takes, in its long form.
        figures: what was measured, by a name that says its unit.
        say: shows a line at once.
    """

    name: str
    long: bool
    hours: float
    figures: dict[str, float | int | str] = field(default_factory=dict)
    say: Callable[[str], None] = lambda line: None
    _since: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    def of(self, *, short: int, long: int) -> int:
        """So many cases, or seconds, in the form that is run."""
        return long if self.long else short

    def measured(self, **figures: float | int | str) -> None:
        """Add figures."""
        self.figures |= figures

    def assert_at_most(self, p99_ratio: Estimate, most: float) -> None:
        """Of the p99 of some blocks to that of others: the lower end of its interval, which is a
        figure too.
        """
        assert p99_ratio.low is not None
        self.measured(p99_ratio_low=p99_ratio.low, p99_ratio_high=p99_ratio.high or 0.0)
        assert p99_ratio.low <= most, p99_ratio

    def progress(self, done: float, of: float, what: str) -> None:
        """Say how far it is, once a minute."""
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            self.say(f"{self.name}: {done:g} of {of:g} {what}, {now - self._since:.0f} s")

    def line(self) -> str:
        """What a person reads at the end."""
        said = ", ".join(f"{name} {_rounded(value)}" for name, value in self.figures.items())
        return (
            f"{self.name} ({'long' if self.long else 'short'}, "
            f"{time.monotonic() - self._since:.0f} s): {said}"
        )

    def document(self) -> str:
        """One line of JSON: what was run, when, for how long, at which commit, and the figures."""
        return json.dumps(
            {
                "trial": self.name,
                "form": "long" if self.long else "short",
                "seconds": round(time.monotonic() - self._since),
                "commit": _commit(),
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                "figures": {name: _rounded(value) for name, value in self.figures.items()},
            }
        )


def _rounded(value: float | int | str) -> float | int | str:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"

"""The report of the parity gate, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from boxwise_export.errors import ExportError


class ParityError(ExportError):
    """The export differs from its source; nothing was published."""


@dataclass(frozen=True)
class Step:
    """One comparison.

    Attributes:
        part: "detector", or the classifier's name.
        name: "pixels", "outputs", "detections" or "top-1".
        passed: whether it is within its limit; None if there is nothing to compare with.
        sentence: the result in words.
        figures: the same as numbers.
    """

    part: str
    name: str
    passed: bool | None
    sentence: str
    figures: Mapping[str, float]

    def __str__(self) -> str:
        verdict = {True: "ok", False: "DIFFERS", None: "not compared"}[self.passed]
        return f"{self.part:<12} {self.name:<11} {verdict:<12}  {self.sentence}"


@dataclass(frozen=True)
class ParityReport:
    """Every comparison, in the order of the steps.

    Attributes:
        precision: of the exported graphs.
        images: how many were compared on, and which.
        steps: the comparisons.
    """

    precision: str
    images: str
    steps: tuple[Step, ...]

    @property
    def first_difference(self) -> Step | None:
        """The first step beyond its limit."""
        return next((step for step in self.steps if step.passed is False), None)

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return [
            f"parity of {self.precision} with the source, over {self.images}:",
            *(f"  {s}" for s in self.steps),
        ]

    def document(self) -> dict[str, Any]:
        """Return the report as JSON types, for the manifest."""
        return asdict(self)

    def require(self) -> None:
        """Raise ParityError if a step is beyond its limit."""
        if step := self.first_difference:
            raise ParityError(
                f"{step.part}: the exported stages differ from their source, first in the "
                f"{step.name}: {step.sentence}; nothing was published. Correct the step, or allow "
                "more under `tolerances:`"
            )

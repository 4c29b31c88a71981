"""Predictions as a table, as JSON, and as annotated images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Column, Table
from rich.text import Text

from boxwise import Detection
from boxwise_cli.files import replacing

if TYPE_CHECKING:
    from PIL import Image

SAVED_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_QUALITY = 92  # of a saved JPEG or WebP: thin lines and captions stay clean


class FramePlace(NamedTuple):
    """The number of a frame in its video, and its time in seconds if the video has times."""

    number: int
    time_s: float | None


class Outcome(NamedTuple):
    """The detections in one image or frame, or the error. It does not hold the image."""

    file: Path
    image_size: tuple[int, int] | None
    detections: tuple[Detection, ...]
    frame: FramePlace | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The file, and the number of the frame in a video."""
        return f"{self.file}, frame {self.frame.number}" if self.frame else str(self.file)


def document(outcome: Outcome) -> dict[str, Any]:
    """Return an element of the list that `--json` prints; docs/reference/json.md describes it."""
    named: dict[str, Any] = {"file": str(outcome.file)}
    if outcome.frame:
        named |= {"frame": outcome.frame.number, "time_s": outcome.frame.time_s}
    if outcome.error is not None or outcome.image_size is None:
        return named | {"error": outcome.error}
    return named | {
        "image_size": list(outcome.image_size),
        "detections": [each.to_dict() for each in outcome.detections],
    }


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    """Return a table of one row per detection. An image without detections has one row."""
    table = Table(
        Column("file", overflow="fold"), "box", "class", Column("score", justify="right"), "labels"
    )
    for outcome in outcomes:
        for detection in outcome.detections:
            table.add_row(
                Text(outcome.name),
                " ".join(f"{edge:.0f}" for edge in detection.xyxy),
                Text(detection.class_name),
                f"{detection.confidence:.2f}",
                Text(_best_labels(detection)),
            )
        if not outcome.detections:
            table.add_row(
                Text(outcome.name), "", "failed" if outcome.error else "nothing found", "", ""
            )
    return table


def _best_labels(detection: Detection) -> str:
    """Return the best label of each classifier, one per line."""
    best = [labels[0] for labels in detection.labels.values() if labels]
    return "\n".join(f"{label.name} {label.score:.2f}" for label in best)


def save_image(image: Image.Image, target: Path) -> None:
    """Write an image in the format of the target's suffix. Raises OSError."""
    with replacing(target) as unfinished:
        image.save(unfinished, quality=_QUALITY)

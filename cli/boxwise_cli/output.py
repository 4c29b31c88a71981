"""What a server answered, as a table to read, as JSON, and as images to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Column, Table
from rich.text import Text

from boxwise import Detection

if TYPE_CHECKING:
    from PIL import Image

SAVED_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_QUALITY = 92  # of a saved JPEG or WebP: thin lines and captions stay clean


class FramePlace(NamedTuple):
    """Which frame of a video; its time in seconds where the video says so."""

    number: int
    time_s: float | None


class Answer(NamedTuple):
    """What was said of one file, or of one frame of it, or why nothing was; the image itself is let
    go.
    """

    file: Path
    image_size: tuple[int, int] | None
    detections: tuple[Detection, ...]
    frame: FramePlace | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The file, and the number of the frame where it is a video."""
        return f"{self.file}, frame {self.frame.number}" if self.frame else str(self.file)


def document(answer: Answer) -> dict[str, Any]:
    """An element of the list that `--json` prints; docs/reference/json.md describes it."""
    place = {"frame": answer.frame.number, "time_s": answer.frame.time_s} if answer.frame else {}
    if answer.error is not None or answer.image_size is None:
        return {"file": str(answer.file), **place, "error": answer.error}
    return {
        "file": str(answer.file),
        **place,
        "image_size": list(answer.image_size),
        "detections": [each.to_dict() for each in answer.detections],
    }


def answers_table(answers: Sequence[Answer]) -> Table:
    """One row a detection; an image without any has one that says so."""
    table = Table(
        Column("file", overflow="fold"), "box", "class", Column("score", justify="right"), "labels"
    )
    for answer in answers:
        for detection in answer.detections:
            table.add_row(
                Text(answer.name),
                " ".join(f"{edge:.0f}" for edge in detection.xyxy),
                Text(detection.class_name),
                f"{detection.confidence:.2f}",
                Text(_best_labels(detection)),
            )
        if not answer.detections:
            table.add_row(
                Text(answer.name), "", "failed" if answer.error else "nothing found", "", ""
            )
    return table


def _best_labels(detection: Detection) -> str:
    """The best label of each classifier that was asked."""
    best = [labels[0] for labels in detection.labels.values() if labels]
    return "\n".join(f"{label.name} {label.score:.2f}" for label in best)


def save_image(image: Image.Image, target: Path) -> None:
    """Write an image as its suffix says; the file is there as a whole or not at all."""
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        image.save(unfinished, quality=_QUALITY)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)

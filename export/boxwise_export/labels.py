"""Names of classes: a known set, a list, or a file of one a line."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from boxwise_export.errors import PipelineError

KNOWN_SETS = ("coco", "imagenet")


def read_labels(labels: str | Sequence[str], key: str) -> tuple[str, ...]:
    """Resolve `labels:` of a pipeline file.

    Args:
        labels: `coco`, `imagenet`, the path of a text file with one name a line, or the names themselves.
        key: where it stands in the pipeline file, for errors.

    Raises:
        PipelineError: an unknown set, a missing or empty file.
    """
    if not isinstance(labels, str):
        names = tuple(labels)
    elif labels in KNOWN_SETS:
        names = _lines(files("boxwise_export").joinpath("labels", f"{labels}.txt").read_text(encoding="utf-8"))
    else:
        try:
            names = _lines(Path(labels).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise PipelineError(
                f"{key}: {labels!r} is neither a known set ({', '.join(KNOWN_SETS)}) nor a readable text file "
                f"({error}); write the names as a list, or one a line into a .txt file"
            ) from error
    if not names:
        raise PipelineError(f"{key}: no names; expected at least one")
    return names


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())

"""The splits of a labelled set. They are never mixed: training images would distort the figures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from boxwise_eval.errors import EvalError

SPLITS = ("train", "val", "test")
_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_YEAR = re.compile(r"[-_]?\d+$")


def split_of(name: str) -> str | None:
    """Return the split in the name of a folder or key; None if there is none.

    >>> split_of("train2017"), split_of("Valid"), split_of("cat")
    ('train', 'val', None)
    """
    plain = _YEAR.sub("", name.casefold())
    found = _NAMES.get(plain, plain)
    return found if found in SPLITS else None


def wanted(split: str) -> str:
    """Return the split of the option --split.

    Raises:
        EvalError: it is not a split.
    """
    if (found := split_of(split)) is None:
        raise EvalError(f"--split: expected one of {', '.join(SPLITS)}, got {split[:200]}")
    return found


def folders(data: Path) -> dict[str, Path]:
    """Return the folders in `data` that are named after a split, by split.

    Raises:
        EvalError: two are named after the same split.
    """
    found: dict[str, Path] = {}
    for folder in sorted(data.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and (split := split_of(folder.name)):
            if split in found:
                raise EvalError(
                    f"{data}: {found[split].name} and {folder.name} are both the split "
                    f"{split}: move one away"
                )
            found[split] = folder
    return found


def chosen(
    data: Path, existing: Iterable[str], split: str | None, default: str | None = None
) -> str:
    """Return the split to evaluate: the requested one, the default, or the only one.

    Args:
        data: for the message.
        existing: the splits of the set.
        split: the requested one, or None.
        default: used if none was requested and the set has it.

    Raises:
        EvalError: the set does not have it, or has several and none was requested.
    """
    known = sorted(existing, key=SPLITS.index)
    if split is None:
        split = default if default in known else known[0] if len(known) == 1 else None
    if split is None:
        raise EvalError(f"{data}: has the splits {', '.join(known)}; say which with --split")
    if split not in known:
        raise EvalError(f"{data}: has no split {split}, only {', '.join(known) or 'none at all'}")
    return split

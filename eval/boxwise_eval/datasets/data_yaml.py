"""`data.yaml` of ultralytics and Roboflow: names of the classes, and folders of the splits.

docs.ultralytics.com/datasets/detect: `path`, `train`, `val`, `test` (a folder, a list of files in a
.txt, or several of these) and `names` (a list, or numbers with names).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from boxwise_eval.datasets.splits import SPLITS, split_of
from boxwise_eval.errors import EvalError

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Description:
    """The content of a `data.yaml`.

    Attributes:
        file: its path.
        names: of the classes, by number; None if it has none.
        splits: split -> its entries, as written.
        root: `path`, as written; None if it has none.
        keypoints: whether label lines have keypoints after the box.
    """

    file: Path
    names: tuple[str, ...] | None
    splits: Mapping[str, tuple[str, ...]]
    root: str | None = None
    keypoints: bool = False

    def places(self, split: str) -> tuple[Path, ...]:
        """Return the folders and lists of a split.

        Raises:
            EvalError: one does not exist, or two readings of a relative path do.
        """
        return tuple(self._place(split, each) for each in self.splits[split])

    def names_folder(self, folder: Path) -> bool:
        """Return whether one of its splits is this folder."""
        bases = [self.file.parent / (self.root or ""), self.file.parent]
        entries = [entry for entries in self.splits.values() for entry in entries]
        return any(
            each.resolve() == folder
            for base in bases
            for entry in entries
            for each in _readings(base, entry)
        )

    def _place(self, split: str, entry: str) -> Path:
        folder = self.file.parent
        bases = [folder / self.root, folder] if self.root else [folder]
        looked = []
        for base in bases:
            found = {each.resolve(): each for each in _readings(base, entry) if each.exists()}
            if len(found) > 1:
                raise EvalError(
                    f"{self.file}: {split}: {entry} may be {' or '.join(map(str, found))}: "
                    "write it as an absolute path"
                )
            if found:
                return next(iter(found.values()))
            looked += [str(each) for each in _readings(base, entry)]
        raise EvalError(
            f"{self.file}: {split}: {entry} does not exist; looked for "
            f"{', '.join(dict.fromkeys(looked))}"
        )


def _readings(base: Path, entry: str) -> list[Path]:
    """Return the possible places of an entry.

    Roboflow writes `../valid/images` for a folder beside the file, and ultralytics reads it so.
    """
    return [base / entry, *([base / entry.removeprefix("../")] if entry.startswith("../") else [])]


def find(folder: Path) -> Description | None:
    """Return the description in a folder: the only file of it that has `names` or a split.

    Raises:
        EvalError: two files have them, or one cannot be read.
    """
    files = [
        each
        for suffix in SUFFIXES
        for each in sorted(folder.glob(f"*{suffix}"))
        if not each.name.startswith(".")
    ]
    found = [each for each in map(_description, files) if each is not None]
    for each in found:
        if each.file.stem == "data":
            return each
    if len(found) > 1:
        raise EvalError(
            f"{folder}: {found[0].file.name} and {found[1].file.name} both describe a set: "
            "name one with --data"
        )
    return found[0] if found else None


def read(file: Path) -> Description:
    """Read a description.

    Raises:
        EvalError: it cannot be read, or is not a description.
    """
    description = _description(file)
    if description is None:
        raise EvalError(
            f"{file}: expected `names:`, and `val:`, `train:` or `test:`, as ultralytics "
            "writes them"
        )
    return description


def _description(file: Path) -> Description | None:
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise EvalError(
            f"{file}: not readable as YAML ({' '.join(str(error).split())[:200]})"
        ) from error
    if not isinstance(document, dict):
        return None
    splits = {}
    for key, value in document.items():
        split = split_of(str(key))
        if split is not None and value:
            splits[split] = tuple(map(str, value)) if isinstance(value, list) else (str(value),)
    if not splits and "names" not in document:
        return None
    names = _names(file, document["names"]) if document.get("names") else None
    if names is not None and document.get("nc") not in (None, len(names)):
        raise EvalError(f"{file}: `nc: {document['nc']}`, but {len(names)} names")
    root = document.get("path")
    ordered = {split: splits[split] for split in SPLITS if split in splits}
    return Description(file, names, ordered, str(root) if root else None, "kpt_shape" in document)


def _names(file: Path, names: object) -> tuple[str, ...]:
    expected = f"{file}: expected `names:`, a list or numbers from 0 with names"
    if isinstance(names, dict):
        try:
            numbered = {int(number): name for number, name in names.items()}
        except (TypeError, ValueError):
            raise EvalError(
                f"{expected}, got the number {str(next(iter(names)))[:200]!r}"
            ) from None
        if sorted(numbered) != list(range(len(names))):
            missing = next(number for number in range(len(names)) if number not in numbered)
            raise EvalError(f"{expected}; {missing} is missing")
        names = [numbered[number] for number in range(len(numbered))]
    if not isinstance(names, list):
        raise EvalError(f"{expected}, got {str(names)[:200]!r}")
    for number, name in enumerate(names):
        if name is None or isinstance(name, (bool, list, dict)):
            raise EvalError(
                f"{expected}; name {number} is {str(name)[:200]} to YAML: put it in quotes"
            )
    return tuple(str(name) for name in names)

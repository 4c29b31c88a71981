"""The files of requirements/: which version of each package, and the hash of every file of it."""

from __future__ import annotations

import re
from typing import Any

from packaging.utils import canonicalize_name

from boxwise_release import ROOT

LOCKS = ROOT / "requirements"
PACKAGE = re.compile(
    r"^(?P<name>\S+)==(?P<version>\S+)(?: ;.*)? \\\n(?P<hashes>(?:    --hash=.*\n?)+)", re.MULTILINE
)


def read(name: str) -> dict[tuple[str, str], list[str]]:
    """(name, version) -> SHA-256 of each file. A name has two versions where the Pythons differ."""
    text = (LOCKS / f"{name}.txt").read_text()
    return {
        (package["name"], package["version"]): re.findall(r"sha256:(\w{64})", package["hashes"])
        for package in PACKAGE.finditer(text)
    }


def key(component: dict[str, Any]) -> tuple[str, str]:
    """The name and version, as a lock has them, of a component of a bill."""
    return canonicalize_name(component["name"]), component["version"]

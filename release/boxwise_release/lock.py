"""The locks in requirements/: versions of packages, and hashes of their files."""

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
    """Return (name, version) -> SHA-256 of each file; two Pythons may have two versions."""
    text = (LOCKS / f"{name}.txt").read_text()
    return {
        (package["name"], package["version"]): re.findall(r"sha256:(\w{64})", package["hashes"])
        for package in PACKAGE.finditer(text)
    }


def key(component: dict[str, Any]) -> tuple[str, str]:
    """Return the name and version of a component of a bill, as in a lock."""
    return canonicalize_name(component["name"]), component["version"]

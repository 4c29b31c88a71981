"""Programs of Debian's packages without root: apt downloads and checks them, and nobody installs
them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def unpack(packages: Sequence[str], folder: Path) -> None:
    """Unpack these packages, without what they depend on, into an empty folder.

    Raises:
        SystemExit: apt is not there, or has no such package.
    """
    state = folder / "state"
    (state / "lists" / "partial").mkdir(parents=True)
    # Lists of our own, where the machine has none: apt-get update would want root.
    own = [
        "-o",
        f"Dir::State={state}",
        "-o",
        f"Dir::Cache={state}",
        "-o",
        "APT::Sandbox::User=root",
    ]
    for options in ([], own):
        if options:
            _apt(folder, *options, "update")
        if _apt(folder, *options, "download", *packages) == 0:
            break
    else:
        raise SystemExit(
            f"apt-get does not download {', '.join(packages)}: run this on Debian, or see "
            "the file's first lines"
        )
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)


def _apt(folder: Path, *arguments: str) -> int:
    try:
        return subprocess.run(
            ["apt-get", "-qq", *arguments], cwd=folder, stderr=subprocess.DEVNULL
        ).returncode
    except FileNotFoundError:
        return 127

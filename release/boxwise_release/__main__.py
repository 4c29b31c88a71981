"""`python -m boxwise_release release|bill|licences|audit`, with the Python of .venv-release."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from packaging.metadata import Metadata

from boxwise_release import ROOT, SERVED, ReleaseError, bill, licences
from boxwise_release.audit import audit

DIST = ROOT / "dist"


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def build(folder: Path) -> Metadata:
    """Build the sdist, and the wheel from it, and return the wheel's metadata.

    The same commit gives the same bytes.
    """
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"the build failed:\n{done.stdout}{done.stderr}")
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(files.read(name))  # raises if an index would reject it
    if not metadata.description or metadata.description_content_type != "text/markdown":
        raise ReleaseError(
            "the package has no page: pyproject.toml should name README.md as its readme"
        )
    return metadata


def release() -> None:
    """Write all files of a release to dist/."""
    if changed := git("status", "--porcelain"):
        raise ReleaseError(
            f"a release is made of a commit; commit or stash these changes:\n{changed}"
        )
    os.environ["SOURCE_DATE_EPOCH"] = git("log", "-1", "--format=%ct")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    print(f"building {git('describe', '--always')} into dist/")
    metadata = build(DIST)
    print("writing the bill of materials")
    write_bill(DIST / f"{metadata.name}-{metadata.version}.cdx.json")
    files = sorted(DIST.iterdir())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(sums))
    print("".join(sums), end="")


def write_bill(path: Path) -> None:
    found = bill.write(SERVED)
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{path.name}: {len(found['components'])} packages, each with its licence and hashes")


def main() -> None:
    try:
        match sys.argv[1:]:
            case ["release"]:
                release()
            case ["bill", path]:
                write_bill(Path(path))
            case ["licences"]:
                licences.PAGE.write_text(licences.page(bill.write(SERVED)))
            case ["audit"]:
                audit()
            case _:
                raise ReleaseError("expected one of: release, bill PATH, licences, audit")
    except ReleaseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

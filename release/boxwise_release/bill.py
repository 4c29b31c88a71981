"""The CycloneDX bill of materials of the demo's environment, without the tests' packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from boxwise_release import ROOT, ReleaseError, licences, lock

VERSION = SchemaVersion.V1_6


def write(python: Path) -> dict[str, Any]:
    """Return the bill of an environment: packages of the demo's lock, licences, hashes of files.

    Raises:
        ReleaseError: the environment lacks a package of the lock, or has another version.
    """
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--pyproject",
        str(ROOT / "pyproject.toml"),
    ]
    # Validated by `_check`, once it is whole.
    command += ["--output-reproducible", "--no-validate"]
    command += ["--spec-version", VERSION.to_version(), str(python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(
            f"no bill of {python}: {done.stderr.strip()}\nIf it is missing: make .venv/.demo"
        )
    bill: dict[str, Any] = json.loads(done.stdout)
    hashes = lock.read("torch-cuda") | lock.read("torch-cpu") | lock.read("demo")
    bill["components"] = [each for each in bill["components"] if lock.key(each) in hashes]
    for each in bill["components"]:
        name, version = lock.key(each)
        if name in licences.UNSAID and "licenses" not in each:
            each["licenses"] = [
                {"license": {"id": licences.UNSAID[name], "acknowledgement": "concluded"}}
            ]
        files = [{"alg": "SHA-256", "content": digest} for digest in hashes[name, version]]
        about = {
            "type": "distribution",
            "url": each["purl"],
            "comment": "every file of this release",
            "hashes": files,
        }
        each.setdefault("externalReferences", []).append(about)
    _keep_edges(bill)
    _check(bill)
    return bill


def _keep_edges(bill: dict[str, Any]) -> None:
    """Remove packages that are not in the bill from its dependency graph."""
    kept = {
        bill["metadata"]["component"]["bom-ref"],
        *(each["bom-ref"] for each in bill["components"]),
    }
    bill["dependencies"] = [each for each in bill["dependencies"] if each["ref"] in kept]
    for each in bill["dependencies"]:
        each["dependsOn"] = [ref for ref in each.get("dependsOn", []) if ref in kept]


def _check(bill: dict[str, Any]) -> None:
    there = {lock.key(each)[0] for each in bill["components"]}
    missing = {name for name, _ in lock.read("demo")} | {"torch"}
    if missing := missing - there:
        raise ReleaseError(
            f".venv does not match requirements/demo.txt: {', '.join(sorted(missing))}. "
            "Fix: make .venv/.demo"
        )
    if error := JsonStrictValidator(VERSION).validate_str(json.dumps(bill)):
        raise ReleaseError(f"the bill is not valid CycloneDX {VERSION.to_version()}: {error}")

"""The table of licences in docs/explanation/dependencies.md, from the packages' metadata."""

from __future__ import annotations

from typing import Any

from boxwise_release import ROOT, lock

PAGE = ROOT / "docs" / "explanation" / "dependencies.md"
TABLE = "| package | version | licence | served |\n|---|---|---|---|\n"
# Packages without a licence in their metadata: that of their LICENSE files.
UNSAID = {"nvidia-pytriton": "Apache-2.0", "protobuf": "BSD-3-Clause", "python-rapidjson": "MIT"}
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def named(component: dict[str, Any]) -> str:
    """Return the licence of a component of the bill, as SPDX if possible."""
    entries = component.get("licenses", [])
    spdx = [entry.get("expression") or entry["license"].get("id") for entry in entries]
    if any(spdx):
        return " AND ".join(filter(None, spdx))
    names = [entry["license"]["name"].rpartition(" :: ")[2] for entry in entries]
    return " AND ".join(CLASSIFIERS.get(name, name) for name in names)


def page(bill: dict[str, Any]) -> str:
    """Return the page with a new table: the packages of demo.txt and of the images, and torch."""
    text, found, _ = PAGE.read_text().partition(TABLE)
    assert found, f"{PAGE.name} has lost the head of its table"
    demo = {name for name, _ in lock.read("demo")} | {"torch"}
    served = {name for name, _ in (*lock.read("server"), *lock.read("container"))}
    rows = [
        f"| {name} | {component['version'].partition('+')[0]} | {named(component)} | "
        f"{'yes' * (name in served)} |\n"
        for component in bill["components"]
        if (name := lock.key(component)[0]) in demo
    ]
    return text + TABLE + "".join(sorted(rows))

"""The locks of requirements/: every file by its hash, and all that pyproject.toml asks for."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement

from boxwise_release import ROOT, lock

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted(path.stem for path in lock.LOCKS.glob("*.txt"))
TORCH = {"torch"}  # a lock of its own: two builds go by its version
ASKED = {
    "demo": ["demo"],
    "dev": ["dev"],
    "server": ["cli", "server"],
    "container": ["container"],
    "frameworks": [
        "cli",
        "export",
        "eval",
        "torchvision",
        "timm",
        "ultralytics",
        "transformers",
        "trt-check",
        "test",
    ],
}


def asked(extra: str) -> Iterator[Requirement]:
    for each in map(Requirement, PROJECT["project"]["optional-dependencies"][extra]):
        if each.name != "boxwise":
            yield each
        for inner in each.extras if each.name == "boxwise" else ():
            yield from asked(inner)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_versions_and_hashes_and_no_index(name: str) -> None:
    text = (lock.LOCKS / f"{name}.txt").read_text()
    packages = lock.read(name)
    assert len(packages) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)) > 0
    assert all(packages.values())
    assert "://" not in text


@pytest.mark.parametrize("name", ASKED)
def test_a_lock_has_what_the_project_asks_for(name: str) -> None:
    versions = dict(lock.read(name).keys())
    wanted = [Requirement(each) for each in PROJECT["project"]["dependencies"]]
    wanted += [each for extra in ASKED[name] for each in asked(extra)]
    assert len(wanted) > 3
    for each in wanted:
        package = each.name.lower().replace("_", "-")
        if package not in TORCH or name == "frameworks":
            assert versions[package] in each.specifier


def test_the_two_builds_of_torch_are_one_version() -> None:
    ((_, small),) = lock.read("torch-cpu")
    (large,) = (version for package, version in lock.read("torch-cuda") if package == "torch")
    assert small == f"{large}+cpu"


def test_the_demo_comes_without_cuda() -> None:
    left_out = set((lock.LOCKS / "torch-cuda.in").read_text().splitlines()[1:])
    assert not left_out & {package for package, _ in lock.read("demo")}
    assert left_out < {package for package, _ in lock.read("torch-cuda")}


def test_nothing_that_is_installed_lacks_what_it_asks_for() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

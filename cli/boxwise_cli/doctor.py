"""`boxwise doctor`: what this installation can do, and what to install for the rest."""

import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version
from importlib.util import find_spec
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from boxwise_cli.cache import megabytes
from boxwise_cli.exits import FAILED
from boxwise_cli.options import AsJson
from boxwise_cli.printing import print_json
from boxwise_runtime.cache import cache_location, cache_size
from boxwise_runtime.targets import TARGETS, Target

# For a dozen stages and a few images of 24 megapixels; Docker's default is 64 MB.
ENOUGH_SHARED_MEMORY = 256_000_000
_SHM = "/dev/shm"  # noqa: S108
_TRITONS = {"0.7.0": "2.51.0"}  # nvidia-pytriton -> the Triton it bundles


def doctor(
    as_json: AsJson = False,
) -> None:
    """Show what this installation can do, and how to get the rest.

    Exits with 0 if models can be served on the CPU here, otherwise with 1.
    """
    facts = examine()
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    if not facts["can_serve"]:
        raise typer.Exit(FAILED)


def examine() -> dict[str, Any]:
    """Return the facts of the table and of `--json`, as JSON types; None for what is missing."""
    problems = {name: _problem(target) for name, target in TARGETS.items()}
    folder = cache_location()
    pytriton = _version("nvidia-pytriton")
    return {
        "can_serve": any(problem is None for problem in problems.values()),
        "boxwise": _version("boxwise"),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "extras": {extra: {"missing": missing(extra)} for extra in _extras()},
        "triton": {"version": _TRITONS.get(pytriton or ""), "nvidia_pytriton": pytriton},
        "targets": {
            target: {"servable": problem is None, "problem": problem}
            for target, problem in problems.items()
        },
        "onnxruntime": _onnxruntime(),
        "gpu": {"cuda_driver": cuda_driver()},
        "cache": {"folder": str(folder), "bytes": cache_size(folder)},
        "shared_memory": _shared_memory(),
    }


def missing(extra: str, distribution: str = "boxwise") -> list[str]:
    """Return the packages of an extra, and of the extras it names, that are not installed."""
    absent: set[str] = set()
    for requirement in metadata(distribution).get_all("Requires-Dist") or []:
        named = re.match(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[^]]*)\])?", requirement)
        if named is None or not re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", requirement):
            continue
        if named["name"] == distribution:
            absent.update(
                *(missing(inner.strip(), distribution) for inner in named["extras"].split(","))
            )
        elif _version(named["name"]) is None:
            absent.add(named["name"])
    return sorted(absent)


def cuda_driver() -> str | None:
    """Return the newest CUDA version of the GPU driver, as "12.6"; None without a driver."""
    number = ctypes.c_int(0)
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return (
        None
        if failed or not number.value
        else f"{number.value // 1000}.{number.value % 1000 // 10}"
    )


def _problem(target: Target) -> str | None:
    """Return why this installation cannot serve the target; None if it can."""
    from boxwise_runtime.launcher import LaunchError
    from boxwise_runtime.launcher.binary import bundle_for

    try:
        bundle_for(target)
    except LaunchError as error:
        return str(error)
    absent = [module for module in ("onnxruntime", "cv2") if find_spec(module) is None]
    return (
        f'the stages need {" and ".join(absent)}: pip install "boxwise[server]"' if absent else None
    )


def _extras() -> list[str]:
    return metadata("boxwise").get_all("Provides-Extra") or []


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _onnxruntime() -> dict[str, Any] | None:
    if find_spec("onnxruntime") is None:
        return None
    try:
        import onnxruntime
    except ImportError as error:  # installed, but not for this system
        return {"version": None, "providers": [], "problem": str(error)}
    return {
        "version": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "problem": None,
    }


def _shared_memory() -> dict[str, Any] | None:
    try:
        found = os.statvfs(_SHM)
    except OSError:
        return None
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return {"bytes": size, "free_bytes": free, "enough": free >= ENOUGH_SHARED_MEMORY}


class _Row(NamedTuple):
    ok: bool | None  # None: neither good nor bad
    what: str
    finding: str
    fix: str = ""


def _rows(facts: dict[str, Any]) -> Iterator[_Row]:
    """Yield the rows of the table."""
    yield _Row(None, "boxwise", f"{facts['boxwise']}, Python {facts['python']['version']}")
    for extra, found in facts["extras"].items():
        absent = found["missing"]
        yield _Row(
            True if not absent else None,
            f"extra {extra}",
            f"without {', '.join(absent)}" if absent else "installed",
            f'pip install "boxwise[{extra}]"' if absent else "",
        )
    triton = facts["triton"]
    yield _Row(
        None,
        "bundled Triton",
        f"{triton['version'] or 'unknown version'} (nvidia-pytriton {triton['nvidia_pytriton']})"
        if triton["nvidia_pytriton"]
        else "none",
    )
    for target, found in facts["targets"].items():
        reason, _, fix = (found["problem"] or "").partition(": ")
        bad = False if TARGETS[target].bundled else None
        yield (
            _Row(True, f"serve {target}", "possible")
            if found["servable"]
            else _Row(bad, f"serve {target}", reason, fix)
        )
    runtime = facts["onnxruntime"]
    if runtime is None:
        yield _Row(None, "onnxruntime", "none")
    elif runtime["problem"]:
        yield _Row(False, "onnxruntime", f"cannot be imported: {runtime['problem']}")
    else:
        yield _Row(None, "onnxruntime", f"{runtime['version']}: {', '.join(runtime['providers'])}")
    cuda = facts["gpu"]["cuda_driver"]
    yield _Row(None, "GPU driver", f"for CUDA {cuda}" if cuda else "none")
    yield _Row(None, "cache", f"{facts['cache']['folder']}, {megabytes(facts['cache']['bytes'])}")
    memory = facts["shared_memory"]
    if memory is None:
        yield _Row(False, _SHM, "none", "mount it: Triton's Python stages exchange tensors in it")
    else:
        yield _Row(
            memory["enough"],
            _SHM,
            f"{megabytes(memory['bytes'])}, {megabytes(memory['free_bytes'])} free",
            ""
            if memory["enough"]
            else f"give it {megabytes(ENOUGH_SHARED_MEMORY)} (docker run --shm-size 1g)",
        )


def _print(facts: dict[str, Any]) -> None:
    table = Table("", "what", "finding", "what to do")
    marks = {True: Text("ok", "green"), False: Text("!!", "red"), None: Text("")}
    for row in _rows(facts):
        table.add_row(marks[row.ok], row.what, Text(row.finding), Text(row.fix))
    Console().print(table)

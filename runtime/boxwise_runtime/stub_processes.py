"""The stub processes of a running server, read from /proc, and which of them are dead."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_COMM = "triton_python_b"  # triton_python_backend_stub; the kernel keeps 15 characters


@dataclass(frozen=True)
class Stub:
    """One process of a Python model. A dead one stays a zombie: Triton reaps only those that it
    unloads.
    """

    pid: int
    # Empty for a dead or dying process, which loses its command line first.
    model: str
    dead: bool


def stubs_of(server: int) -> list[Stub]:
    """Return the stub processes of the server with this process id."""
    return [stub for pid in _children(server) if (stub := _stub(pid))]


def group_runs(group: int) -> bool:
    """Return whether any process of a process group still runs; zombies do not."""
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return any(stat.group == group and stat.state != "Z" for pid in pids if (stat := _stat(pid)))


class _Stat(NamedTuple):
    name: str
    state: str
    group: int


def _stat(pid: int) -> _Stat | None:
    """Return a process's entry in /proc; None when it is gone."""
    try:
        # "123 (triton_python_b) Z PARENT GROUP ...": the name may hold anything, so the last ) ends
        # it.
        name, _, rest = (_PROC / str(pid) / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return None
    state, _, group = rest.split()[:3]
    return _Stat(name, state, int(group))


def _stub(pid: int) -> Stub | None:
    stat = _stat(pid)
    if stat is None or stat.name != _COMM:
        return None
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return None
    # .../triton_python_backend_stub REPOSITORY/MODEL/VERSION/model.py ...
    model = Path(arguments[1]).parent.parent.name if len(arguments) > 1 else ""
    return Stub(pid, model, dead=stat.state == "Z")


def _children(pid: int) -> Iterator[int]:
    # A child is listed under the thread that created it.
    for children in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            yield from map(int, children.read_text().split())
        except OSError:  # the thread has ended
            continue

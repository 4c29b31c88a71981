"""Cores and memory, from cgroups as Linux, Docker and Kubernetes lay them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boxwise_runtime.resources import available

MACHINE = len(os.sched_getaffinity(0))
MIB = 1 << 20


def lay(folder: Path, process: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    (folder / "self").write_text(process)
    return folder, folder / "self"


@pytest.mark.parametrize(
    ("process", "files", "cores", "memory"),
    [
        (
            "0::/\n",
            {"cpu.max": "100000 100000", "memory.max": str(512 * MIB)},
            1,
            512,
        ),  # in a container
        (
            "0::/\n",
            {"cpu.max": "50000 100000", "memory.max": str(64 * MIB)},
            1,
            64,
        ),  # half a core is one to plan for
        (
            "0::/a/b\n",
            {"a/memory.max": str(300 * MIB), "a/b/memory.max": "max", "a/b/cpu.max": "max 100000"},
            MACHINE,
            300,
        ),
        (
            "0::/a/b\n",
            {"a/memory.max": str(300 * MIB), "a/b/memory.max": str(200 * MIB)},
            MACHINE,
            200,
        ),
        (
            "4:memory:/\n3:cpu,cpuacct:/\n",
            {
                "memory/memory.limit_in_bytes": str(400 * MIB),
                "cpu,cpuacct/cpu.cfs_quota_us": "100000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            1,
            400,
        ),
    ],
)
def test_what_a_cgroup_leaves(
    tmp_path: Path, process: str, files: dict[str, str], cores: int, memory: int
) -> None:
    found = available(*lay(tmp_path, process, files))
    assert (found.cores, found.memory) == (cores, memory * MIB)


@pytest.mark.parametrize(
    ("process", "files"),
    [
        ("", {}),
        ("0::/\n", {}),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}),
        ("0::/\n", {"cpu.max": "", "memory.max": "lots"}),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}),
        ("1:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}),
    ],
)
def test_where_nothing_limits_it_is_the_machine(
    tmp_path: Path, process: str, files: dict[str, str]
) -> None:
    found = available(*lay(tmp_path, process, files))
    assert found.cores == MACHINE
    assert found.memory == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_here() -> None:
    assert 1 <= available().cores <= MACHINE

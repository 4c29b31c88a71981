"""Publishes into repositories, each time in a process of its own that can be killed or be without
room at any change.

A program: `python publisher.py PIPELINE.yaml ...`, loaded with faults.so. Plans are made once,
which takes seconds; then a line of JSON asks for a publication, and a line answers it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from boxwise_export.errors import RepositoryError
from boxwise_export.export import staged
from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import Plan, make_plan
from boxwise_export.repository.layouts import Stages
from boxwise_export.repository.publish import Publication, publish
from contract_support.faults import with_faults

_SUPPORT = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Published:
    """How a publication ended: its exit status (-9 where it was killed), how many changes it made,
    and its error.
    """

    status: int
    changes: int
    error: str


class Publisher:
    """The program's other end; as a context manager it ends with it.

    Args:
        library: faults.so.
        under: whose changes are counted.
        pipelines: the files.
    """

    def __init__(self, library: Path, under: Path, pipelines: list[Path]) -> None:
        environment = with_faults(library, under=under) | {"PYTHONPATH": _SUPPORT}
        self._program = subprocess.Popen(
            [sys.executable, __file__, *pipelines],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def publish(self, pipeline: int, out: Path, *, kill: int = 0, full: int = 0) -> Published:
        """Publish the pipeline of this index; killed at a change, or with no room from one on,
        where that is not 0.
        """
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(json.dumps([pipeline, str(out), kill, full]) + "\n")
        self._program.stdin.flush()
        return Published(**json.loads(self._program.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.communicate()


def publish_plan(plan: Plan, out: Path, **options: Any) -> Publication:
    """Stage a plan and publish it."""
    with staged(plan) as stages:
        return publish(plan, stages, out, **options)


def main(files: list[str]) -> None:
    faults = ctypes.CDLL(None)
    plans = [make_plan(load_pipeline(Path(file)), cores=2) for file in files]
    with ExitStack() as stack:
        stages = [stack.enter_context(staged(plan)) for plan in plans]
        _answer(plans, stages, faults)


def _answer(plans: list[Plan], stages: list[Stages], faults: ctypes.CDLL) -> None:
    for line in sys.stdin:
        number, out, kill, full = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status, error = 0, ""
            faults.faults_arm(ctypes.c_long(kill), ctypes.c_long(full))
            try:
                publish(plans[number], stages[number], Path(out))
            except RepositoryError as refused:
                status, error = 1, str(refused)
            except BaseException as wrong:  # noqa: BLE001 - said to who asked
                status, error = 2, f"{type(wrong).__name__}: {wrong}"
            os.write(writer, json.dumps([status, faults.faults_count(), error]).encode())
            os._exit(0)
        os.close(writer)
        _, ended = os.waitpid(child, 0)
        said = os.read(reader, 65536)
        os.close(reader)
        status, changes, error = (
            json.loads(said) if said else (os.waitstatus_to_exitcode(ended), 0, "")
        )
        sys.stdout.write(json.dumps({"status": status, "changes": changes, "error": error}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

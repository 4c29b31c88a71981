"""No room on the disk, none in /dev/shm, no file handle left: one clear sentence, or a refusal, and
service goes on.

The disk and /dev/shm are as large as ever; the C library says that they are full
(`contract_support/faults.c`), which needs neither root nor a mount, and fails as a real tmpfs does:
Triton asks for its memory with posix_fallocate.
"""

from __future__ import annotations

import re
import resource
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from contract_support import servers
from contract_support.attacked import GOOD, PIPELINES, Attacked, attacked, export_dots, living_stubs
from contract_support.calls import Triton, assert_same
from contract_support.faults import build_faults, with_faults
from contract_support.memory import segments
from contract_support.publisher import Publisher
from contract_support.servers import BOXWISE, server_of
from contract_support.trials import Trial
from contract_support.whole import assert_whole
from tritonclient.utils import InferenceServerException

from boxwise_runtime.launcher import ServerOptions
from boxwise_runtime.launcher.files import NEEDED

READY_S, STOP_S = 60, 30
LOG_LINES = 1000  # a start and a stop write some 300
OLD, NEW = range(2)
EVERY = 3  # in the short form, so many changes lie between two moments at which the disk is full


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exhaustion")


@pytest.fixture(scope="module")
def repository(folder: Path) -> Path:
    return export_dots(folder)


@pytest.fixture(scope="module")
def faults(folder: Path) -> Path:
    return build_faults(folder)


@dataclass(frozen=True)
class Command:
    """`boxwise serve`, which runs."""

    process: subprocess.Popen[str]
    options: ServerOptions

    @property
    def triton(self) -> Triton:
        return Triton(self.options.grpc_url, "")

    @property
    def stubs(self) -> frozenset[int]:
        return living_stubs(server_of(self.process))

    def stopped(self) -> int:
        self.process.terminate()
        return self.process.wait(STOP_S)


@contextmanager
def serving(repository: Path, *more: str, **how: Any) -> Iterator[Command]:
    """`boxwise serve` on free ports; `how` as in `servers.serving`."""
    options = ServerOptions.on_free_ports(repository)
    with servers.serving(repository, tuple(options.ports.values()), *more, **how) as process:
        yield Command(process, options)


def refused_to_start(repository: Path, **how: Any) -> str:
    """The one sentence that it ends with; it leaves nothing in /dev/shm."""
    with serving(repository, **how) as command:
        output, errors = command.process.communicate(timeout=READY_S)
    assert (command.process.returncode, output) == (1, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    assert not segments(command.options)
    return errors


def flat(megapixels: int) -> bytes:
    """A small file of a large image."""
    return bytes(
        cv2.imencode(".png", np.zeros((megapixels * 1000, 1000, 3), np.uint8))[1].tobytes()
    )


# A disk without room


def test_an_export_onto_a_full_disk_leaves_what_was_there(
    trial: Trial, folder: Path, repository: Path, faults: Path
) -> None:
    """Full from the n-th write on, for one n after the other."""
    sources = write_new(folder)
    place = folder / "full"
    place.mkdir()
    with Publisher(faults, place, [sources / "dots.yaml", sources / "new.yaml"]) as publisher:
        assert publisher.publish(OLD, place / "base").status == 0
        shutil.copytree(place / "base", place / "counted")
        changes = publisher.publish(NEW, place / "counted").changes
        moments = range(1, changes + 1, trial.of(short=EVERY, long=1))
        refused = 0
        for moment in moments:
            shutil.rmtree(place)
            place.mkdir()
            assert publisher.publish(OLD, place / "repository").status == 0
            ended = publisher.publish(NEW, place / "repository", full=moment)
            assert ended.status in (0, 1), ended
            if ended.status == 1:
                refused += 1
                assert ended.error.startswith(f"{place / 'repository'}: cannot be written ("), ended
                assert "No space left on device" in ended.error
                assert ended.error.endswith("and stays as it was")
            assert assert_whole(place / "repository") == (1 if ended.status else 2)
            assert [path.name for path in place.iterdir()] == ["repository"]
            assert publisher.publish(NEW, place / "repository").status == 0
            assert assert_whole(place / "repository") == 2
    trial.measured(changes=changes, times_full=len(moments), refused=refused)
    assert refused > len(moments) // 3


@pytest.mark.parametrize(
    "command", [["export", "new.yaml", "--out"], ["layout", "fused", "--pipeline", "dots"]]
)
def test_a_command_on_a_full_disk_is_one_sentence(
    folder: Path, repository: Path, faults: Path, command: list[str]
) -> None:
    sources = write_new(folder)
    own = folder / f"full-{command[0]}" / "repository"
    shutil.copytree(repository, own)
    line = [*command, own] if command[0] == "export" else [command[0], own, *command[1:]]
    ended = subprocess.run(
        [BOXWISE, *line],
        cwd=sources,
        env=with_faults(faults, under=own.parent, full=5),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: "), ended.stderr
    assert "No space left on device), and stays as it was" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in own.parent.iterdir()] == ["repository"]


def test_a_server_that_cannot_write_its_cache_says_so(
    repository: Path, folder: Path, faults: Path
) -> None:
    cache = folder / "no-cache"
    environment = with_faults(faults, under=cache, full=1) | {"BOXWISE_CACHE": str(cache)}
    assert "No space left on device): set BOXWISE_CACHE" in refused_to_start(
        repository, environment=environment
    )


def test_a_server_whose_words_find_no_room_serves_all_the_same(repository: Path) -> None:
    with Path("/dev/full").open("w") as full, serving(repository, stdout=full) as command:
        assert len(answered(command)["boxes"]) == 20
        assert command.stopped() == 0
        assert command.process.stderr
        assert command.process.stderr.read() == ""


# /dev/shm without room


def test_a_server_without_room_in_dev_shm_says_so(repository: Path, faults: Path) -> None:
    sentence = refused_to_start(repository, environment=with_faults(faults, shm=5 << 20))
    assert "failed to load: /dev/shm has no room for it" in sentence
    assert "--shm-size" in sentence


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_server_whose_dev_shm_fills_up_refuses_what_is_too_large_for_it(
    trial: Trial, repository: Path, faults: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """By one caller or by several, whose requests wait in lines."""
    for name, value in with_faults(faults, shm=at_once * 24 << 20).items():
        monkeypatch.setenv(name, value)
    with attacked(repository) as target, ThreadPoolExecutor(at_once) as callers:
        said: Counter[str] = Counter()
        for _ in range(trial.of(short=3, long=30)):
            for megapixels in (1, 2, 4, 12, 24):
                for pipeline in PIPELINES:
                    file = flat(megapixels)
                    words = [
                        callers.submit(_asked_of_much, target, pipeline, file)
                        for _ in range(at_once)
                    ]
                    said.update(word.result() for word in words)
                target.assert_unharmed()
    trial.measured(**said)
    assert said["refused"] > 0
    assert said["answered"] > 0


def _asked_of_much(target: Attacked, pipeline: str, file: bytes) -> str:
    try:
        target.triton.predict(pipeline, file)
    except InferenceServerException as error:
        refusal = error
    else:
        return "answered"
    assert refusal.status() == "StatusCode.INTERNAL", refusal
    if "Failed to increase the shared memory pool size" in refusal.message():  # Triton's own
        assert "No space left on device" in refusal.message()
    else:
        assert re.search(
            r"^(\[.*\] )?.*/dev/shm has \d+ bytes left, and a response has \d+: give",
            refusal.message(),
        )
    return "refused"


# File handles


def test_a_server_with_too_few_file_handles_says_so(repository: Path) -> None:
    for files in (256, NEEDED - 1):
        sentence = refused_to_start(repository, files=files)
        assert f"a server may have {files} files open here, and needs {NEEDED}" in sentence


def test_a_server_without_a_file_handle_left_serves_the_connections_it_has(
    trial: Trial, folder: Path, repository: Path
) -> None:
    """Those that come then are taken once others have gone, and its log does not grow meanwhile."""
    connections = NEEDED + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * connections)), hard))
    log = folder / "log"
    with (
        log.open("w") as stderr,
        serving(repository, "--verbose", files=NEEDED, stderr=stderr) as command,
    ):
        answer, stubs, triton = answered(command), command.stubs, command.triton
        assert_same(triton.predict("fused", GOOD), answer)
        waited = []
        for port in command.options.ports.values():
            with ExitStack() as stack:
                for _ in range(connections):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                for _ in range(trial.of(short=20, long=500)):
                    assert_same(triton.predict("fused", GOOD), answer)
            began = time.monotonic()
            assert_same(answered(command), answer)
            waited.append(time.monotonic() - began)
        assert command.stubs == stubs
        assert command.stopped() == 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    lines = log.read_text().splitlines()
    trial.measured(
        connections=connections,
        longest_wait_s_for_a_new_one_afterwards=max(waited),
        log_lines=len(lines),
        refusals_of_accept=max(_times(line) for line in lines if "Too many open files" in line),
    )
    assert len(lines) < LOG_LINES


def _times(line: str) -> int:
    """How often a line of the log came: `log.without_repeats`."""
    return int(line.rpartition("(")[2].removesuffix(" times)")) if line.endswith(" times)") else 1


def answered(command: Command) -> dict[str, np.ndarray]:
    """What a new connection hears of the good image, once the server is ready."""
    deadline = time.monotonic() + READY_S
    while True:
        triton = command.triton
        try:
            return triton.predict("fused", GOOD)
        except InferenceServerException:
            assert command.process.poll() is None, (
                command.process.stderr and command.process.stderr.read()
            )
            assert time.monotonic() < deadline
            time.sleep(0.2)
        finally:
            triton.client.close()


def write_new(folder: Path) -> Path:
    """The pipeline `dots` of `export_dots` with another threshold; returns the folder of both
    files.
    """
    sources = folder / "sources"
    text = (sources / "dots.yaml").read_text()
    (sources / "new.yaml").write_text(text.replace("score_threshold: 0.2", "score_threshold: 0.95"))
    return sources

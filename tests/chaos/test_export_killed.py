"""An export that is killed at any write: the old version is served on, nothing is half there, the
next one succeeds.

The kill is a SIGKILL inside the C library, before the n-th call that changes a file, or in the
midst of it where it
writes: `contract_support/faults.c`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from contract_support.attacked import GOOD
from contract_support.calls import Answer, Triton, assert_same
from contract_support.faults import build_faults, with_faults
from contract_support.publisher import Publisher
from contract_support.servers import BOXWISE
from contract_support.synthetic import DOTS, SHADE, write_dots_detector, write_mean_classifier
from contract_support.trials import Trial
from contract_support.whole import assert_whole

from boxwise_export.repository.atomic_dir import locked
from boxwise_export.repository.revisions import rollback
from boxwise_runtime.launcher import ServerOptions, TritonProcess

OLD, NEW = range(2)
EVERY = (
    3  # in the short form, so many changes lie between two kills; in the long one each has its own
)
# About so many kills of `boxwise export` itself; a server starts after each.
COMMANDS = {
    "short": 3,
    "long": 60,
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The old, with a classifier, and the new, which has other boxes and none: models come, change
    and are retired.
    """
    folder = tmp_path_factory.mktemp("pipelines")
    write_dots_detector(folder / "dots.onnx")
    write_mean_classifier(folder / "mean.onnx")
    files = []
    for name, more in (
        ("old", {"classifiers": [SHADE]}),
        ("new", {"detector": DOTS | {"score_threshold": 0.95}}),
    ):
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump({"name": "dots", "detector": DOTS, **more}))
    return files


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """What lies here is counted. It is in memory: a disk takes its time to sync, and a kill loses
    nothing there.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="boxwise-trial-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def publisher(faults: Path, place: Path, pipelines: list[Path]) -> Iterator[Publisher]:
    with Publisher(faults, place, pipelines) as publisher:
        yield publisher


@pytest.fixture
def fresh(publisher: Publisher, place: Path) -> Callable[[], Path]:
    """A repository that serves the old as its third revision, so that one more has an old one to
    forget.
    """
    base = place / "base"
    if not base.exists():
        for pipeline in (OLD, NEW, OLD):
            assert publisher.publish(pipeline, base).status == 0

    def copy() -> Path:
        shutil.rmtree(place / "try", ignore_errors=True)
        (place / "try").mkdir()
        return Path(shutil.copytree(base, place / "try" / "repository"))

    return copy


def test_a_kill_at_any_write_leaves_the_old_or_the_new(
    trial: Trial, publisher: Publisher, fresh: Callable[[], Path]
) -> None:
    changes = publisher.publish(NEW, fresh()).changes
    after = {"old": 0, "new": 0}
    moments = range(1, changes + 1, trial.of(short=EVERY, long=1))
    for moment in moments:
        repository = fresh()
        assert publisher.publish(NEW, repository, kill=moment).status == -9, moment
        after["old" if assert_whole(repository) == 3 else "new"] += 1
        assert publisher.publish(NEW, repository).status == 0, moment
        assert assert_whole(repository) == 4
        assert [path.name for path in repository.parent.iterdir()] == ["repository"], moment
    assert rollback(repository).current == 3
    assert assert_whole(repository) == 3
    trial.measured(
        changes=changes, kills=len(moments), old_after=after["old"], new_after=after["new"]
    )
    assert publisher.publish(NEW, fresh(), kill=changes + 1).status == 0
    assert min(after.values()) > 0


def test_a_kill_of_the_first_export_leaves_nothing_to_serve_or_all_of_it(
    trial: Trial, publisher: Publisher, place: Path
) -> None:
    folder = place / "first"
    changes = publisher.publish(NEW, folder / "counted").changes
    moments = range(1, changes + 1, trial.of(short=EVERY, long=1))
    for moment in moments:
        shutil.rmtree(folder)
        folder.mkdir()
        assert publisher.publish(NEW, folder / "repository", kill=moment).status == -9
        assert not (folder / "repository").exists() or assert_whole(folder / "repository") == 1
        assert publisher.publish(NEW, folder / "repository").status == 0
        assert assert_whole(folder / "repository") == 1
        assert [path.name for path in folder.iterdir()] == ["repository"]
    trial.measured(changes=changes, kills=len(moments))


@pytest.mark.timeout(0)
def test_a_server_serves_on_while_exports_are_killed_under_it(
    trial: Trial,
    publisher: Publisher,
    fresh: Callable[[], Path],
    faults: Path,
    pipelines: list[Path],
) -> None:
    """`boxwise export` as a user starts it, killed; then the next server, on what it left."""
    changes = publisher.publish(NEW, fresh()).changes
    moments = range(changes, 1, -(changes // trial.of(**COMMANDS)))
    repository = fresh()
    started = {"old": 0, "new": 0}
    options = ServerOptions.on_free_ports(repository)
    with TritonProcess.start(options):
        running = Triton(options.grpc_url, "")
        old = running.predict("dots", GOOD)
        assert len(old["boxes"]) == 20
        for tried, moment in enumerate(moments):
            trial.progress(tried, len(moments), "kills")
            # What the last one left is cleared, so that a moment is what it was when counted.
            with locked(repository):
                pass
            killed = subprocess.run(
                [BOXWISE, "export", pipelines[NEW], "--out", repository],
                env=with_faults(faults, under=repository.parent, kill=moment),
                capture_output=True,
                check=False,
            )
            assert killed.returncode in (-9, 0), killed.stderr
            assert_same(running.predict("dots", GOOD), old)
            assert_whole(repository)
            said = _asked_anew(repository)
            if "shade_ids" in said:
                started["old"] += 1
                assert_same(said, old)
            else:
                started["new"] += 1
                assert 0 < len(said["boxes"]) < 20
                rollback(repository)
        assert publisher.publish(NEW, repository).status == 0
        assert "shade_ids" not in _asked_anew(repository)
        assert_same(running.predict("dots", GOOD), old)
    assert min(started.values()) > 0
    trial.measured(
        kills=len(moments), started_with_old=started["old"], started_with_new=started["new"]
    )


def _asked_anew(repository: Path) -> Answer:
    """What a server that starts now says of the good image."""
    options = ServerOptions.on_free_ports(repository)
    with TritonProcess.start(options):
        return Triton(options.grpc_url, "").predict("dots", GOOD)

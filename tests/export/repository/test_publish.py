"""What is published: the next version of what changed and of nothing else, and a reader never sees
half of it.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
from contract_support.publisher import publish_plan

from boxwise_export.errors import ExportError, RepositoryError
from boxwise_export.export import export
from boxwise_export.pipeline import load_pipeline
from boxwise_export.plan import Plan, make_plan
from boxwise_export.repository import atomic_dir
from boxwise_export.repository.atomic_dir import locked, write_file
from boxwise_export.repository.configs import read_config
from boxwise_export.repository.manifest import Manifest, find_manifest
from boxwise_export.repository.revisions import rollback

Write = Callable[[str], Path]
DETECTOR = "name: %s\ndetector: {weights: detector.onnx, labels: [car, dog], score_threshold: %s}\n"
CLASSIFIER = (
    "classifiers: [{name: color, weights: classifier.onnx, labels: [red, green, blue], crop: "
    "{size: 8}}]\n"
)
STAGES = {"", "_raw", "_info", "_preprocess", "_detector", "_nms"}


@pytest.fixture(autouse=True)
def _one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.fixture
def plan(write_pipeline: Write) -> Callable[..., Plan]:
    """A plan of the pipeline "street", made without the gate."""

    def make(score: float = 0.3, *, classifier: bool = False) -> Plan:
        text = DETECTOR % ("street", score) + (CLASSIFIER if classifier else "")
        return make_plan(load_pipeline(write_pipeline(text)), cores=2)

    return make


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def version_named(folder: Path, model: str) -> int:
    """By the model's config.pbtxt, as Triton reads it."""
    (version,) = read_config(folder / model / "config.pbtxt").version_policy.specific.versions
    return int(version)


def served(folder: Path) -> dict[str, bytes]:
    """What Triton would load: configurations, and the versions that they name."""
    everything = snapshot(folder)
    models = [path.parent.name for path in folder.glob("*/config.pbtxt")]
    current = {model: str(version_named(folder, model)) for model in models}
    return {
        f"{model}/{path}": content
        for model in models
        for name, content in everything.items()
        if name.startswith(f"{model}/")
        for path in [name.removeprefix(f"{model}/")]
        if path.split("/")[0] in ("config.pbtxt", "configs", current[model])
    }


def test_models_and_manifest(write_pipeline: Write, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    exported = export(write_pipeline(DETECTOR % ("street", 0.3)), out, cores=2)
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        f"street{stage}" for stage in STAGES
    }
    manifest = json.loads((out / "street.manifest.json").read_text())
    (revision,) = manifest["revisions"]
    assert (manifest["current"], revision["published"]) == (1, "2023-11-14T22:13:20+00:00")
    assert revision["models"] == {f"street{stage}": 1 for stage in STAGES}
    assert revision["sources"]["detector"]["weights"] == "detector.onnx"
    assert revision["file"] == DETECTOR % ("street", 0.3)
    assert revision["parity"] == json.loads(json.dumps(exported.parity.document()))
    assert set(revision["digests"]["street_detector"]) == {
        "config.pbtxt",
        "configs/onnxruntime.pbtxt",
        "configs/tensorrt.pbtxt",
        "model.py",
        "model.onnx",
    }
    assert str(tmp_path) not in (out / "street.manifest.json").read_text()
    assert not [path for path in out.rglob("*") if path.is_file() and path.stat().st_mode & 0o222]


def test_the_same_export_is_the_same_bytes(write_pipeline: Write, tmp_path: Path) -> None:
    file = write_pipeline(DETECTOR % ("street", 0.3))
    for name in ("a", "b"):
        export(file, tmp_path / name, cores=2)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")
    assert export(file, tmp_path / "b", cores=2).publication.lines() == [
        "nothing changed: revision 1 stays"
    ]
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_only_what_changed_gets_a_version(plan: Callable[..., Plan], tmp_path: Path) -> None:
    out = tmp_path / "repository"
    publish_plan(plan(0.3), out)
    before = snapshot(out)
    publication = publish_plan(plan(0.6), out)
    assert sorted(publication.changed) == [
        "street",
        "street_info",
        "street_preprocess",
        "street_raw",
    ]
    assert publication.revision.models["street_detector"] == 1
    after = snapshot(out)
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == set(publication.changed)
    kept = {name for name in before if "/1/" in name}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    steps = (out / "street" / "config.pbtxt").read_text()
    assert 'model_name: "street_preprocess"\n    model_version: 2' in steps
    assert 'model_name: "street_detector"\n    model_version: 1' in steps


def test_a_revision_of_boxwise_0_1_gets_one_that_records_how_it_is_served(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    out = tmp_path / "repository"
    publish_plan(plan(), out)
    manifest = out / "street.manifest.json"
    document = json.loads(manifest.read_text())
    del document["revisions"][0]["serving"], document["revisions"][0]["engines"]
    write_file(manifest, json.dumps(document).encode())
    with pytest.raises(RepositoryError, match=r"revision 1 was exported by boxwise 0\.1"):
        find_manifest(out).serving()
    publication = publish_plan(plan(), out)
    assert publication.lines() == ["published revision 2: every model stays as it was"]
    assert find_manifest(out).serving().threads == 1
    again = publish_plan(plan(), out)
    assert again.lines() == ["nothing changed: revision 2 stays"]


def test_a_file_that_was_changed_by_hand_is_published_anew(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    out = tmp_path / "repository"
    publish_plan(plan(), out)
    write_file(out / "street_nms" / "config.pbtxt", b"not a configuration")
    publication = publish_plan(plan(), out)
    assert sorted(publication.changed) == ["street", "street_nms", "street_raw"]
    assert version_named(out, "street_nms") == 2


def test_two_pipelines_share_a_repository(write_pipeline: Write, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    export(write_pipeline(DETECTOR % ("one", 0.3)), out, cores=2)
    first = snapshot(out)
    export(write_pipeline(DETECTOR % ("two", 0.3)), out, cores=2)
    both = snapshot(out)
    assert {name: both[name] for name in first} == first
    with pytest.raises(RepositoryError, match="holds one, two; say which with --pipeline"):
        rollback(out)
    text = DETECTOR % ("one", 0.3) + CLASSIFIER.replace("color", "x")
    export(write_pipeline(text.replace("one", "two_classifier_x", 1)), out, cores=2)
    with pytest.raises(
        RepositoryError, match="pipeline 'two_classifier_x' has a model 'two_classifier_x' too"
    ):
        export(write_pipeline(text.replace("one", "two", 1)), out, cores=2)


def test_going_back_and_forth(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """A classifier comes and goes with the revisions, and is not loaded where it is not served."""
    out = tmp_path / "repository"
    states = {}
    for number, (score, classifier) in enumerate([(0.3, False), (0.3, True), (0.6, False)], 1):
        assert publish_plan(plan(score, classifier=classifier), out).revision.number == number
        states[number] = served(out)
    assert not (out / "street_classifier_color").exists()
    assert rollback(out).current == 2
    assert served(out) == states[2]
    assert "street_classifier_color/1/model.onnx" in states[2]
    for number in (1, 3, 2, 1):
        assert rollback(out, "street", number).current == number
        assert served(out) == states[number]
    with pytest.raises(RepositoryError, match="revision 1 is the first that is kept"):
        rollback(out)
    assert publish_plan(plan(0.3, classifier=True), out, keep=2).revision.number == 4
    assert [each.number for each in find_manifest(out).revisions] == [1, 4]
    with pytest.raises(RepositoryError, match="there is no revision 3; kept are 1, 4"):
        rollback(out, number=3)
    assert [each.name for each in (out / "street_detector").iterdir() if each.is_dir()] == [
        "configs",
        "1",
    ]


def test_one_goes_back_to_what_was_served_and_not_to_what_was_rolled_back(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """The third is bad, and so is the fourth, which was to fix it: from there one goes back to the
    second.
    """
    out = tmp_path / "repository"
    for score in (0.1, 0.2, 0.3):
        publish_plan(plan(score), out)
    assert rollback(out).current == 2
    assert publish_plan(plan(0.4), out, keep=4).revision.number == 4
    assert [rollback(out).current for _ in range(3)] == [2, 1, 3]
    with pytest.raises(RepositoryError, match="revision 3 is the first that is kept"):
        rollback(out)
    rollback(out, number=4)
    assert publish_plan(plan(0.5), out).revision.number == 5
    assert [each.number for each in find_manifest(out).revisions] == [2, 4, 5]


def test_what_is_not_kept_is_removed(plan: Callable[..., Plan], tmp_path: Path) -> None:
    out = tmp_path / "repository"
    publish_plan(plan(0.3, classifier=True), out, keep=1)
    publish_plan(plan(0.6), out, keep=1)
    assert not list(out.rglob("street_classifier_color"))
    assert [path.name for path in (out / "street_preprocess").iterdir() if path.is_dir()] == ["2"]


def moments(change: Callable[[], object], folder: Path, copies: Path) -> Iterator[Path]:
    """Run the change, and give a copy of the folder as it was before each change of a file, and
    after the last: what a kill at that moment leaves, which undoes nothing.
    """
    number, copying = 0, False

    def copy() -> None:
        nonlocal number, copying
        copying = True
        shutil.copytree(folder, copies / str(number), copy_function=os.link)
        number, copying = number + 1, False

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if not copying:
                copy()
            return real(*args, **kwargs)

        return call

    with ExitStack() as patches:
        for owner, name in (
            (os, "rename"),
            (os, "link"),
            (os, "unlink"),
            (os, "mkdir"),
            (os, "rmdir"),
            (os, "fsync"),
            (atomic_dir, "_rename_exchange"),
        ):
            real = getattr(owner, name)
            patches.enter_context(mock.patch.object(owner, name, watched(real)))
        change()
    copy()
    return (copies / str(each) for each in range(number))


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder without a disk, whose syncs take a minute of hundreds of kills, of which none loses
    power.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="boxwise-test-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
    plan: Callable[..., Plan], in_memory: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(
            atomic_dir, "_rename_exchange", mock.Mock(side_effect=OSError(errno.EINVAL, "cannot"))
        )
    out = in_memory / "work" / "repository"
    first, second = plan(0.3, classifier=True), plan(0.6)
    publish_plan(first, out)
    before, seen = snapshot(out), set()
    copies = in_memory / "copies"
    for moment in moments(lambda: publish_plan(second, out), out.parent, copies):
        left = moment / out.name
        with locked(left):  # as whatever changes it next
            after = snapshot(left)
        seen.add(after == before)
        if after != before:
            assert find_manifest(left).current == 2, moment
            assert rollback(left).current == 1  # and nothing stands in the way of what comes next
        assert not list(moment.glob(".repository*"))
    assert seen == {True, False}


def test_a_failure_at_any_moment_leaves_what_was_there(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    out = tmp_path / "repository"
    first, second = plan(0.3), plan(0.6)
    publish_plan(first, out)
    before = snapshot(out)
    for step in (
        "atomic_dir.share",
        "versions.write_file",
        "publish.serve",
        "publish.prune",
        "atomic_dir._exchange",
    ):
        with (
            mock.patch(f"boxwise_export.repository.{step}", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            publish_plan(second, out)
        assert snapshot(out) == before
        assert not list(tmp_path.glob(".repository*"))
    with (
        mock.patch("boxwise_export.repository.versions.write_file", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        publish_plan(first, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_wrong_pipeline_leaves_no_repository(write_pipeline: Write, tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        export(
            write_pipeline("detector: {weights: detector.onnx, labels: coco}"),
            tmp_path / "repository",
        )
    assert not (tmp_path / "repository").exists()


def test_somebody_else_s_folder_is_not_touched(write_pipeline: Write, tmp_path: Path) -> None:
    stranger = tmp_path / "home" / "photos"
    stranger.mkdir(parents=True)
    with pytest.raises(ExportError, match="holds 'photos', which boxwise did not write"):
        export(write_pipeline(DETECTOR % ("one", 0.6)), tmp_path / "home")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="a file; expected a folder"):
        export(write_pipeline(DETECTOR % ("one", 0.6)), tmp_path / "file")


def test_a_manifest_that_is_none_is_named(plan: Callable[..., Plan], tmp_path: Path) -> None:
    out = tmp_path / "repository"
    publish_plan(plan(), out)
    for wrong in (
        "{}",
        "nothing",
        (out / "street.manifest.json").read_text().replace('"number": 1', '"number": "x"'),
    ):
        write_file(out / "street.manifest.json", wrong.encode())
        with pytest.raises(
            RepositoryError, match=r"street\.manifest\.json: not a manifest of schema 1"
        ):
            publish_plan(plan(), out)


def test_a_repository_without_pipelines_is_none(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="holds no pipeline"):
        rollback(tmp_path)
    assert Manifest.model_fields.keys() == {"schema_version", "pipeline", "current", "revisions"}

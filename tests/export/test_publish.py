"""What is published, and that a reader never sees half of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from boxwise_export import publish as publish_module
from boxwise_export.errors import ExportError
from boxwise_export.export import export

Write = Callable[[str], Path]
DETECTOR = "name: %s\ndetector: {weights: detector.onnx, labels: [car, dog], score_threshold: %s}\n"
STAGES = {"", "_raw", "_info", "_preprocess", "_detector", "_nms"}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_and_manifest(write_pipeline: Write, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    export(write_pipeline(DETECTOR % ("street", 0.3)), out, cores=2)
    assert {path.name for path in out.iterdir() if path.is_dir()} == {f"street{stage}" for stage in STAGES}
    manifest = json.loads((out / "street.manifest.json").read_text())
    assert set(manifest["models"]) == {f"street{stage}" for stage in STAGES}
    assert manifest["sources"]["detector"]["weights"] == "detector.onnx"
    assert set(manifest["models"]["street_detector"]) == {
        "config.pbtxt", "configs/onnxruntime.pbtxt", "configs/tensorrt.pbtxt", "1/model.py", "1/model.onnx",
    }  # fmt: skip


def test_the_same_export_is_the_same_bytes(write_pipeline: Write, tmp_path: Path) -> None:
    file = write_pipeline(DETECTOR % ("street", 0.3))
    for name in ("a", "b"):
        export(file, tmp_path / name, cores=2)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_two_pipelines_share_a_repository_and_each_can_be_exported_again(write_pipeline: Write, tmp_path: Path) -> None:
    out = tmp_path / "repository"
    export(write_pipeline(DETECTOR % ("one", 0.3)), out, cores=2)
    first = snapshot(out)
    export(write_pipeline(DETECTOR % ("two", 0.3)), out, cores=2)
    both = snapshot(out)
    assert {name: both[name] for name in first} == first
    export(write_pipeline(DETECTOR % ("one", 0.6)), out, cores=2)
    changed = {name for name, content in snapshot(out).items() if content != both[name]}
    assert changed == {"one_preprocess/config.pbtxt", "one_info/1/info.json", "one.manifest.json"}


@pytest.mark.parametrize("failing_move", range(1, 15))
def test_a_failure_at_any_move_leaves_what_was_there(
    write_pipeline: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_move: int
) -> None:
    out = tmp_path / "repository"
    export(write_pipeline(DETECTOR % ("one", 0.3)), out, cores=2)
    before, moves, rename = snapshot(out), 0, Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == failing_move:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(publish_module.Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(write_pipeline(DETECTOR % ("one", 0.6)), out, cores=2)
    monkeypatch.undo()
    assert snapshot(out) == before
    assert not list(tmp_path.glob(".repository.*"))


def test_a_wrong_pipeline_leaves_no_repository(write_pipeline: Write, tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        export(write_pipeline("detector: {weights: detector.onnx, labels: coco}"), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_a_first_export_that_is_interrupted_leaves_no_repository(
    write_pipeline: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publish_module.Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(write_pipeline(DETECTOR % ("one", 0.6)), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_somebody_else_s_folder_is_not_touched(write_pipeline: Write, tmp_path: Path) -> None:
    stranger = tmp_path / "home" / "photos"
    stranger.mkdir(parents=True)
    with pytest.raises(ExportError, match="holds 'photos', which boxwise did not write"):
        export(write_pipeline(DETECTOR % ("one", 0.6)), tmp_path / "home")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="a file; expected a folder"):
        export(write_pipeline(DETECTOR % ("one", 0.6)), tmp_path / "file")

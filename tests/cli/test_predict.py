"""`boxwise predict` against a server with scripted replies: what is printed, written, and returned
to the shell.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from boxwise_cli.app import app

# The scripted server is the client's tests' own; test folders are no packages, so it is run, not
# imported.
_client_tests = runpy.run_path(str(Path(__file__).parents[1] / "client" / "conftest.py"))
server = _client_tests["server"]
outputs = _client_tests["outputs"]

Predict = Callable[..., Result]


@pytest.fixture
def predict(server: Any, monkeypatch: pytest.MonkeyPatch) -> Predict:
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(
            app, ["predict", "--url", server.url, "--pipeline", "street", *map(str, arguments)]
        )

    return run


def photo(path: Path, orientation: int = 1) -> Path:
    """An image that is shown as 96 x 64, the size that the scripted server answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (96, 64) if orientation < 5 else (64, 96), "grey").save(path, exif=exif)
    return path


def test_a_table_has_a_row_a_detection(predict: Predict, tmp_path: Path) -> None:
    file = photo(tmp_path / "[bold]kitchen.jpg")
    done = predict(file)
    assert (done.exit_code, done.stderr) == (0, "")
    rows = [line for line in done.stdout.splitlines() if "kitchen.jpg" in line]
    assert [row.split("│")[2:6] for row in rows] == [
        [" 10 20 40 60 ", " cup   ", "  0.75 ", " espresso 0.88 "],
        [" 1 2 3 4     ", " cat   ", "  0.50 ", "               "],
    ]
    assert all("[bold]" in row for row in rows)


def test_an_image_without_objects_says_so(
    predict: Predict, server: Any, outputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    size = outputs.pop("image_size")
    server.answer(
        "street", {name: array[:0] for name, array in outputs.items()} | {"image_size": size}
    )
    file = photo(tmp_path / "a.jpg")
    assert "nothing found" in predict(file).stdout
    assert json.loads(predict(file, "--json").stdout) == [
        {"file": str(file), "image_size": [64, 96], "detections": []}
    ]


def test_json_is_the_documented_form_and_nothing_else(predict: Predict, tmp_path: Path) -> None:
    file = photo(tmp_path / "a.jpg")
    done = predict(file, "--json", "--save", tmp_path / "out")
    assert done.exit_code == 0
    (answer,) = json.loads(done.stdout)
    assert list(answer) == ["file", "image_size", "detections"]
    assert answer["file"] == str(file)
    assert answer["image_size"] == [64, 96]
    assert answer["detections"][0] == {
        "xyxy": [10.0, 20.0, 40.0, 60.0],
        "confidence": 0.75,
        "class_id": 1,
        "class_name": "cup",
        "labels": {
            "imagenet": [
                {"id": 2, "name": "espresso", "score": 0.875},
                {"id": 0, "name": "mug", "score": 0.125},
            ]
        },
    }
    assert answer["detections"][1]["labels"] == {"imagenet": []}
    assert "annotated images saved: 1" in done.stderr


def test_a_folder_is_its_images_by_name(predict: Predict, tmp_path: Path) -> None:
    expected = [
        photo(tmp_path / name)
        for name in ("a.JPG", "b.jpeg", "c.png", "d.webp", "e.bmp", "f.tif", "g.gif")
    ]
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.JPG").write_text("what macOS knows of a.JPG")
    photo(tmp_path / "deeper" / "f.jpg")
    found = json.loads(predict(tmp_path, expected[0], "--json").stdout)
    assert [each["file"] for each in found] == [str(file) for file in expected]


def test_a_video_is_its_frames_and_those_that_fail_are_counted(
    predict: Predict, shared_cases: Path
) -> None:
    video = shared_cases / "one_bad_packet.avi"
    done = predict(video, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [each["frame"] for each in found] == list(range(60))
    assert [each["time_s"] for each in found] == pytest.approx(
        [number / 10 for number in range(60)]
    )
    assert [each["frame"] for each in found if "error" in each] == [30]
    assert "frame 30" in found[30]["error"]
    assert all(len(each["detections"]) == 2 for each in found if each["frame"] != 30)
    said = " ".join(done.stderr.split())
    assert (
        f"error: {video}: 1 of 60 frames failed; the first: image: frame 30 of {video} "
        "cannot be decoded" in said
    )
    table = predict(video)
    assert table.exit_code == 1
    assert "one_bad_packet.avi, frame 29" in table.stdout
    assert "failed" in table.stdout


def test_base64_in_place_of_a_file_is_named_and_not_quoted(
    predict: Predict, shared_cases: Path
) -> None:
    done = predict((shared_cases / "images" / "base64.txt").read_text()[:5000])
    assert done.exit_code == 1
    assert "is base64 text" in done.stderr
    assert len(done.stderr) < 500


def test_annotated_videos_are_not_offered(predict: Predict, tmp_path: Path) -> None:
    done = predict(tmp_path / "a.mp4", "--save", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "a.mp4 is a video" in done.stderr
    assert not (tmp_path / "out").exists()


def test_options_reach_the_server(predict: Predict, server: Any, tmp_path: Path) -> None:
    predict(
        photo(tmp_path / "a.jpg"),
        "--score-threshold",
        0.5,
        "--iou-threshold",
        0.25,
        "--max-detections",
        3,
    )
    request = server.requests[-1]
    sent = dict(
        zip((each.name for each in request.inputs), request.raw_input_contents, strict=True)
    )
    assert np.frombuffer(sent["score_threshold"], np.float32).tolist() == [0.5]
    assert np.frombuffer(sent["iou_threshold"], np.float32).tolist() == [0.25]
    assert np.frombuffer(sent["max_detections"], np.int32).tolist() == [3]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.jpg", "--score-threshold", 1.5],
        ["a.jpg", "--max-detections", 0],
        ["a.jpg", "--no-such"],
    ],
)
def test_wrong_usage_is_exit_code_2(predict: Predict, arguments: list[object]) -> None:
    done = predict(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")


def test_one_bad_image_does_not_stop_the_rest(
    predict: Predict, server: Any, tmp_path: Path
) -> None:
    good, bad, missing = photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg"), tmp_path / "c.jpg"
    bad.write_bytes(b"broken")

    server.refusal = lambda request: (
        (grpc.StatusCode.INVALID_ARGUMENT, "in ensemble 'street', image: not an image")
        if b"broken" in request.raw_input_contents
        else None
    )
    done = predict(bad, missing, good, "--json")
    assert done.exit_code == 1
    assert [each["file"] for each in json.loads(done.stdout)] == [str(good)]
    assert done.stderr.splitlines() == [
        f"error: {bad}: image: not an image",
        f"error: image: cannot read {missing}: No such file or directory",
    ]


def test_a_folder_without_images_is_named(predict: Predict, tmp_path: Path) -> None:
    done = predict(tmp_path)
    assert done.exit_code == 1
    assert f"error: {tmp_path}: no image (.jpg, .jpeg, .jpe, " in done.stderr


def test_nobody_there_is_one_sentence(predict: Predict, tmp_path: Path) -> None:
    files = [photo(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    done = predict(*files, "--url", "localhost:1", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert "localhost:1" in sentence
    assert "boxwise serve" in sentence


def test_a_server_that_goes_away_leaves_what_was_answered(
    predict: Predict, server: Any, tmp_path: Path
) -> None:
    files = [photo(tmp_path / f"{i}.jpg") for i in range(5)]

    server.refusal = lambda request: (
        (grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if len(server.requests) > 3  # the info and two images
        else None
    )
    done = predict(*files, "--json")
    assert done.exit_code == 1
    assert [each["file"] for each in json.loads(done.stdout)] == [str(file) for file in files[:2]]
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_pipeline_is_named(predict: Predict, tmp_path: Path) -> None:
    done = predict(photo(tmp_path / "a.jpg"), "--pipeline", "avenue")
    assert done.exit_code == 1
    assert "no pipeline 'avenue'" in done.stderr


def test_an_http_address_is_one_sentence(predict: Predict, tmp_path: Path) -> None:
    done = predict(photo(tmp_path / "a.jpg"), "--url", "http://localhost:8000")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: target: expected HOST:PORT of the gRPC port")


def test_annotated_images_keep_their_names_apart(predict: Predict, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = [photo(tmp_path / name) for name in ("a/x.jpg", "b/x.jpg", "b/x.png", "c/x-2.jpg")]
    done = predict(*files, "--save", out)
    assert done.exit_code == 0
    assert f"annotated images saved: 4, in {out}" in done.stdout
    assert sorted(each.name for each in out.iterdir()) == ["x-2-2.jpg", "x-2.jpg", "x.jpg", "x.png"]


def test_an_annotated_image_never_replaces_its_source(predict: Predict, tmp_path: Path) -> None:
    file = photo(tmp_path / "x.jpg")
    before = file.read_bytes()
    assert predict(file, "--save", tmp_path).exit_code == 0
    assert file.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x-2.jpg", "x.jpg"]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_annotated_image_is_upright(predict: Predict, tmp_path: Path, orientation: int) -> None:
    file = photo(tmp_path / "x.jpg", orientation)
    assert predict(file, "--save", tmp_path / "out").exit_code == 0
    with Image.open(tmp_path / "out" / "x.jpg") as annotated:
        assert annotated.size == (96, 64)
        assert annotated.getexif().get(0x0112, 1) == 1
        red, green, blue = annotated.convert("RGB").getpixel((25, 59))  # type: ignore[misc]
    assert max(red, green, blue) - min(red, green, blue) > 60  # the cup's box, in its colour


def test_an_image_that_can_not_be_written_leaves_nothing(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(self: Image.Image, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    file = photo(tmp_path / "x.jpg")
    monkeypatch.setattr(Image.Image, "save", disk_full)
    done = predict(file, "--save", tmp_path / "out")
    assert done.exit_code == 1
    assert f"error: {file}: [Errno 28] No space left on device" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_can_not_be_made_is_named(
    predict: Predict, server: Any, tmp_path: Path
) -> None:
    file = photo(tmp_path / "x.jpg")
    done = predict(file, "--save", file)
    assert done.exit_code == 1
    assert f"--save: cannot make the folder {file}: File exists" in done.stderr
    assert server.requests == []


def test_progress_is_shown_only_on_a_terminal(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [photo(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    assert "Predicting" not in predict(*files).output
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    assert "Predicting" in predict(*files).stderr
    assert "Predicting" not in predict(files[0]).output

"""Labelled sets as people have them, the broken ones first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxwise_eval.datasets import load
from boxwise_eval.errors import EvalError

WritePicture = Callable[..., Path]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def coco(**changes: Any) -> str:
    document = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 3, "name": "car"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 9, "bbox": [10, 20, 30, 5], "iscrowd": 1, "area": 12},
            {"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "attributes": {"color": "red"}},
        ],
    }
    return json.dumps(document | changes)


def voc(boxes: str, name: str = "a.png") -> str:
    return f"<annotation><filename>{name}</filename>{boxes}</annotation>"


def box(name: str = "car", edges: tuple[object, ...] = (1, 1, 100, 50), difficult: int = 0) -> str:
    sides = "".join(
        f"<{side}>{edge}</{side}>" for side, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


@pytest.mark.parametrize("make", ["nothing", "empty", "text", "no pictures"])
def test_no_set(tmp_path: Path, make: str) -> None:
    data = tmp_path / "data"
    if make != "nothing":
        data.mkdir()
    if make == "text":
        write(data / "readme.txt", "hello")
    if make == "no pictures":
        (data / "cat").mkdir()
    with pytest.raises(EvalError, match="no such folder" if make == "nothing" else "not a labelled set; expected COCO"):
        load(data)


@pytest.mark.parametrize("place", [".", "images", "../images", "../val"])
def test_coco(tmp_path: Path, write_picture: WritePicture, place: str) -> None:
    write(tmp_path / "annotations" / "instances_val.json", coco())
    write(tmp_path / "annotations" / "captions.json", "[]")
    write_picture(f"annotations/{place}/a.png")
    for data in (tmp_path, tmp_path / "annotations" / "instances_val.json"):
        dataset = load(data)
        (picture,) = dataset.pictures
        assert (dataset.kind, dataset.names, dataset.boxed) == ("COCO", ("car", "dog"), True)
        assert picture.boxes.tolist() == [[10, 20, 40, 25], [0, 0, 1, 1]]
        assert picture.class_ids.tolist() == [1, 0]
        assert picture.crowd.tolist() == [True, False]
        assert picture.areas.tolist() == [12, 1]
        assert picture.labels == {"color": [None, "red"]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "not a JSON file that can be read"),
        ("{}", "not COCO's format of instances"),
        (coco(images=[]), "has no images"),
        (coco(images=[{"id": 7, "file_name": "b.png"}]), r"b\.png is not there; looked in"),
        (
            coco(annotations=[{"image_id": 7, "category_id": 4, "bbox": [0, 0, 1, 1]}]),
            r"an annotation of a\.png is wrong",
        ),
        (coco(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 1]}]), r"an annotation of a\.png is wrong"),
    ],
)
def test_coco_that_is_wrong(tmp_path: Path, write_picture: WritePicture, text: str, sentence: str) -> None:
    write(tmp_path / "set.json", text)
    write_picture("a.png")
    with pytest.raises(EvalError, match=sentence):
        load(tmp_path / "set.json")


def test_several_sets_of_coco(tmp_path: Path) -> None:
    write(tmp_path / "a.json", coco())
    write(tmp_path / "b.json", coco())
    with pytest.raises(EvalError, match=r"holds several sets \(a\.json, b\.json\); name one of the files"):
        load(tmp_path)


def test_coco_without_boxes(tmp_path: Path, write_picture: WritePicture) -> None:
    write(tmp_path / "set.json", coco(annotations=[]))
    write_picture("a.png")
    assert load(tmp_path).pictures[0].boxes.shape == (0, 4)


def test_yolo(tmp_path: Path, write_picture: WritePicture) -> None:
    """A picture on its side is measured as it is shown; one without a file of labels has nothing on it."""
    write_picture("images/a.jpg", 100, 50, orientation=6)
    write_picture("images/deep/b.png")
    write_picture("images/c.png")
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 1 1\n\n1 0.1 0.1 0.2 0.1\n")
    write(tmp_path / "labels" / "deep" / "b.txt", "1 0.5 0.5 0.01 0.02\n")
    dataset = load(tmp_path)
    assert (dataset.kind, dataset.names) == ("YOLO", None)
    found = {picture.path.name: picture for picture in dataset.pictures}
    assert found["a.jpg"].boxes.tolist() == [[0, 0, 50, 100], [0, 5, 10, 15]]
    assert found["a.jpg"].class_ids.tolist() == [0, 1]
    assert found["b.png"].boxes.tolist() == [[49.5, 24.5, 50.5, 25.5]]
    assert found["c.png"].boxes.shape == (0, 4)
    write(tmp_path / "data.yaml", "names: {0: car, 1: dog}")
    assert load(tmp_path).names == ("car", "dog")
    write(tmp_path / "classes.txt", "bus\ncat\n")
    assert load(tmp_path).names == ("bus", "cat")


@pytest.mark.parametrize("line", ["0 0.5 0.5 1", "car 0.5 0.5 1 1", "0 0.5 0.5 1 1 0.9", "0.5 0.5 0.5 1 1"])
def test_yolo_that_is_wrong(tmp_path: Path, write_picture: WritePicture, line: str) -> None:
    write_picture("images/a.png")
    write(tmp_path / "labels" / "a.txt", f"0 0.5 0.5 1 1\n{line}\n")
    with pytest.raises(EvalError, match=r"a\.txt, line 2: expected `class cx cy w h` in fractions"):
        load(tmp_path)


def test_yolo_without_labels_or_pictures(tmp_path: Path, write_picture: WritePicture) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(EvalError, match="holds no picture"):
        load(tmp_path)
    write_picture("images/a.png").write_bytes(b"nothing")
    with pytest.raises(EvalError, match=r"holds no \.txt file"):
        load(tmp_path)
    write(tmp_path / "labels" / "a.txt", "")
    with pytest.raises(EvalError, match=r"a\.png: not a picture that can be read"):
        load(tmp_path)


def test_voc(tmp_path: Path, write_picture: WritePicture) -> None:
    """Its pixels count from 1: a box from 1 to 100 covers a picture 100 pixels wide."""
    write_picture("JPEGImages/a.png")
    write(tmp_path / "Annotations" / "a.xml", voc(box() + box("dog", (5, 5, 5, 5), difficult=1)))
    write(tmp_path / "Annotations" / "b.xml", voc("", ""))
    write_picture("JPEGImages/b.jpg")
    dataset = load(tmp_path)
    first, second = dataset.pictures
    assert (dataset.kind, dataset.names) == ("Pascal VOC", ("car", "dog"))
    assert first.boxes.tolist() == [[0, 0, 100, 50], [4, 4, 5, 5]]
    assert first.crowd.tolist() == [False, True]
    assert second.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<annotation>", r"a\.xml: not XML that can be read"),
        (voc("<object/>"), "an object has no <name>"),
        (voc("<object><name>car</name></object>"), "an object has no <bndbox/xmin>"),
        (voc(box(edges=(1, 1, "x", 1))), "a box is not of numbers"),
        (voc(box(), "c.png"), "its picture c.png is not in"),
    ],
)
def test_voc_that_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    write(tmp_path / "Annotations" / "a.xml", text)
    with pytest.raises(EvalError, match=sentence):
        load(tmp_path)


def test_a_folder_a_class(tmp_path: Path, write_picture: WritePicture) -> None:
    for path in ("tabby cat/1.png", "tabby cat/2.png", "dog/1.jpg"):
        write_picture(path)
    dataset = load(tmp_path)
    assert (dataset.kind, dataset.names, dataset.boxed) == ("image folders", ("dog", "tabby cat"), False)
    assert [picture.class_ids.tolist() for picture in dataset.pictures] == [[0], [1], [1]]


def test_names_are_matched_to_the_pipeline_s(tmp_path: Path, write_picture: WritePicture) -> None:
    write(tmp_path / "set.json", coco(categories=[{"id": 9, "name": "Traffic_Light"}, {"id": 3, "name": "car"}]))
    write_picture("a.png")
    named = load(tmp_path).named_by(["person", "car", "traffic light"])
    assert named.names == ("person", "car", "traffic light")
    assert named.pictures[0].class_ids.tolist() == [2, 1]
    with pytest.raises(EvalError, match="classes that the pipeline does not know: car; it knows traffic light"):
        load(tmp_path).named_by(["traffic light"])


def test_numbers_are_the_pipeline_s(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture("images/a.png")
    write(tmp_path / "labels" / "a.txt", "2 0.5 0.5 1 1\n")
    assert load(tmp_path).named_by(["a", "b", "c"]).names == ("a", "b", "c")
    with pytest.raises(EvalError, match="the set has class 2, but the pipeline's last is 1"):
        load(tmp_path).named_by(["a", "b"])

"""Labelled sets as people have them, the broken ones first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxwise_eval.datasets import load
from boxwise_eval.errors import EvalError

WriteImage = Callable[..., Path]


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
        f"<{side}>{edge}</{side}>"
        for side, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    )
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{sides}</bndbox></object>"
    )


@pytest.mark.parametrize("make", ["nothing", "empty", "text", "no images"])
def test_no_set(tmp_path: Path, make: str) -> None:
    data = tmp_path / "data"
    if make != "nothing":
        data.mkdir()
    if make == "text":
        write(data / "readme.txt", "hello")
    if make == "no images":
        (data / "cat").mkdir()
    with pytest.raises(
        EvalError,
        match="no such folder" if make == "nothing" else "not a labelled set; expected COCO",
    ):
        load(data)


@pytest.mark.parametrize("place", [".", "images", "../images", "../val"])
def test_coco(tmp_path: Path, write_image: WriteImage, place: str) -> None:
    write(tmp_path / "annotations" / "instances_val.json", coco())
    write(tmp_path / "annotations" / "captions.json", "[]")
    write_image(f"annotations/{place}/a.png")
    for data in (tmp_path, tmp_path / "annotations" / "instances_val.json"):
        dataset = load(data)
        (each,) = dataset.images
        assert (dataset.kind, dataset.names, dataset.boxed) == ("COCO", ("car", "dog"), True)
        assert each.boxes.tolist() == [[10, 20, 40, 25], [0, 0, 1, 1]]
        assert each.class_ids.tolist() == [1, 0]
        assert each.crowd.tolist() == [True, False]
        assert each.areas.tolist() == [12, 1]
        assert each.labels == {"color": [None, "red"]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "not readable as JSON"),
        ("{}", "not COCO's format of instances"),
        (coco(images=[]), "has no images"),
        (coco(images=[{"id": 7, "file_name": "b.png"}]), r"b\.png is not there; looked in"),
        (
            coco(annotations=[{"image_id": 7, "category_id": 4, "bbox": [0, 0, 1, 1]}]),
            r"an annotation of a\.png is wrong",
        ),
        (
            coco(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 1]}]),
            r"an annotation of a\.png is wrong",
        ),
    ],
)
def test_coco_that_is_wrong(
    tmp_path: Path, write_image: WriteImage, text: str, sentence: str
) -> None:
    write(tmp_path / "set.json", text)
    write_image("a.png")
    with pytest.raises(EvalError, match=sentence):
        load(tmp_path / "set.json")


def test_several_sets_of_coco(tmp_path: Path) -> None:
    write(tmp_path / "a.json", coco())
    write(tmp_path / "b.json", coco())
    with pytest.raises(
        EvalError, match=r"holds several sets \(a\.json, b\.json\); name one of the files"
    ):
        load(tmp_path)


def test_coco_without_boxes(tmp_path: Path, write_image: WriteImage) -> None:
    write(tmp_path / "set.json", coco(annotations=[]))
    write_image("a.png")
    assert load(tmp_path).images[0].boxes.shape == (0, 4)


def test_yolo(tmp_path: Path, write_image: WriteImage) -> None:
    """An image on its side is measured as it is shown; one without a file of labels has nothing on
    it.
    """
    write_image("images/a.jpg", 100, 50, orientation=6)
    write_image("images/deep/b.png")
    write_image("images/c.png")
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 1 1\n\n1 0.1 0.1 0.2 0.1\n")
    write(tmp_path / "labels" / "deep" / "b.txt", "1 0.5 0.5 0.01 0.02\n")
    dataset = load(tmp_path)
    assert (dataset.kind, dataset.names) == ("YOLO", None)
    found = {each.path.name: each for each in dataset.images}
    assert found["a.jpg"].boxes.tolist() == [[0, 0, 50, 100], [0, 5, 10, 15]]
    assert found["a.jpg"].class_ids.tolist() == [0, 1]
    assert found["b.png"].boxes.tolist() == [[49.5, 24.5, 50.5, 25.5]]
    assert found["c.png"].boxes.shape == (0, 4)
    write(tmp_path / "data.yaml", "names: {0: car, 1: dog}")
    assert load(tmp_path).names == ("car", "dog")
    write(tmp_path / "classes.txt", "bus\ncat\n")
    with pytest.raises(
        EvalError, match=r"classes\.txt and .*data\.yaml name the classes differently"
    ):
        load(tmp_path)
    (tmp_path / "data.yaml").unlink()
    assert load(tmp_path).names == ("bus", "cat")


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 1",
        "car 0.5 0.5 1 1",
        "0 0.5 0.5 1 1 0.9",
        "0.5 0.5 0.5 1 1",
        "-1 0.5 0.5 1 1",
        "0 50 25 100 50",
        "0 0.5 0.5 nan 1",
        "0 0.1 0.1 0.9 0.1 0.5",
        "0 0.1 0.1 0.9 0.1 0.5 1.5",
        "0 " + "0.5 " * 3001,
    ],
)
def test_yolo_that_is_wrong(tmp_path: Path, write_image: WriteImage, line: str) -> None:
    write_image("images/a.png")
    write(tmp_path / "labels" / "a.txt", f"0 0.5 0.5 1 1\n{line}\n")
    with pytest.raises(
        EvalError, match=r"a\.txt, line 2: expected `class cx cy w h` in fractions"
    ) as refused:
        load(tmp_path)
    assert len(str(refused.value)) < 600


def test_yolo_without_labels_or_images(tmp_path: Path, write_image: WriteImage) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(EvalError, match="holds no image"):
        load(tmp_path)
    write_image("images/a.png").write_bytes(b"nothing")
    write(tmp_path / "labels" / "b.txt", "0 0.5 0.5 1 1")
    with pytest.raises(EvalError, match=r"no image has a label file; looked for .*labels/a\.txt"):
        load(tmp_path)
    write(tmp_path / "labels" / "a.txt", "")
    with pytest.raises(EvalError, match=r"a\.png: not a readable image"):
        load(tmp_path)


def test_voc(tmp_path: Path, write_image: WriteImage) -> None:
    """Its pixels count from 1: a box from 1 to 100 covers an image 100 pixels wide."""
    write_image("JPEGImages/a.png")
    write(tmp_path / "Annotations" / "a.xml", voc(box() + box("dog", (5, 5, 5, 5), difficult=1)))
    write(tmp_path / "Annotations" / "b.xml", voc("", ""))
    write_image("JPEGImages/b.jpg")
    dataset = load(tmp_path)
    first, second = dataset.images
    assert (dataset.kind, dataset.names) == ("Pascal VOC", ("car", "dog"))
    assert first.boxes.tolist() == [[0, 0, 100, 50], [4, 4, 5, 5]]
    assert first.crowd.tolist() == [False, True]
    assert second.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<annotation>", r"a\.xml: not readable as XML"),
        (voc("<object/>"), "an object has no <name>"),
        (voc("<object><name>car</name></object>"), "an object has no <bndbox/xmin>"),
        (voc(box(edges=(1, 1, "x", 1))), "a box is not numeric"),
        (voc(box(), "c.png"), "its image c.png is not in"),
    ],
)
def test_voc_that_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    write(tmp_path / "Annotations" / "a.xml", text)
    with pytest.raises(EvalError, match=sentence):
        load(tmp_path)


def test_a_folder_a_class(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("tabby cat/1.png", "tabby cat/2.png", "dog/1.jpg"):
        write_image(path)
    dataset = load(tmp_path)
    assert (dataset.kind, dataset.names, dataset.boxed) == (
        "image folders",
        ("dog", "tabby cat"),
        False,
    )
    assert [each.class_ids.tolist() for each in dataset.images] == [[0], [1], [1]]


def test_names_are_matched_to_the_pipeline_s(tmp_path: Path, write_image: WriteImage) -> None:
    write(
        tmp_path / "set.json",
        coco(categories=[{"id": 9, "name": "Traffic_Light"}, {"id": 3, "name": "car"}]),
    )
    write_image("a.png")
    named = load(tmp_path).named_by(["person", "car", "traffic light"])
    assert named.names == ("person", "car", "traffic light")
    assert named.images[0].class_ids.tolist() == [2, 1]
    with pytest.raises(
        EvalError, match="classes that the pipeline does not know: car; it knows traffic light"
    ):
        load(tmp_path).named_by(["traffic light"])


def test_numbers_are_the_pipeline_s(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("images/a.png")
    write(tmp_path / "labels" / "a.txt", "2 0.5 0.5 1 1\n")
    assert load(tmp_path).named_by(["a", "b", "c"]).names == ("a", "b", "c")
    with pytest.raises(EvalError, match="the set has class 2, but the pipeline's last is 1"):
        load(tmp_path).named_by(["a", "b"])


def polygon(*points: tuple[float, float]) -> str:
    return " ".join(f"{x} {y}" for x, y in points)


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("0 0.5 0.5 1 1", [0, 0, 100, 50]),
        ("0.0 0.5 0.5 0.1 0.2", [45, 20, 55, 30]),
        ("0 " + polygon((0.1, 0.4), (0.3, 0.2), (0.2, 0.6)), [10, 10, 30, 30]),
        # An oriented box.
        (
            "0 " + polygon((0.5, 0.1), (0.9, 0.5), (0.5, 0.9), (0.1, 0.5)),
            [10, 5, 90, 45],
        ),
        ("0 1.0000001 0.5 0 0", [100, 25, 100, 25]),
    ],
)
def test_a_line_is_a_box_or_a_polygon(
    tmp_path: Path, write_image: WriteImage, line: str, box: list[float]
) -> None:
    write_image("images/a.png")
    write(tmp_path / "labels" / "a.txt", line)
    assert load(tmp_path).images[0].boxes[0].tolist() == pytest.approx(box, abs=1e-4)


def test_keypoints_are_no_polygon(tmp_path: Path, write_image: WriteImage) -> None:
    """Four numbers of a box, and three of each of two points."""
    write_image("images/a.png")
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.2 0.2 0.45 0.45 2 0.55 0.55 1")
    write(tmp_path / "data.yaml", "names: [person]\nkpt_shape: [2, 3]\nval: images")
    assert load(tmp_path).images[0].boxes[0].tolist() == pytest.approx([40, 20, 60, 30], abs=1e-4)


def test_hidden_files_are_left_out(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("images/a.png")
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 1 1")
    for junk in (
        "images/._a.png",
        "images/.ipynb_checkpoints/a.png",
        "labels/._a.txt",
        "._data.yaml",
        ".hidden.json",
    ):
        write(tmp_path / junk, "\0\0what macOS writes")
    assert [each.path.name for each in load(tmp_path).images] == ["a.png"]
    voc_set = tmp_path / "voc"
    write(voc_set / "Annotations" / "a.xml", voc(box()))
    write(voc_set / "Annotations" / "._a.xml", "\0")
    write_image("voc/JPEGImages/a.png")
    assert len(load(voc_set).images) == 1
    classes = tmp_path / "classes"
    for path in ("cat/a.png", ".trash/a.png", "cat/._a.png"):
        write_image(f"classes/{path}")
    assert load(classes).names == ("cat",)
    assert len(load(classes).images) == 1


def labelled(folder: Path, write_image: WriteImage, name: str, line: str = "0 0.5 0.5 1 1") -> None:
    """An image in `folder`, whose last `images` is `labels` for its label."""
    write_image(folder / f"{name}.png")
    write(Path(str(folder).replace("images", "labels")) / f"{name}.txt", line)


@pytest.mark.parametrize(
    ("text", "split", "stems"),
    [
        ("train: images/train\nval: images/val", None, ["v"]),
        ("train: images/train\nval: images/val", "train", ["t"]),
        ("train: images/train\nval: images/val\ntest:", "valid", ["v"]),
        ("train: images/train\nvalid: images/val", None, ["v"]),
        ("path: .\ntrain: images/train\nval: images/val", None, ["v"]),
        ("path: /nowhere\nval: images/val", None, ["v"]),
        ("train: images/nothing\nval: images/val", None, ["v"]),
        ("val: ../images/val", None, ["v"]),
        ("val: [images/val, images/train]", None, ["v", "t"]),
        ("val: val.txt", None, ["v"]),
        ("train: images/train", None, ["t"]),
    ],
)
def test_a_data_yaml_names_its_splits(
    tmp_path: Path, write_image: WriteImage, text: str, split: str | None, stems: list[str]
) -> None:
    data = tmp_path / "set"
    labelled(data / "images" / "train", write_image, "t")
    labelled(data / "images" / "val", write_image, "v")
    write(data / "val.txt", "./images/val/v.png\n")
    write(data / "data.yaml", f"{text}\nnames: [car]")
    for given in (data, data / "data.yaml"):
        dataset = load(given, split)
        assert [each.path.stem for each in dataset.images] == stems
        assert dataset.names == ("car",)
        assert all(each.boxes.tolist() == [[0, 0, 100, 50]] for each in dataset.images)


@pytest.mark.parametrize(
    ("text", "split", "sentence"),
    [
        (
            "val: images/nothing",
            None,
            r"data\.yaml: val: images/nothing does not exist; looked for .*images/nothing",
        ),
        ("val: images/val", "test", r"data\.yaml: has no split test, only val"),
        (
            "train: images/train\ntest: images/val",
            None,
            r"has the splits train, test; say which with --split",
        ),
        ("val: images", None, r"images: has the splits train, val in it, which would be mixed"),
        ("val: images/val", "best", r"--split: expected one of train, val, test, got best"),
        ("val: val.txt", None, r"val\.txt: .*images/gone\.png does not exist"),
        (
            "val: ../images/val",
            None,
            r"val: \.\./images/val may be .*: write it as an absolute path",
        ),
        ("val: images/val\nnc: 2", None, r"`nc: 2`, but 1 names"),
    ],
)
def test_a_data_yaml_that_does_not_fit(
    tmp_path: Path, write_image: WriteImage, text: str, split: str | None, sentence: str
) -> None:
    data = tmp_path / "set"
    labelled(data / "images" / "train", write_image, "t")
    labelled(data / "images" / "val", write_image, "v")
    if "../" in text:
        labelled(tmp_path / "images" / "val", write_image, "other")
    write(data / "val.txt", "images/gone.png\n")
    write(data / "data.yaml", f"{text}\nnames: [car]")
    with pytest.raises(EvalError, match=sentence):
        load(data, split)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("{0: car, 2: dog}", "1 is missing"),
        ("{car: 0}", "got the number 'car'"),
        ("car", "got 'car'"),
        ("[yes, no]", "name 0 is True to YAML: put it in quotes"),
        ("[car,, dog]", "not readable as YAML"),
        ("[car, [dog]]", "name 1 is"),
    ],
)
def test_names_that_are_none(
    tmp_path: Path, write_image: WriteImage, names: str, sentence: str
) -> None:
    labelled(tmp_path / "images", write_image, "a")
    write(tmp_path / "data.yaml", f"val: images\nnames: {names}")
    with pytest.raises(EvalError, match=sentence):
        load(tmp_path)


def test_names_by_number_and_a_byte_order_mark(tmp_path: Path, write_image: WriteImage) -> None:
    labelled(tmp_path / "images", write_image, "a", "\ufeff1 0.5 0.5 1 1\r\n")
    write(tmp_path / "data.yaml", "\ufeffval: images\nnames: {1: dog, 0: 7}")
    dataset = load(tmp_path)
    assert dataset.names == ("7", "dog")
    assert dataset.images[0].class_ids.tolist() == [1]


def test_a_class_without_a_name_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    labelled(tmp_path / "images", write_image, "a", "1 0.5 0.5 1 1")
    write(tmp_path / "data.yaml", "val: images\nnames: [car]")
    with pytest.raises(
        EvalError, match=r"a\.txt, line 1: class 1, but there are names for 0 to 0 only"
    ):
        load(tmp_path)


def test_names_come_from_above(tmp_path: Path, write_image: WriteImage) -> None:
    """Roboflow's export, of which one split is named."""
    labelled(tmp_path / "valid" / "images", write_image, "a")
    write(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: [car]")
    dataset = load(tmp_path / "valid")
    assert dataset.names == ("car",)
    assert dataset.notes == (f"the names of the classes are those of {tmp_path / 'data.yaml'}",)


def test_what_has_no_names_says_that_its_numbers_count(
    tmp_path: Path, write_image: WriteImage
) -> None:
    labelled(tmp_path / "images", write_image, "a")
    write_image("images/b.png")
    assert load(tmp_path).notes == (
        "1 of 2 images have no label file, and count as images without objects",
        "classes without names (data.yaml, classes.txt) are taken for the pipeline's",
    )


@pytest.mark.parametrize("place", ["classes.txt", "labels/classes.txt", "obj.names"])
def test_a_list_of_names(tmp_path: Path, write_image: WriteImage, place: str) -> None:
    labelled(tmp_path / "images", write_image, "a")
    write(tmp_path / place, "car\ndog\n\n")
    assert load(tmp_path).names == ("car", "dog")
    write(tmp_path / place, "car\n\ndog\n")
    with pytest.raises(EvalError, match="line 2: empty"):
        load(tmp_path)


def test_labels_beside_their_images(tmp_path: Path, write_image: WriteImage) -> None:
    write_image("a.png")
    write(tmp_path / "a.txt", "0 0.5 0.5 1 1")
    assert load(tmp_path).images[0].boxes.tolist() == [[0, 0, 100, 50]]


@pytest.mark.parametrize("kind", ["yolo", "yolo inside", "coco", "coco inside", "voc", "folders"])
def test_splits_are_never_mixed(tmp_path: Path, write_image: WriteImage, kind: str) -> None:
    for split in ("train", "val"):
        if kind == "yolo":
            labelled(tmp_path / "images" / split, write_image, split)
        elif kind == "yolo inside":
            labelled(tmp_path / split / "images", write_image, split)
        elif kind == "coco":
            name = f"{split}.png"
            write(
                tmp_path / f"instances_{split}2017.json",
                coco(images=[{"id": 7, "file_name": name}]),
            )
            write_image(name)
        elif kind == "coco inside":
            name = f"{split}.png"
            write(
                tmp_path / split / "_annotations.coco.json",
                coco(images=[{"id": 7, "file_name": name}]),
            )
            write_image(f"{split}/{name}")
        elif kind == "voc":
            write(tmp_path / "Annotations" / f"{split}.xml", voc(box(), f"{split}.png"))
            write(tmp_path / "ImageSets" / "Main" / f"{split}.txt", f"{split}\n")
            write_image(f"JPEGImages/{split}.png")
        else:
            write_image(f"{split}/cat/{split}.png")
    with pytest.raises(EvalError, match="--split"):
        load(tmp_path)
    for split in ("train", "val", "validation"):
        dataset = load(tmp_path, split)
        assert dataset.split == split[:5].replace("valid", "val")
        assert [each.path.stem for each in dataset.images] == [dataset.split]


def test_a_set_without_splits_has_none_to_choose(tmp_path: Path, write_image: WriteImage) -> None:
    labelled(tmp_path / "images", write_image, "a")
    with pytest.raises(EvalError, match="has no splits: leave --split out"):
        load(tmp_path, "val")


def test_the_folder_above_several_sets_is_no_set(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("one", "two"):
        labelled(tmp_path / name / "images", write_image, "a")
    with pytest.raises(
        EvalError, match="the sets are in its folders one, two: name one with --data"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("data", "split", "images", "objects"),
    [
        ("roboflow/valid", None, 12, 92),
        ("roboflow", None, 12, 92),
        ("roboflow/data.yaml", None, 12, 92),
        ("ultralytics", None, 5, 31),
        ("ultralytics", "train", 3, 41),
        ("ultralytics/images/val", None, 5, 31),
        ("polygons", None, 4, 43),
    ],
)
def test_the_sets_of_the_cases(
    shared_cases: Path, data: str, split: str | None, images: int, objects: int
) -> None:
    dataset = load(shared_cases / "sets" / data, split)
    assert len(dataset.images) == images
    assert sum(len(each.boxes) for each in dataset.images) == objects
    assert dataset.names is not None
    assert dataset.names[16] == "person"

"""Label files as people have them, and what cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boxwise_export.errors import ExportError
from boxwise_export.labels import read_labels
from boxwise_export.pipeline import load_pipeline


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.txt", b"car\ndog\n"),
        ("end.txt", b"car\ndog\n\n  \n"),
        ("crlf.txt", b"car\r\ndog\r\n"),
        ("bom.txt", b"\xef\xbb\xbfcar\ndog"),
        ("list.yaml", b"- car\n- dog\n"),
        ("map.yml", b"0: car\n1: dog\n"),
        ("data.yaml", b"path: x\ntrain: images\nnames: [car, dog]\nnc: 2\n"),
        ("names.yaml", b"names:\n  1: dog\n  0: car\n"),
        ("names.json", json.dumps({"0": "car", "1": "dog"}).encode()),
        ("list.json", b'["car", "dog"]'),
        ("id2label.json", b'{"names": {"0": "car", "1": "dog"}}'),
        ("noname", b"car\ndog"),
    ],
)
def test_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_labels(str(tmp_path / name), "detector.labels") == ("car", "dog")


def test_numbers_in_yaml_are_names(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("names: [0, 1, 2]")
    assert read_labels(str(tmp_path / "digits.yaml"), "labels") == ("0", "1", "2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "no names"),
        ("blank.txt", b"car\n\ndog\n", "line 2 is empty"),
        ("first.txt", b"\ncar\n", "line 1 is empty"),
        ("twice.txt", b"car\ndog\ncar\n", "line 3 is 'car', as is line 1"),
        ("utf16.txt", "car\ndog".encode("utf-16"), "UTF-8"),
        ("gap.yaml", b"names: {0: car, 2: dog}", "no name for id 1"),
        ("words.yaml", b"names: {a: car}", "whole numbers"),
        ("truth.yaml", b"names: [yes, no]", "put the name in quotes"),
        ("nothing.yaml", b"names: [car, null]", "put the name in quotes"),
        ("nested.yaml", b"names: [[car]]", "is no name"),
        ("text.yaml", b"just text", "expected a list of names"),
        ("broken.json", b'{"0": ', "cannot be parsed"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExportError) as caught:
        read_labels(str(tmp_path / name), "detector.labels")
    assert str(caught.value).startswith("detector.labels: ")
    assert message in str(caught.value)


def test_coco91_has_a_name_for_each_id() -> None:
    every, used = read_labels("coco91", "labels"), read_labels("coco", "labels")
    assert len(every) == 91
    assert (every[1], every[12], every[90]) == ("person", "unused 12", "toothbrush")
    assert tuple(name for name in every if not name.startswith("unused ")) == used


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "detector: {weights: a.onnx, labels: [yes, no]}",
            "YAML reads yes, no, on, off, true and false as truth values",
        ),
        (
            "classifiers: [{name: null, weights: a.onnx, labels: [a]}]",
            "YAML reads null, ~ and nothing as no value",
        ),
        (
            "classifiers: [{name: a, weights: a.onnx, labels: [a], only: [no]}]",
            "put the name in quotes",
        ),
    ],
)
def test_what_yaml_reads_otherwise_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ExportError) as caught:
        load_pipeline(tmp_path / "p.yaml")
    assert message in str(caught.value)


def test_numbers_as_labels_are_text(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("detector: {weights: a.onnx, labels: [0, 1]}")
    detector = load_pipeline(tmp_path / "p.yaml").detector
    assert detector is not None
    assert detector.labels == ["0", "1"]


def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "p.yaml").write_text("\n".join(lines))
    for read in (load_pipeline, lambda path: read_labels(str(path), "labels")):
        with pytest.raises(ExportError, match="more than 100,000 values"):
            read(tmp_path / "p.yaml")


def test_aliases_as_people_use_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "detector: {weights: a.onnx, labels: &names [a, b]}\nclassifiers: [{name: c, "
        "weights: b.onnx, labels: *names}]"
    )
    assert load_pipeline(tmp_path / "p.yaml").classifiers[0].labels == ["a", "b"]

"""Images: none, unreadable ones, a folder's, synthetic ones, and the boxes that a load has."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxwise_perf.images import BoxesPerImage, from_folder, requests, synthetic
from boxwise_perf.load import LoadError


def test_a_folder_without_any(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(LoadError, match="holds no image"):
        from_folder(tmp_path)


def test_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(LoadError, match=r"a\.jpg: cannot be decoded"):
        from_folder(tmp_path)


def test_a_folder(tmp_path: Path) -> None:
    for name, size in (("a.png", (10, 20)), ("b.JPG", (30, 5)), ("c.bmp", (20, 10))):
        Image.new("RGB", size).save(tmp_path / name)
    said, contents = from_folder(tmp_path)
    assert (said.count, said.width, said.height) == (3, (10, 20, 30), (5, 10, 20))
    assert contents[0] == (tmp_path / "a.png").read_bytes()
    assert "20x10 (median)" in str(said)


def test_synthetic_ones_are_seeded_and_of_their_size() -> None:
    said, contents = synthetic(40, 24, seed=3)
    assert contents == synthetic(40, 24, seed=3)[1]
    assert contents != synthetic(40, 24, seed=4)[1]
    with Image.open(io.BytesIO(contents[0])) as opened:
        assert (opened.size, opened.format) == ((40, 24), "JPEG")
    assert said.width == (40, 40, 40)


def test_boxes_per_image() -> None:
    assert BoxesPerImage(5).draw(3, seed=0) == [5, 5, 5]
    drawn = BoxesPerImage(5, poisson=True).draw(2000, seed=0)
    assert np.mean(drawn) == pytest.approx(5, abs=0.2)
    assert np.var(drawn) == pytest.approx(5, rel=0.15)
    assert str(BoxesPerImage(5)) == "5"


def test_requests_ask_for_their_boxes() -> None:
    assert [each.image for each in requests([b"a", b"b"])] == [b"a", b"b"]
    asked = requests([b"a", b"b"], [4, 0, 2])
    assert [each.image for each in asked] == [b"a", b"b", b"a"]
    assert asked[0].options["max_detections"] == 4
    assert asked[1].options == {"score_threshold": 1.0}

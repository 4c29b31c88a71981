"""What a lower precision costs is measured on labelled images, and refused where it is too much."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from boxwise_export.accuracy import Accuracy
from boxwise_export.checkpoints.download import fetch
from boxwise_export.demo_assets import DEMO_ASSETS
from boxwise_export.errors import ExportError
from boxwise_export.export import export
from boxwise_export.parity.report import ParityError
from boxwise_export.repository.manifest import find_manifest
from boxwise_runtime.cache import cache_folder

CENTERNET = {"file": "centernet.json", "outputs": ["tower_0/keypoints", "tower_0/wh"]}


@pytest.fixture
def detector(request: pytest.FixtureRequest, tmp_path: Path, shared_data: Path) -> Path:
    """The pipeline file of one of the two COCO detectors."""
    if request.param == "yolox_nano":
        weights: object = str(shared_data / "models" / "yolox_nano_coco.onnx")
    else:
        assets = fetch(DEMO_ASSETS, cache_folder() / "demo", lambda line: None)
        weights = CENTERNET | {"file": str(assets["centernet.json"])}
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        yaml.safe_dump({"name": "coco", "detector": {"weights": weights, "labels": "coco"}})
    )
    return file


@pytest.fixture
def coco(tmp_path: Path, shared_data: Path) -> Callable[[int], Path]:
    """The first photos of COCO with their labels, as many as are asked for."""

    def few(count: int) -> Path:
        folder = tmp_path / f"coco {count}"
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True)
            for file in sorted((shared_data / "coco" / kind).iterdir())[:count]:
                (folder / kind / file.name).symlink_to(file)
        return folder

    return few


@pytest.mark.parametrize("detector", ["yolox_nano", "centernet"], indirect=True)
def test_fp16_loses_two_thousandths_at_most(
    detector: Path, tmp_path: Path, coco: Callable[[int], Path]
) -> None:
    accuracy = export(
        detector, tmp_path / "out", precision="fp16", calibration=coco(4) / "images", data=coco(24)
    ).accuracy
    assert accuracy is not None
    assert accuracy.exact["detector map"] > 0.33
    assert abs(accuracy.exact["detector map"] - accuracy.figures["detector map"]) <= 0.002
    assert find_manifest(tmp_path / "out").revision().accuracy == accuracy.document()


@pytest.mark.parametrize("detector", ["yolox_nano"], indirect=True)
def test_int8_that_loses_too_much_is_not_published(
    detector: Path, tmp_path: Path, coco: Callable[[int], Path]
) -> None:
    """Ranges that were found on four images are too narrow for others."""
    data = coco(8)
    with pytest.raises(
        ParityError, match=r"detector map: 0\.\d+, 0\.\d+ less than in fp32, and 0\.02 may be lost"
    ):
        export(
            detector, tmp_path / "out", precision="int8", calibration=coco(4) / "images", data=data
        )
    assert not (tmp_path / "out").exists()


def test_top_1_of_a_classification_pipeline(
    write_pipeline: Callable[[str], Path], tmp_path: Path
) -> None:
    """Images of one colour each; the classifier says the strongest channel."""
    file = write_pipeline(
        "classifiers: [{name: color, weights: classifier.onnx, labels: [red, green, blue], "
        "crop: {size: 8}}]"
    )
    for name, colour in (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (200, 100, 0))):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(
            tmp_path / "data" / name / "a.png"
        )
    accuracy = export(
        file,
        tmp_path / "out",
        cores=1,
        calibration=tmp_path / "data" / "red",
        data=tmp_path / "data",
    ).accuracy
    assert accuracy is not None
    assert accuracy.figures == {"color top-1": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        ("nothing", "--data: .*no such folder"),
        ("classes", "--data: the set has classes that the pipeline does not know"),
    ],
)
def test_a_set_that_does_not_fit(
    write_pipeline: Callable[[str], Path], tmp_path: Path, make: str, sentence: str
) -> None:
    file = write_pipeline("name: street\ndetector: {weights: detector.onnx, labels: [car, dog]}")
    data = tmp_path / "data"
    if make == "classes":
        (data / "images").mkdir(parents=True)
        (data / "labels").mkdir()
        Image.new("RGB", (64, 64)).save(data / "images" / "a.png")
        (data / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
        (data / "classes.txt").write_text("tiger\n")
    with pytest.raises(ExportError, match=sentence):
        export(file, tmp_path / "out", cores=1, data=data)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lost", "passes"), [(-0.1, True), (0.0, True), (0.0199, True), (0.0201, False)]
)
def test_what_may_be_lost(lost: float, passes: bool) -> None:
    accuracy = Accuracy({"detector map": 0.5 - lost}, {"detector map": 0.5}, 0.02, 9)
    assert len(list(accuracy.lines())) == 2
    if passes:
        accuracy.require()
    else:
        with pytest.raises(ParityError, match="Choose another --precision"):
            accuracy.require()

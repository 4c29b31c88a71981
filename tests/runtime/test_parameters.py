"""A stage's fields survive being the strings of a Triton model."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime.crop import CropSpec
from boxwise_runtime.parameters import build_stage, to_parameters
from boxwise_runtime.stages import Crop, Suppress


@given(
    st.integers(1, 4096),
    st.floats(0, 2),
    st.booleans(),
    st.sampled_from(["nearest", "linear"]),
    st.lists(st.integers(0, 100)).map(tuple),
)
def test_there_and_back(
    size: int, padding: float, keep: bool, interpolation: str, only: tuple[int, ...]
) -> None:
    spec = CropSpec(size, size + 1, padding=padding, keep_aspect=keep, interpolation=interpolation)  # type: ignore[arg-type]
    strings = to_parameters({**asdict(spec), "only": only})
    assert all(isinstance(text, str) for text in strings.values())
    assert build_stage(Crop, strings, Path()) == Crop(**asdict(spec), only=only)


def test_a_mapping_s_keys_stand_behind_dots() -> None:
    crops = {"breed": {"height": 4, "width": 6, "only": (2,)}, "age": {"height": 8, "width": 8}}
    strings = to_parameters({"nms": True, "crops": crops})
    assert strings["crops.breed.only"] == "[2]"
    assert build_stage(Suppress, strings, Path()) == Suppress(nms=True, crops=crops)


def test_a_field_named_folder_is_the_version_s_folder() -> None:
    @dataclass
    class Stage:
        folder: Path
        count: int

    assert build_stage(Stage, {"count": "3"}, Path("models/a/1")) == Stage(Path("models/a/1"), 3)


def test_a_missing_and_an_unknown_parameter_are_named() -> None:
    with pytest.raises(ValueError, match=r"parameters of Crop: .*'height'"):
        build_stage(Crop, {"width": "3"}, Path())
    with pytest.raises(ValueError, match=r"parameters of Crop: .*'colour'"):
        build_stage(Crop, {"height": "3", "width": "3", "colour": "rgb"}, Path())

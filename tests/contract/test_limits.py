"""What an image is held to before it is decoded."""

import pytest

from boxwise_contract.limits import ImageLimits
from boxwise_contract.refusals import InvalidInput

LIMIT = ImageLimits(max_pixels=25_000_000, max_bytes=2_000_000)


@pytest.mark.parametrize(
    ("size", "sentence", "reason"),
    [
        (0, "image: empty; expected the bytes", "empty"),
        (2_000_001, r"image: a file of 2\.0 MB; at most 2 are accepted", "size"),
    ],
)
def test_files_that_are_refused(size: int, sentence: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=sentence) as refused:
        LIMIT.check_file(size)
    assert refused.value.reason == reason


def test_a_file_of_one_byte_and_one_at_the_limit_pass() -> None:
    LIMIT.check_file(1)
    LIMIT.check_file(2_000_000)


@pytest.mark.parametrize(("height", "width"), [(1, 200), (200, 1), (2, 400)])
def test_the_aspect_has_a_limit(height: int, width: int) -> None:
    limits = ImageLimits(max_pixels=25_000_000, max_aspect=200)
    limits.check_size("frame", height, width)
    longer = (height + 1, width) if height > width else (height, width + 1)
    with pytest.raises(InvalidInput, match=r"one side over 200 times the other"):
        limits.check_size("frame", *longer)


def test_a_size_is_checked() -> None:
    ImageLimits(max_pixels=1).check_size("frame", 1, 1)
    LIMIT.check_size("frame", 5000, 5000)
    with pytest.raises(InvalidInput, match="frame: 3 x 0 pixels; expected at least 1 x 1"):
        LIMIT.check_size("frame", 0, 3)
    with pytest.raises(InvalidInput, match=r"frame: 5001 x 5000 is 25\.0 megapixels"):
        LIMIT.check_size("frame", 5000, 5001)

"""A file that cannot be decoded is named, with what to do about it, and never quoted."""

from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from boxwise_contract.limits import ImageLimits
from boxwise_contract.refusals import InvalidInput
from boxwise_runtime.decode import decode
from boxwise_runtime.formats import described, served_format

LIMIT = ImageLimits(max_pixels=25_000_000)


def file(kind: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(content, kind)
    return content.getvalue()


JPEG, PNG = file("JPEG"), file("PNG")


def refusal(content: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        decode(np.frombuffer(content, np.uint8), LIMIT)
    assert len(str(refused.value)) < 300
    return refused.value


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (file("GIF"), "GIF"),
        (file("TIFF"), "TIFF"),
        (file("AVIF"), "AVIF"),
        (file("JPEG2000"), "JPEG 2000"),
        (file("ICO"), "an icon"),
        (file("PDF"), "PDF"),
        (file("EPS"), "PostScript"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x14ftypisom\0\0\2\0mp42", "a video (MP4 or QuickTime)"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"\n<!DOCTYPE html><html><svg/></html>", "HTML"),
        (b'{"error": "not found"}', "JSON"),
        (b"https://example.org/cat.jpg", "a URL"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a pointer of Git LFS"),
        (b"PK\3\4" + bytes(40), "a ZIP archive"),
        (zlib.compress(b"x", wbits=31), "a file compressed by gzip"),
        (base64.b64encode(JPEG), "base64 text of a JPEG file"),
        (base64.encodebytes(PNG), "base64 text of a PNG file"),
        (base64.urlsafe_b64encode(JPEG), "base64 text of a JPEG file"),
        (base64.b64encode(file("GIF")), "base64 text of GIF"),
        (base64.b64encode(np.random.default_rng(0).bytes(300)), "base64 text"),
        (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "a data URL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_served_file_is_named(content: bytes, name: str) -> None:
    assert str(refusal(content)).startswith(f"image: not a JPEG, PNG, WebP or BMP file but {name}")
    assert refusal(content).reason == "format"


@pytest.mark.parametrize(
    "content", [b"hello world", b"BMW and Audi", b"a" * 400, b"caf\xe9", bytes(30), b"\xff\xd8"]
)
def test_what_is_not_known_is_described_by_its_first_bytes(content: bytes) -> None:
    assert described(content) is None
    assert f"({len(content)} bytes, starting with {content[:8].hex(' ')})" in str(refusal(content))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("header.heic", "but HEIC"),
        ("header.avif", "but AVIF"),
        ("header.jxl", "but JPEG XL"),
        ("photo.gif", "but GIF"),
        ("photo.tiff", "but TIFF"),
        ("page.html", "but HTML"),
        ("base64.txt", "but base64 text of a JPEG file"),
        ("base64.jpg", "but base64 text of a JPEG file"),
        ("data_url.txt", "but a data URL"),
        ("truncated_header.jpg", "the JPEG file is truncated or corrupt"),
        ("truncated.jpg", "the JPEG file is truncated or corrupt"),
    ],
)
def test_the_cases(shared_cases: Path, name: str, sentence: str) -> None:
    assert sentence in str(refusal((shared_cases / "images" / name).read_bytes()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_file_that_ends_in_its_header_is_truncated(kind: str) -> None:
    whole = file(kind)
    assert (served_format(whole) or "").upper() == kind
    refused = refusal(whole[:24])
    assert f"the {served_format(whole)} file is truncated or corrupt" in str(refused)
    assert refused.reason == "corrupt"


@given(
    st.one_of(st.binary(max_size=6000), st.text(max_size=2000).map(str.encode)),
    st.sampled_from(
        [b"", b"data:", b"<svg", b"\0\0\0\x20ftyp", b"RIFF", b"BM", b"\xff\xd8\xff", b"{", b"<?xml"]
    ),
)
def test_anything_gets_a_short_sentence(rest: bytes, start: bytes) -> None:
    content = start + rest
    assert len(described(content) or "") < 200
    if content and served_format(content) is None:
        refusal(content)


@pytest.mark.parametrize("brightest", [1, 255, 1023, 4095])
def test_16_bit_grey_of_fewer_bits_is_refused(brightest: int) -> None:
    content = io.BytesIO()
    Image.fromarray(np.array([[0, brightest]], np.uint16)).save(content, "PNG")
    refused = refusal(content.getvalue())
    assert f"16-bit grey whose brightest value is {brightest} of 65535" in str(refused)


@pytest.mark.parametrize(("value", "seen"), [(0, 0), (4096, 16), (65535, 255)])
def test_16_bit_grey_that_is_black_or_is_not(value: int, seen: int) -> None:
    content = io.BytesIO()
    Image.fromarray(np.array([[0, value]], np.uint16)).save(content, "PNG")
    assert decode(np.frombuffer(content.getvalue(), np.uint8), LIMIT).tolist() == [
        [[0] * 3, [seen] * 3]
    ]

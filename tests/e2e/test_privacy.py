"""Images are neither logged nor kept."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests
from contract_support.attacked import PIPELINES, export_dots
from contract_support.calls import Triton
from contract_support.servers import served
from contract_support.synthetic import make_dots
from PIL import Image, PngImagePlugin

from boxwise import Client

SHM = Path("/dev/shm")


def holding(marker: bytes, places: Iterable[Path]) -> list[Path]:
    """The files in which the marker is, of these and of all that are below these folders."""
    return [path for place in places for path in _files(place) if marker in _content(path)]


def _files(place: Path) -> Iterator[Path]:
    yield from (path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]


def _content(path: Path) -> bytes:
    with suppress(OSError):  # another program's, which is gone by now
        return path.read_bytes()
    return b""


def images(folder: Path, marker: bytes) -> tuple[list[bytes], list[bytes]]:
    """Files with the marker in them, good and bad."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", marker.decode())
    drawn = Image.fromarray(make_dots(12).draw())
    drawn.save(folder / "a.png", pnginfo=text)
    drawn.save(folder / "a.jpg", comment=marker)
    png, jpeg = (folder / "a.png").read_bytes(), (folder / "a.jpg").read_bytes()
    png_start, jpeg_start = (file[: file.index(marker) + len(marker)] for file in (png, jpeg))
    bad = [
        marker * 100,
        png_start,
        png_start + bytes(len(png)),
        jpeg_start,
        jpeg_start + bytes(len(jpeg)),
    ]
    return [png, jpeg], bad


def test_no_image_is_logged_or_outlives_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = f"marker-{secrets.token_hex(16)}".encode()
    repository = export_dots(tmp_path)
    own = {"TMPDIR": tmp_path / "temporary", "HOME": tmp_path / "home"}
    for name, folder in own.items():
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    monkeypatch.chdir(folder)
    (tmp_path / "sent").mkdir()
    good, bad = images(tmp_path / "sent", marker)
    frame = np.resize(np.frombuffer(marker, np.uint8), (512, 512, 3)).copy()
    others = set(Path("/tmp").iterdir()) | set(SHM.iterdir())
    with served(repository, "--verbose", "--client-shm") as command:
        options = command.options
        triton = Triton(options.grpc_url, options.http_url)
        for pipeline in PIPELINES:
            for file in good:
                triton.predict(pipeline, file)
            for file in bad:
                refusal = triton.refusal(pipeline, {"image": np.frombuffer(file, np.uint8)})
                assert refusal.status == "INVALID_ARGUMENT"
                assert marker.decode() not in refusal.sentence
            triton.predict_raw(pipeline, frame)
            assert (
                triton.refusal(f"{pipeline}_raw", {"frame": frame[..., :2].copy()}).status
                == "INVALID_ARGUMENT"
            )
            with Client(options.grpc_url, pipeline=pipeline, transfer="shm") as client:
                client.predict(frame)
            for data in ([*marker], [marker.decode()]):
                image = {"name": "image", "datatype": "UINT8", "shape": [len(marker)], "data": data}
                url = f"{options.http_url}/v2/models/{pipeline}/infer"
                assert requests.post(url, json={"inputs": [image]}, timeout=20).status_code >= 400
        # Stages hand images on in shared memory: the marker is found where it is.
        assert holding(marker, SHM.glob(f"boxwise-{options.http_port}-*"))
        command.process.send_signal(signal.SIGTERM)
        command.process.wait(timeout=20)
    new = (set(Path("/tmp").iterdir()) | set(SHM.iterdir())) - others
    assert holding(marker, [*new, repository, *own.values()]) == []
    log = "\n".join(line for _, line in command.said)
    assert "successfully loaded" in log
    assert marker.decode() not in log
    assert str([*marker])[1:-1] not in log

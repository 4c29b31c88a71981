"""Frames of a video, in order; a live one rather drops frames than falls behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from boxwise import InvalidArgument, Overloaded
from boxwise.testing import FakeServer

COUNT, RATE = 24, 12


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.find("cup", (10, 10, 40, 40), 0.9)
        yield server


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which the picture grows brighter."""
    path = tmp_path_factory.mktemp("video") / "brighter.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(COUNT):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i * 10, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_every_frame_of_a_file_comes_in_order(connect: Any, server: FakeServer, video: Path) -> None:
    with connect(server.url) as client:
        frames = list(client.predict_video(video))
    assert [frame.number for frame in frames] == list(range(COUNT))
    assert [round(frame.time_s * RATE) for frame in frames] == list(range(COUNT))
    assert all(frame.result is not None and len(frame.result) == 1 for frame in frames)
    brightness = [frame.image.mean() for frame in frames]
    np.testing.assert_allclose(brightness, np.arange(COUNT) * 10, atol=4)
    assert all(frame.result.image_size == (48, 64) for frame in frames)


def test_each_nth_frame(connect: Any, server: FakeServer, video: Path) -> None:
    with connect(server.url) as client:
        assert [frame.number for frame in client.predict_video(video, every=10)] == [0, 10, 20]


def test_opencv_reads_where_pyav_is_not(
    connect: Any, server: FakeServer, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with connect(server.url) as client:
        frames = list(client.predict_video(str(video)))
    assert len(frames) == COUNT
    np.testing.assert_allclose([frame.image.mean() for frame in frames], np.arange(COUNT) * 10, atol=4)
    assert cv2.__version__


def test_a_frame_that_fails_does_not_stop_the_rest(connect: Any, server: FakeServer, video: Path) -> None:
    server.fail(Overloaded, times=2)
    with connect(server.url) as client:
        frames = list(client.predict_video(video, concurrency=1))
    assert [type(frame.error) for frame in frames[:3]] == [Overloaded, Overloaded, type(None)]
    assert len(frames) == COUNT


def camera(count: int, rate: float) -> Iterator[np.ndarray]:
    for i in range(count):
        yield np.full((48, 64, 3), i, np.uint8)
        time.sleep(1 / rate)


def test_a_live_source_drops_what_it_can_not_keep_up_with(connect: Any, server: FakeServer) -> None:
    with connect(server.url) as client:
        client.info()
        server.delay_s = 0.1
        frames = list(client.predict_video(camera(60, 60.0), live=True, concurrency=1))
    numbers = [frame.number for frame in frames]
    assert numbers == sorted(numbers)
    assert 5 <= len(numbers) < 30
    assert max(np.diff(numbers)) > 1
    assert [int(frame.image[0, 0, 0]) for frame in frames] == numbers


def test_a_live_answer_does_not_wait_for_the_next_frame(connect: Any, server: FakeServer) -> None:
    with connect(server.url) as client:
        client.info()
        started = time.monotonic()
        next(client.predict_video(camera(3, 0.5), live=True))
        assert time.monotonic() - started < 1.0


def test_objects_are_followed(connect: Any, server: FakeServer, video: Path) -> None:
    with connect(server.url) as client:
        frames = list(client.predict_video(video, track=True, concurrency=1))
    ids = [frame.tracker_ids.tolist() for frame in frames]
    assert ids[-1] == ids[-2]
    assert ids[-1][0] >= 0


def test_what_can_not_be_opened_is_named(connect: Any, server: FakeServer, tmp_path: Path) -> None:
    text = tmp_path / "no.mp4"
    text.write_text("no video")
    with connect(server.url) as client:
        for source in (tmp_path / "missing.mp4", text):
            with pytest.raises(InvalidArgument, match=r"source: cannot open .*\.mp4"):
                list(client.predict_video(source))
        with pytest.raises(InvalidArgument, match="every: expected 1 or more"):
            list(client.predict_video(text, every=0))

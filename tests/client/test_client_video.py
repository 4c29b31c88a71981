"""Frames of a video, in order; a live one rather drops frames than falls behind."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from boxwise import InvalidArgument, InvalidImage, Overloaded
from boxwise.testing import FakeServer

COUNT, RATE = 24, 12


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.find("cup", (10, 10, 40, 40), 0.9)
        yield server


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which the image grows brighter."""
    path = tmp_path_factory.mktemp("video") / "brighter.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(COUNT):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), i * 10, np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_every_frame_of_a_file_comes_in_order(
    connect: Any, server: FakeServer, video: Path
) -> None:
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
    np.testing.assert_allclose(
        [frame.image.mean() for frame in frames], np.arange(COUNT) * 10, atol=4
    )
    assert cv2.__version__


def test_a_frame_that_fails_does_not_stop_the_rest(
    connect: Any, server: FakeServer, video: Path
) -> None:
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


# a, b, c, d of the box `tkhd` of an MP4: the pixel (x, y) is shown at (a x + c y, b x + d y) (ISO
# 14496-12, 6.2.2).
MATRICES = {
    "0": (1, 0, 0, 1),
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "flipped": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transverse": (0, -1, -1, 0),
}


def corners() -> np.ndarray:
    """64 x 48 pixels, whose corners are black, dark, light and white, so that each turn and
    mirroring shows.
    """
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, 32:], frame[24:, :32], frame[24:, 32:] = 80, 160, 240
    return frame


def expected(matrix: tuple[int, int, int, int], frame: np.ndarray) -> np.ndarray:
    """Pixel by pixel where the matrix puts it, moved back into the image."""
    a, b, c, d = matrix
    y, x = np.indices(frame.shape[:2])
    across, down = a * x + c * y, b * x + d * y
    shown = np.zeros((int(np.ptp(down)) + 1, int(np.ptp(across)) + 1, 3), np.uint8)
    shown[down - down.min(), across - across.min()] = frame
    return shown


@pytest.mark.parametrize("turn", MATRICES)
def test_frames_are_turned_and_mirrored_as_they_are_shown(
    connect: Any, server: FakeServer, tmp_path: Path, turn: str
) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    # After version and flags, times, track, duration, layer, group, volume.
    at = content.index(b"tkhd") + 44
    a, b, c, d = (each << 16 for each in MATRICES[turn])
    path.write_bytes(
        content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :]
    )
    with connect(server.url) as client:
        (frame,) = client.predict_video(path)
    wanted = expected(MATRICES[turn], corners())
    assert frame.result.image_size == wanted.shape[:2]
    np.testing.assert_allclose(frame.image.astype(int), wanted, atol=12)


@pytest.mark.parametrize("reader", ["av", "cv2"])
def test_a_video_on_its_side_is_turned(
    connect: Any,
    server: FakeServer,
    shared_cases: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
) -> None:
    if reader == "cv2":
        monkeypatch.setitem(__import__("sys").modules, "av", None)
    with connect(server.url) as client:
        frame = next(iter(client.predict_video(shared_cases / "rotated90.mp4")))
    with av.open(str(shared_cases / "rotated90.mp4")) as container:
        stored = next(container.decode(video=0))
        upright = np.rot90(stored.to_ndarray(format="rgb24"), stored.rotation // 90)
    assert frame.image.shape == (480, 360, 3)
    np.testing.assert_allclose(frame.image.astype(int), upright, atol=6)


@pytest.mark.parametrize("reader", ["av", "cv2"])
def test_a_corrupt_packet_costs_its_frame(
    connect: Any,
    server: FakeServer,
    shared_cases: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
) -> None:
    if reader == "cv2":
        monkeypatch.setitem(__import__("sys").modules, "av", None)
    progress: list[tuple[int, int]] = []
    with connect(server.url) as client:
        frames = list(
            client.predict_video(
                shared_cases / "one_bad_packet.avi",
                on_progress=lambda done, failed: progress.append((done, failed)),
            )
        )
    assert [frame.number for frame in frames] == list(range(60))
    assert [frame.number for frame in frames if frame.error] == [30]
    assert isinstance(frames[30].error, InvalidImage)
    assert str(frames[30].error).startswith(
        f"image: frame 30 of {shared_cases / 'one_bad_packet.avi'} cannot be decoded"
    )
    assert (frames[30].image, frames[30].result) == (None, None)
    assert all(len(frame.unwrap()) == 1 for frame in frames if frame.number != 30)
    with pytest.raises(InvalidImage, match="frame 30"):
        frames[30].unwrap()
    assert progress[-1] == (60, 1)


def damaged(source: Path, target: Path, packets: set[int]) -> None:
    """The same video with these packets, in the order of the file, full of noise."""
    noise = np.random.default_rng(0)
    with av.open(str(source)) as whole, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(video=0)):
            if not packet.size:  # the end
                continue
            broken = av.Packet(noise.bytes(packet.size)) if number in packets else packet
            broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
            broken.is_keyframe, broken.stream = packet.is_keyframe, stream
            container.mux(broken)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("mpeg4", "mp4"),
        ("libx264", "mp4"),
        ("libx264", "mkv"),
        ("libvpx-vp9", "webm"),
        ("mjpeg", "avi"),
    ],
)
@pytest.mark.parametrize("packets", [{10}, {10, 11, 12}, {23}])
def test_every_frame_of_a_damaged_video_is_accounted_for(
    connect: Any, server: FakeServer, tmp_path: Path, codec: str, suffix: str, packets: set[int]
) -> None:
    """Frames that only refer to a damaged one are dropped by some decoders without a word."""
    whole, broken = tmp_path / f"whole.{suffix}", tmp_path / f"broken.{suffix}"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream(
            codec, rate=RATE, options={"bf": "0"} if suffix == "mkv" else {}
        )
        stream.width, stream.height, stream.pix_fmt = (
            64,
            48,
            "yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        for i in range(COUNT):
            frame = np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    damaged(whole, broken, packets)
    with connect(server.url) as client:
        frames = list(client.predict_video(broken))
        bare = [frame.number for frame in client.predict_video(whole) if frame.error]
    assert bare == []
    assert [frame.number for frame in frames] == list(range(COUNT))
    assert [round(frame.time_s * RATE) for frame in frames] == list(range(COUNT))
    failed = [frame.number for frame in frames if frame.error]
    # VP9 has no checksums: most noise is decoded as if it were a frame.
    assert (1 if codec == "libvpx-vp9" else len(packets)) <= len(failed) < COUNT
    assert all(isinstance(frame.error, InvalidImage) for frame in frames if frame.error)


def test_what_can_not_be_opened_is_named(connect: Any, server: FakeServer, tmp_path: Path) -> None:
    text = tmp_path / "no.mp4"
    text.write_text("no video")
    with connect(server.url) as client:
        for source in (tmp_path / "missing.mp4", text):
            with pytest.raises(InvalidArgument, match=r"source: cannot open .*\.mp4"):
                list(client.predict_video(source))
        with pytest.raises(InvalidArgument, match="every: expected 1 or more"):
            list(client.predict_video(text, every=0))

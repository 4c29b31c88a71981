"""The frames of a file, a URL or a camera as players show them, or their decode errors."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boxwise._errors import InvalidArgument, InvalidImage
from boxwise._words import shortened

_LOG = logging.getLogger("boxwise")
_NO_READER = 'source: to read videos, pip install "boxwise[video]" (PyAV)'
# Consecutive failed reads of OpenCV after which the video counts as over.
_MOST_UNREAD = 100


class SourceFrame(NamedTuple):
    """One frame of a source: uint8 [height, width, 3] RGB, or its decode error."""

    number: int
    time_s: float | None
    pixels: NDArray[np.uint8] | InvalidImage


def of_file(name: str) -> Iterator[SourceFrame]:
    """Read a file or URL with PyAV, or with OpenCV if PyAV is not installed.

    Raises:
        InvalidArgument: it cannot be opened, holds no video, or neither library is installed.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        return of_capture(name)
    try:
        container = av.open(name)
    except (OSError, ValueError) as error:  # av's own errors are both
        raise InvalidArgument(
            f"source: cannot open {shortened(name)}: {shortened(error)}"
        ) from error
    if not container.streams.video:
        container.close()
        raise InvalidArgument(f"source: {shortened(name)} has no video in it")
    # With frame threading, errors are reported some frames later, and those of the last frames not.
    container.streams.video[0].thread_type = "SLICE"
    return _of_container(container, shortened(name), FFmpegError)


def of_capture(source: str | int) -> Iterator[SourceFrame]:
    """Read a camera, a file or a URL with OpenCV.

    Raises:
        InvalidArgument: it cannot be opened, or OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InvalidArgument(_NO_READER) from error
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        raise InvalidArgument(f"source: cannot open {shortened(source)}")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # off by default in some builds
    return _of_capture(capture, cv2, shortened(source))


def _of_container(
    container: Any, name: str, decode_error: type[Exception]
) -> Iterator[SourceFrame]:
    """Decode packet by packet, so that a damaged packet costs only its own frames.

    After a damaged packet, a decoder may silently drop frames that refer to it. So the times of
    packets are compared with those of decoded frames: after the first error, a missing frame is
    reported as lost.
    """
    number = 0
    sent: dict[int, str] = {}  # time of a packet without a frame yet -> the decoder's error
    damaged = False

    def lost(before: float) -> Iterator[SourceFrame]:
        nonlocal number
        for pts in sorted(each for each in sent if each < before):
            reason = sent.pop(pts) or "it refers to a damaged frame"
            if damaged:
                yield SourceFrame(
                    number, float(pts * stream.time_base), _undecodable(number, name, reason)
                )
                number += 1

    with container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size and not packet.is_discard:
                sent[packet.pts] = ""
            try:
                frames = packet.decode()
            except EOFError:
                frames = []
            except decode_error as error:
                damaged, frames = True, []
                reason = getattr(error, "strerror", None) or str(error)
                # libvpx accepts no packet in this state.
                if isinstance(error, BlockingIOError):
                    stream.codec_context.flush_buffers()
                if packet.pts is not None:
                    sent[packet.pts] = reason
                else:
                    yield SourceFrame(number, None, _undecodable(number, name, reason))
                    number += 1
            for frame in frames:
                if frame.pts is not None:
                    sent.pop(frame.pts, None)
                    yield from lost(frame.pts)
                pixels = (
                    _undecodable(number, name, "parts of it are missing")
                    if frame.is_corrupt
                    else _as_shown(frame)
                )
                yield SourceFrame(number, frame.time, pixels)
                number += 1
        yield from lost(float("inf"))
        if number < stream.frames:
            _LOG.warning(
                "%s: its header states %d frames, but %d were read", name, stream.frames, number
            )


def _undecodable(number: int, name: str, reason: str) -> InvalidImage:
    return InvalidImage(f"image: frame {number} of {name} cannot be decoded: {reason}")


def _as_shown(frame: Any) -> NDArray[np.uint8]:
    """Return RGB, rotated and mirrored as the video states.

    FFmpeg's display matrix (libavutil/display.h) is int32 `a b u, c d v, x y w`: the pixel (p, q)
    is shown at (a p + c q, b p + d q). Like players, this rotates by multiples of 90 degrees.
    """
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = struct.unpack_from("5i", bytes(matrix))
    across, down = a, d
    if abs(b) > abs(a):
        pixels = pixels.transpose(1, 0, 2)
        across, down = c, b
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _of_capture(capture: Any, cv2: Any, name: str) -> Iterator[SourceFrame]:
    """Read frames; a failed read is a damaged frame if a later one succeeds, else the end."""
    try:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        number = unread = 0
        while True:
            time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            there, image = capture.read()
            if there:
                for _ in range(unread):
                    yield SourceFrame(
                        number, None, _undecodable(number, name, "OpenCV cannot read it")
                    )
                    number += 1
                unread = 0
                yield SourceFrame(number, time_s, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                number += 1
            elif number + unread + 1 < count and unread < _MOST_UNREAD:
                unread += 1
            else:
                return
    finally:
        capture.release()

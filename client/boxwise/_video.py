"""The frames of a video in order, each with its result or error.

source ─▶ _Reader: a thread, one frame ahead ─▶ predict_in_threads or _in_tasks ─▶ Frame
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boxwise._batch import NOTHING_YET, Progress, predict_in_tasks, predict_in_threads
from boxwise._errors import BoxwiseError, InvalidArgument
from boxwise._image import ImageLike
from boxwise._prediction import Prediction, failed
from boxwise._result import Result
from boxwise._video_source import SourceFrame, of_capture, of_file

VideoSource: TypeAlias = "str | os.PathLike[str] | int | Iterable[NDArray[np.uint8]]"
"""A file, a URL, a camera's number, or RGB arrays uint8 [height, width, 3]."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        number: its number in the video, from 0; skipped frames leave gaps.
        time_s: seconds since the beginning; None if the source does not state it.
        image: uint8 [height, width, 3] RGB, rotated as the video states; None if the frame could
            not be decoded.
        result: None if it failed.
        error: None if it succeeded.
        tracker_ids: int64 [n], for each row of `result` a number that follows its object across
            frames, -1 while the tracker is not sure; None without `track`.
    """

    number: int
    time_s: float | None
    image: NDArray[np.uint8] | None
    result: Result | None
    error: BoxwiseError | None
    tracker_ids: NDArray[np.int64] | None = None

    def unwrap(self) -> Result:
        """Return the result.

        Raises:
            BoxwiseError: the frame's error, if it failed.
        """
        if self.result is None:
            raise self.error or BoxwiseError("neither a result nor an error")
        return self.result


def predict_frames(
    submit: Callable[[ImageLike], Prediction],
    source: VideoSource,
    concurrency: int,
    *,
    every: int,
    live: bool | None,
    track: bool,
    on_progress: Progress | None,
) -> Iterator[Frame]:
    """Call `submit` for each frame; see `Client.predict_video`."""
    reader, tracker = _open(source, every, live), _tracker(track)
    sent: deque[SourceFrame] = deque()

    def sent_or_failed(pixels: Any) -> Prediction:
        return failed(pixels) if isinstance(pixels, BoxwiseError) else submit(pixels)

    def pixels() -> Iterator[Any]:
        for frame in reader:
            if frame is NOTHING_YET:
                yield frame
            else:
                sent.append(frame)
                yield frame.pixels

    def frames() -> Iterator[Frame]:
        with reader:
            for outcome in predict_in_threads(
                sent_or_failed,
                pixels(),
                concurrency,
                ordered=True,
                on_progress=on_progress,
                changed=reader.changed,
            ):
                yield _frame(sent.popleft(), outcome.result, outcome.error, tracker)

    return frames()


async def predict_frames_async(
    submit: Callable[[ImageLike], asyncio.Task[Result]],
    source: VideoSource,
    concurrency: int,
    *,
    every: int,
    live: bool | None,
    track: bool,
    on_progress: Progress | None,
) -> AsyncIterator[Frame]:
    """Do the same with tasks; see `AsyncClient.predict_video`."""
    reader, tracker = await asyncio.to_thread(_open, source, every, live), _tracker(track)
    sent: deque[SourceFrame] = deque()

    def sent_or_failed(pixels: Any) -> asyncio.Task[Result]:
        return (
            asyncio.create_task(_raise(pixels))
            if isinstance(pixels, BoxwiseError)
            else submit(pixels)
        )

    async def pixels() -> AsyncIterator[Any]:
        while (frame := await asyncio.to_thread(reader.wait)) is not None:
            sent.append(frame)
            yield frame.pixels

    with reader:
        async for outcome in predict_in_tasks(
            sent_or_failed, pixels(), concurrency, ordered=True, on_progress=on_progress
        ):
            yield _frame(sent.popleft(), outcome.result, outcome.error, tracker)


def _frame(
    frame: SourceFrame, result: Result | None, error: BoxwiseError | None, tracker: Any
) -> Frame:
    ids = None
    if tracker is not None:
        ids = _track(tracker, result) if result is not None else np.empty(0, np.int64)
    image = None if isinstance(frame.pixels, BoxwiseError) else frame.pixels
    return Frame(frame.number, frame.time_s, image, result, error, ids)


async def _raise(error: BoxwiseError) -> Result:
    raise error


class _Reader:
    """Reads a video in a thread, one frame ahead. Of a live one it keeps only the newest frame.

    Iteration yields `NOTHING_YET` while the next frame is not there; `changed` is notified when it
    is.
    """

    def __init__(self, frames: Iterator[SourceFrame], *, live: bool) -> None:
        self.changed = threading.Condition()
        self._images = frames
        self._live = live
        self._next: SourceFrame | None = None
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="boxwise-video", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Any]:
        while (frame := self.take()) is not None:
            yield frame

    def take(self) -> Any:
        """Return the next frame; NOTHING_YET if it is not there, None at the end."""
        with self.changed:
            if self._next is not None:
                frame, self._next = self._next, None
                self.changed.notify_all()
                return frame
            if not self._ended:
                return NOTHING_YET
            if self._error is not None:
                raise self._error
            return None

    def wait(self) -> SourceFrame | None:
        """Wait for the next frame and return it; None at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self._next is not None or self._ended)
            frame: SourceFrame | None = self.take()
            return frame

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self._stopped = self._ended = True
            self.changed.notify_all()

    def _read(self) -> None:
        try:
            with contextlib.closing(self._images):  # type: ignore[type-var]  # all are generators
                for frame in self._images:
                    with self.changed:
                        if not self._live:
                            self.changed.wait_for(lambda: self._next is None or self._stopped)
                        if self._stopped:
                            return
                        self._next = frame
                        self.changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised by `take`
            self._error = error
        finally:
            with self.changed:
                self._ended = True
                self.changed.notify_all()


def _open(source: VideoSource, every: int, live: bool | None) -> _Reader:
    if every < 1:
        raise InvalidArgument(f"every: expected 1 or more, got {every}")
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        frames = of_file(name)
        streams = name.partition("://")[0] in ("rtsp", "rtsps", "rtmp", "udp", "srt", "rtp")
    elif isinstance(source, int):
        frames, streams = of_capture(source), True
    else:
        frames, streams = (SourceFrame(i, None, each) for i, each in enumerate(source)), False
    return _Reader(_each(frames, every), live=streams if live is None else live)


def _each(frames: Iterator[SourceFrame], every: int) -> Iterator[SourceFrame]:
    """Yield every n-th frame."""
    for frame in frames:
        if frame.number % every == 0:
            yield frame


def _tracker(track: bool) -> Any:
    if not track:
        return None
    try:
        import supervision
    except ImportError as error:
        raise InvalidArgument(
            'track: to follow objects, pip install "boxwise[track]" (supervision)'
        ) from error
    return supervision.ByteTrack()


def _track(tracker: Any, result: Result) -> NDArray[np.int64]:
    """Return the tracker's number of each row, or -1.

    The tracker returns only rows of which it is sure, in its own order.
    """
    detections = result.to_supervision()
    detections.data["row"] = np.arange(len(result))
    tracked = tracker.update_with_detections(detections)
    ids = np.full(len(result), -1, np.int64)
    if len(tracked):
        ids[tracked.data["row"]] = tracked.tracker_id
    return ids

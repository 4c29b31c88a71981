"""The work of `boxwise predict`: send files and videos to a server, print and save the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import track

from boxwise import BoxwiseError, Client, ContractMismatch, Unavailable, UnknownPipeline
from boxwise._image import IMAGE_SUFFIXES
from boxwise._options import CallOptions
from boxwise._words import shortened
from boxwise_cli.exits import FAILED, USAGE, fail, reported
from boxwise_cli.output import (
    SAVED_SUFFIXES,
    FramePlace,
    Outcome,
    document,
    outcomes_table,
    save_image,
)
from boxwise_cli.printing import print_json

_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts")
_FATAL = (Unavailable, UnknownPipeline, ContractMismatch)  # every further image would fail too


class _Failures:
    """Prints each failure on stderr as it happens, and counts them."""

    def __init__(self, console: Console) -> None:
        self.count = 0
        self._console = console

    def add(self, file: Path, error: Exception) -> None:
        sentence = str(error) if str(file) in str(error) else f"{shortened(file)}: {error}"
        self.count += 1
        self._console.print(f"error: {sentence}", markup=False, highlight=False, soft_wrap=True)


def predict_files(
    images: Sequence[Path],
    url: str,
    pipeline: str,
    options: CallOptions,
    *,
    timeout_s: float,
    as_json: bool,
    save: Path | None,
) -> None:
    """Predict every image in files, folders and videos, and print the results.

    Exits with 1 if one failed.

    Args:
        images: image files, folders of images, or video files.
        url: HOST:PORT of the server's gRPC endpoint.
        pipeline: its name.
        options: of each request.
        timeout_s: deadline of each request.
        as_json: print JSON instead of a table.
        save: folder for annotated images; None for none.
    """
    stderr = Console(stderr=True)
    failures = _Failures(stderr)
    files = _files(images, failures)
    targets = _targets(files, save) if save else {}
    fatal: BoxwiseError | None = None

    with reported(BoxwiseError), Client(url, pipeline=pipeline, timeout_s=timeout_s) as client:
        run = _Run(client, options, targets, failures)
        quiet = len(files) < 2 or not stderr.is_terminal
        try:
            for file in track(files, "Predicting", console=stderr, transient=True, disable=quiet):
                run.predict(file)
        except _FATAL as error:
            fatal = error

    if as_json and (run.outcomes or fatal is None):
        print_json([document(outcome) for outcome in run.outcomes])
    elif run.outcomes:
        Console().print(outcomes_table(run.outcomes))
    if run.saved:
        typer.echo(f"annotated images saved: {run.saved}, in {save}", err=as_json)
    if fatal is not None:
        fail(_with_advice(fatal))
    if failures.count:
        raise typer.Exit(FAILED)


@dataclass
class _Run:
    """The requests of one command.

    Attributes:
        targets: image file -> path of its annotated image.
        outcomes: so far, in order.
        saved: number of annotated images so far.
    """

    client: Client
    options: CallOptions
    targets: dict[Path, Path]
    failures: _Failures
    outcomes: list[Outcome] = field(default_factory=list)
    saved: int = 0

    def predict(self, file: Path) -> None:
        """Predict an image or a video. Raises the errors that every further file would meet."""
        try:
            if _is_video(file):
                self._predict_video(file)
            else:
                self._predict_image(file)
        except _FATAL:
            raise
        except (BoxwiseError, OSError) as error:
            self.failures.add(file, error)

    def _predict_image(self, file: Path) -> None:
        result = self.client.predict(file, **self.options)
        self.outcomes.append(Outcome(file, result.image_size, result.detections))
        if file in self.targets:
            save_image(result.draw(), self.targets[file])
            self.saved += 1

    def _predict_video(self, file: Path) -> None:
        """Predict every frame. Failed frames are reported once, at the end."""
        failed: list[BoxwiseError] = []
        frames = 0
        for frame in self.client.predict_video(file, **self.options):
            frames += 1
            if isinstance(frame.error, _FATAL):
                raise frame.error
            place = FramePlace(frame.number, frame.time_s)
            if frame.error is not None:
                failed.append(frame.error)
                self.outcomes.append(Outcome(file, None, (), place, str(frame.error)))
            else:
                result = frame.unwrap()
                self.outcomes.append(Outcome(file, result.image_size, result.detections, place))
        if failed:
            raise BoxwiseError(
                f"{file}: {len(failed)} of {frames} frames failed; the first: {failed[0]}"
            )


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in _VIDEO_SUFFIXES


def _files(images: Iterable[Path], failures: _Failures) -> list[Path]:
    """Return the files, each folder replaced by its images, sorted by name."""
    files: list[Path] = []
    for path in images:
        if not _is_folder(path):
            files.append(path)
            continue
        found = sorted(each for each in path.iterdir() if _is_image(each))
        if not found:
            failures.add(
                path, FileNotFoundError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in this folder")
            )
        files += found
    return list(dict.fromkeys(files))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the name is too long for a file; the client reports it
        return False


def _is_image(path: Path) -> bool:
    """Return whether a file has an image's suffix, and is not one of macOS's `._` files."""
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _targets(files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the path of each annotated image, and create their folder.

    It has the file's name, with a number if that is taken: by another of the files, as of a/x.jpg
    and b/x.jpg, or by an input in the folder itself.
    """
    if videos := [file for file in files if _is_video(file)]:
        fail(
            f"--save writes annotated images, and {videos[0]} is a video: leave one of them out",
            USAGE,
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--save: cannot make the folder {folder}: {error.strerror}")
    taken = {file.resolve() for file in files}
    targets: dict[Path, Path] = {}
    for file in files:
        suffix = file.suffix if file.suffix.lower() in SAVED_SUFFIXES else f"{file.suffix}.png"
        numbers = chain([""], (f"-{number}" for number in count(2)))
        names = (folder / f"{file.stem}{number}{suffix}" for number in numbers)
        targets[file] = next(each for each in names if each.resolve() not in taken)
        taken.add(targets[file].resolve())
    return targets


def _with_advice(error: BoxwiseError) -> str:
    if isinstance(error, Unavailable):
        return (
            f"{error}. Start it with `boxwise serve REPO`, or choose another with --url HOST:PORT"
        )
    if isinstance(error, UnknownPipeline):
        return f"{error}. Choose one of the server's with --pipeline NAME"
    return str(error)

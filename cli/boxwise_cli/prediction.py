"""What `boxwise predict` does: send files and videos to a server, and print or save what it
returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
    Answer,
    FramePlace,
    answers_table,
    document,
    save_image,
)

_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts")
_NO_USE = (Unavailable, UnknownPipeline, ContractMismatch)


class _Complaints:
    """Counts what went wrong, and says it on stderr at once."""

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
    """Predict every image in files, folders and videos, and print the results. Exits with 1 where
    one failed.

    Args:
        images: image files, folders of them, or video files.
        url: HOST:PORT of the server's gRPC.
        pipeline: its name.
        options: of each request.
        timeout_s: deadline of each request.
        as_json: print JSON instead of a table.
        save: write annotated images to this folder; None for none.
    """
    stderr = Console(stderr=True)
    complaints = _Complaints(stderr)
    files = _files(images, complaints)
    if save and (videos := [file for file in files if _is_video(file)]):
        fail(
            f"--save writes annotated images, and {videos[0]} is a video: leave one of them out",
            USAGE,
        )
    targets = _targets(files, save) if save else {}
    if save:
        _make_folder(save)
    answers: list[Answer] = []
    saved: list[Path] = []
    no_use: BoxwiseError | None = None  # an error that the next image would meet too

    with reported(BoxwiseError), Client(url, pipeline=pipeline, timeout_s=timeout_s) as client:
        quiet = len(files) < 2 or not stderr.is_terminal
        for file in track(files, "Predicting", console=stderr, transient=True, disable=quiet):
            try:
                if _is_video(file):
                    _predict_video(client, file, options, answers, complaints)
                    continue
                result = client.predict(file, **options)
                answers.append(Answer(file, result.image_size, result.detections))
                if file in targets:
                    save_image(result.draw(), targets[file])
                    saved.append(targets[file])
            except _NO_USE as error:
                no_use = error
                break
            except (BoxwiseError, OSError) as error:
                complaints.add(file, error)

    if as_json and (answers or no_use is None):
        typer.echo(
            json.dumps([document(answer) for answer in answers], indent=2, ensure_ascii=False)
        )
    elif answers:
        Console().print(answers_table(answers))
    if saved:
        typer.echo(f"annotated images saved: {len(saved)}, in {save}", err=as_json)
    if no_use is not None:
        fail(_mend(no_use))
    if complaints.count:
        raise typer.Exit(FAILED)


def _predict_video(
    client: Client, file: Path, options: CallOptions, answers: list[Answer], complaints: _Complaints
) -> None:
    """Add what was found on each frame; those that failed are one complaint, at the end."""
    failed: list[BoxwiseError] = []
    count = 0
    for frame in client.predict_video(file, **options):
        count += 1
        if isinstance(frame.error, _NO_USE):
            raise frame.error
        place = FramePlace(frame.number, frame.time_s)
        if frame.error is not None:
            failed.append(frame.error)
            answers.append(Answer(file, None, (), place, str(frame.error)))
        else:
            result = frame.unwrap()
            answers.append(Answer(file, result.image_size, result.detections, place))
    if failed:
        complaints.add(
            file,
            BoxwiseError(f"{file}: {len(failed)} of {count} frames failed; the first: {failed[0]}"),
        )


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in _VIDEO_SUFFIXES


def _files(images: Iterable[Path], complaints: _Complaints) -> list[Path]:
    """Files as they are, folders replaced by the images in them, by name."""
    files: list[Path] = []
    for path in images:
        if not _is_folder(path):
            files.append(path)
            continue
        found = sorted(each for each in path.iterdir() if _is_image(each))
        if not found:
            complaints.add(
                path, FileNotFoundError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in this folder")
            )
        files += found
    return list(dict.fromkeys(files))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for any file; the client says what it may be
        return False


def _is_image(path: Path) -> bool:
    """Whether a file is called an image; the `._` files of macOS are, and are none."""
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--save: cannot make the folder {folder}: {error.strerror}")


def _targets(files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each file's annotated image goes: under its own name, numbered where that is taken.

    Taken by another of the files, a/x.jpg and b/x.jpg, or by a file that is itself to be annotated.
    """
    taken = {file.resolve() for file in files}
    targets: dict[Path, Path] = {}
    for file in files:
        suffix = file.suffix if file.suffix.lower() in SAVED_SUFFIXES else f"{file.suffix}.png"
        numbers = chain([""], (f"-{number}" for number in count(2)))
        names = (folder / f"{file.stem}{number}{suffix}" for number in numbers)
        targets[file] = next(each for each in names if each.resolve() not in taken)
        taken.add(targets[file].resolve())
    return targets


def _mend(error: BoxwiseError) -> str:
    """The error as a sentence, and what to do about it."""
    if isinstance(error, Unavailable):
        return (
            f"{error}. Start it with `boxwise serve REPO`, or say where it is with --url HOST:PORT"
        )
    if isinstance(error, UnknownPipeline):
        return f"{error}. Name one that it has with --pipeline NAME"
    return str(error)

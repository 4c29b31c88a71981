"""`boxwise predict`: pictures go to a running server, and a table, JSON or annotated pictures come back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from boxwise import BoxwiseError, Client, ContractMismatch, Unavailable, UnknownPipeline
from boxwise_cli.answers import SUFFIXES, Answer, answers_table, document, save_picture
from boxwise_cli.errors import FAILED, fail, reported


class _Complaints:
    """Counts what went wrong, and says it on stderr at once."""

    def __init__(self, console: Console) -> None:
        self.count = 0
        self._console = console

    def add(self, file: Path, error: Exception) -> None:
        sentence = str(error) if str(file) in str(error) else f"{file}: {error}"
        self.count += 1
        self._console.print(f"error: {sentence}", markup=False, highlight=False, soft_wrap=True)


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files, or folders of them.")],
    url: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server's gRPC port.")] = "localhost:8001",
    pipeline: Annotated[str, typer.Option(metavar="NAME", help="The name it was exported with.")] = "boxwise",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Write annotated pictures there.")] = None,
    score_threshold: Annotated[float | None, typer.Option(min=0, max=1, help="A box needs this score.")] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of boxes of one class that overlap more, keep one.")
    ] = None,
    max_detections: Annotated[int | None, typer.Option(min=1, help="Keep so many boxes, the best.")] = None,
) -> None:
    """Find the objects in pictures, with a running server.

    Of a folder, every .jpg, .jpeg, .png, .webp and .bmp file in it. A picture that fails is named on stderr, the
    others are answered, and the exit code is 1.
    """
    stderr = Console(stderr=True)
    complaints = _Complaints(stderr)
    files = _files(images, complaints)
    targets = _targets(files, save) if save else {}
    if save:
        _make_folder(save)
    answers: list[Answer] = []
    saved: list[Path] = []
    no_use: BoxwiseError | None = None  # an error that the next picture would meet too

    with reported(BoxwiseError), Client(url, pipeline=pipeline) as client:
        quiet = len(files) < 2 or not stderr.is_terminal
        for file in track(files, "Predicting", console=stderr, transient=True, disable=quiet):
            try:
                result = client.predict(
                    file,
                    score_threshold=score_threshold,
                    iou_threshold=iou_threshold,
                    max_detections=max_detections,
                )
                answers.append(Answer(file, result.image_size, result.detections))
                if file in targets:
                    save_picture(result.draw(), targets[file])
                    saved.append(targets[file])
            except (Unavailable, UnknownPipeline, ContractMismatch) as error:
                no_use = error
                break
            except (BoxwiseError, OSError) as error:
                complaints.add(file, error)

    if as_json and (answers or no_use is None):
        typer.echo(json.dumps([document(answer) for answer in answers], indent=2, ensure_ascii=False))
    elif answers:
        Console().print(answers_table(answers))
    if saved:
        typer.echo(f"annotated pictures saved: {len(saved)}, in {save}", err=as_json)
    if no_use is not None:
        fail(_mend(no_use))
    if complaints.count:
        raise typer.Exit(FAILED)


def _files(images: Iterable[Path], complaints: _Complaints) -> list[Path]:
    """Files as they are, folders replaced by the pictures in them, by name."""
    files: list[Path] = []
    for path in images:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and each.is_file())
        if not found:
            complaints.add(path, FileNotFoundError(f"no picture ({', '.join(SUFFIXES)}) in this folder"))
        files += found
    return list(dict.fromkeys(files))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--save: cannot make the folder {folder}: {error.strerror}")


def _targets(files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each file's annotated picture goes: under its own name, numbered where that is taken.

    Taken by another of the files, a/x.jpg and b/x.jpg, or by a file that is itself to be annotated.
    """
    taken = {file.resolve() for file in files}
    targets: dict[Path, Path] = {}
    for file in files:
        suffix = file.suffix if file.suffix.lower() in SUFFIXES else f"{file.suffix}.png"
        numbers = chain([""], (f"-{number}" for number in count(2)))
        names = (folder / f"{file.stem}{number}{suffix}" for number in numbers)
        targets[file] = next(each for each in names if each.resolve() not in taken)
        taken.add(targets[file].resolve())
    return targets


def _mend(error: BoxwiseError) -> str:
    """The error as a sentence, and what to do about it."""
    if isinstance(error, Unavailable):
        return f"{error}. Start it with `boxwise serve REPO`, or say where it is with --url HOST:PORT"
    if isinstance(error, UnknownPipeline):
        return f"{error}. Name one that it has with --pipeline NAME"
    return str(error)

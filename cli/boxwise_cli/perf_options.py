"""The options that `perf` commands share, some with others, and what their words mean."""

import re
from pathlib import Path
from typing import Annotated

import typer

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|min)?")
_SIZE = re.compile(r"(\d+)x(\d+)")


def duration(text: str) -> float:
    """Seconds: `100ms`, `0.1s`, `2min`, or a bare number of seconds. Raises typer.BadParameter."""
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise typer.BadParameter(f"expected a time such as 100ms, 10s or 2min, got {text!r}")
    return float(match[1]) * SECONDS[match[2] or "s"]


def latency(text: str) -> float:
    """Seconds, from a time that names its unit: whoever writes 100 does not mean 100 seconds."""
    if str(text).strip()[-1:].isdigit():
        raise typer.BadParameter(f"say its unit: {text}ms or {text}s")
    if not (seconds := duration(text)):
        raise typer.BadParameter("expected more than nothing, such as 100ms")
    return seconds


def size(text: str) -> tuple[int, int]:
    """Width and height of `1280x720`. Raises typer.BadParameter."""
    match = _SIZE.fullmatch(text)
    if match is None or not all(map(int, match.groups())):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT in pixels, such as 1280x720, got {text!r}")
    return int(match[1]), int(match[2])


def numbers(texts: list[str]) -> list[float]:
    """`["1,2", "4"]` -> [1, 2, 4]; all positive. Raises typer.BadParameter."""
    found = []
    for text in ",".join(texts).split(",") if texts else ():
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise typer.BadParameter(f"expected positive numbers, such as 1,2,4, got {text!r}")
        found.append(value)
    return found


def concurrencies(texts: list[str]) -> list[int]:
    """The same of whole numbers."""
    found = numbers(texts)
    if wrong := next((value for value in found if value != int(value)), None):
        raise typer.BadParameter(f"expected whole numbers, got {wrong:g}")
    return [int(value) for value in found]


def boxes(text: str) -> tuple[float, bool]:
    """(mean, whether Poisson-distributed) of `5` or `poisson:5.3`. Raises typer.BadParameter."""
    kind, _, mean = text.rpartition(":")
    try:
        value = float(mean)
    except ValueError:
        value = -1.0
    if kind not in ("", "poisson") or not 0 <= value <= 1000 or (not kind and value != int(value)):
        raise typer.BadParameter(
            f"expected a number of boxes such as 5, or poisson:MEAN up to 1000, got {text!r}"
        )
    return value, bool(kind)


Repository = Annotated[
    Path | None,
    typer.Argument(
        metavar="[REPO]", help="A model repository, served for the duration of the command."
    ),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Load a running server instead (its gRPC port)."),
]
Pipeline = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The pipeline; default: the only one of REPO."),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        "--pictures",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Send the images of this folder.",
    ),
]
Synthetic = Annotated[
    str | None,
    typer.Option(
        metavar="WxH", help="Send seeded noise of this size, as JPEG. Without --images: 1280x720."
    ),
]
Boxes = Annotated[
    str | None,
    typer.Option(
        metavar="N|poisson:MEAN",
        help="Boxes in each image: the networks of REPO are replaced by ones that "
        "return constants.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of arrivals, synthetic images and orders.")]
WarmUp = Annotated[
    float,
    typer.Option(
        metavar="TIME", parser=duration, help="Duration of the warm-up: the same load, discarded."
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        metavar="TIME", parser=latency, help="Deadline of a request; a longer one has failed."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help="Write the result for `perf report` to a new file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

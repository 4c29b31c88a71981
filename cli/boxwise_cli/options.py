"""The options and arguments that commands share, and the parsers of their values."""

import re
from pathlib import Path
from typing import Annotated

import typer

from boxwise_runtime import targets

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|min)?")
_SIZE = re.compile(r"(\d+)x(\d+)")


def duration(text: str) -> float:
    """Return the seconds of `100ms`, `0.1s`, `2min`, or of a bare number of seconds.

    Raises:
        typer.BadParameter: anything else.
    """
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise typer.BadParameter(f"expected a time such as 100ms, 10s or 2min, got {text!r}")
    return float(match[1]) * SECONDS[match[2] or "s"]


def latency(text: str) -> float:
    """Return seconds, as `duration`, but only of a time with a unit: 100 hardly means 100 s."""
    if str(text).strip()[-1:].isdigit():
        raise typer.BadParameter(f"add a unit: {text}ms or {text}s")
    if not (seconds := duration(text)):
        raise typer.BadParameter("expected more than 0, such as 100ms")
    return seconds


def size(text: str) -> tuple[int, int]:
    """Return width and height of `1280x720`. Raises typer.BadParameter."""
    match = _SIZE.fullmatch(text)
    if match is None or not all(map(int, match.groups())):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT in pixels, such as 1280x720, got {text!r}")
    return int(match[1]), int(match[2])


def numbers(texts: list[str]) -> list[float]:
    """Return the positive numbers in `["1,2", "4"]`: [1, 2, 4]. Raises typer.BadParameter."""
    values = []
    for text in ",".join(texts).split(",") if texts else ():
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise typer.BadParameter(f"expected positive numbers, such as 1,2,4, got {text!r}")
        values.append(value)
    return values


def concurrencies(texts: list[str]) -> list[int]:
    """Return the positive whole numbers in `["1,2", "4"]`. Raises typer.BadParameter."""
    values = numbers(texts)
    if wrong := next((value for value in values if value != int(value)), None):
        raise typer.BadParameter(f"expected whole numbers, got {wrong:g}")
    return [int(value) for value in values]


def boxes(text: str) -> tuple[float, bool]:
    """Return the mean, and whether it is Poisson-distributed, of `5` or `poisson:5.3`.

    Raises:
        typer.BadParameter: anything else.
    """
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


def _target(name: str | targets.Target) -> targets.Target:
    """Return the target of a name; typer passes the default as it is."""
    if isinstance(name, targets.Target):
        return name
    if name not in targets.TARGETS:
        raise typer.BadParameter(f"{name!r}; expected one of {', '.join(targets.TARGETS)}")
    return targets.TARGETS[name]


# One repository.
Repository = Annotated[Path, typer.Argument(metavar="REPO", help="The model repository.")]
Pipeline = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The pipeline, if the repository has several."),
]
Target = Annotated[
    targets.Target,
    typer.Option(
        parser=_target,
        metavar=f"[{'|'.join(targets.TARGETS)}]",
        help="What runs the networks. embedded: ONNX Runtime on the CPU, with the bundled Triton; "
        "the others need --server.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

# A server to measure.
ServedRepository = Annotated[
    Path | None,
    typer.Argument(
        metavar="[REPO]", help="A model repository, served for the duration of the command."
    ),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Load a running server instead (its gRPC port)."),
]
ServedPipeline = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The pipeline; default: the only one of REPO."),
]
Timeout = Annotated[
    float,
    typer.Option(
        metavar="TIME", parser=latency, help="Deadline of a request; a longer one has failed."
    ),
]

# A load.
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
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help="Write the result for `perf report` to a new file."),
]

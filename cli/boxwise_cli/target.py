"""The option `--target`, of the commands that start a server."""

from typing import Annotated

import typer

from boxwise_runtime import targets


def _named(name: str | targets.Target) -> targets.Target:
    """The target of a name; typer hands over the default as it is."""
    if isinstance(name, targets.Target):
        return name
    if name not in targets.TARGETS:
        raise typer.BadParameter(f"{name!r}; expected one of {', '.join(targets.TARGETS)}")
    return targets.TARGETS[name]


Target = Annotated[
    targets.Target,
    typer.Option(
        parser=_named,
        metavar=f"[{'|'.join(targets.TARGETS)}]",
        help="What runs the networks. embedded: ONNX Runtime on the CPU, with the bundled Triton; "
        "the others need --server.",
    ),
]

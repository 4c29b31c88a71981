"""`tritonserver` in our images: this process becomes the one that BOXWISE_TRITONSERVER names, or
else the bundled one.

    python -m boxwise_runtime.launcher.bundled --model-repository=/models ...

Arguments are tritonserver's own, and go to it as they are, but for a repository that is fitted to
the container's cores and memory (`fitting.py`). Nothing stays in between: signals reach the server.
"""

import os
import sys
import tempfile
from pathlib import Path

from boxwise_runtime.fitting import NotEnoughMemory, fitted
from boxwise_runtime.launcher.binary import locate
from boxwise_runtime.launcher.files import raise_open_files
from boxwise_runtime.launcher.options import LaunchError, ServerOptions
from boxwise_runtime.resources import available


def main(arguments: list[str]) -> None:
    """Become tritonserver. Ends with a sentence where there is none that can run here."""
    try:
        server = os.environ.get("BOXWISE_TRITONSERVER")
        binary = locate(ServerOptions(Path(), server=Path(server) if server else None))
    except LaunchError as error:
        raise SystemExit(f"tritonserver: {error}") from error
    raise_open_files()
    try:
        arguments = fit_repositories(arguments, Path(tempfile.gettempdir(), "boxwise-models"))
    except NotEnoughMemory as error:
        raise SystemExit(f"tritonserver: {error}") from error
    os.execve(  # noqa: S606 (what is run is ours)
        binary.program,
        [str(binary.program), *binary.arguments, *arguments],
        dict(binary.environment),
    )


def fit_repositories(arguments: list[str], folder: Path) -> list[str]:
    """The arguments with model repositories as this machine can serve them, in a folder that may be
    replaced.

    Raises:
        NotEnoughMemory: what is to be served does not fit.
    """
    fitting = []
    for number, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--model-repository" and Path(value).is_dir():
            try:
                repository, said = fitted(Path(value), folder / str(number), available())
            except OSError as error:  # no folder to write into: then the numbers are the exporter's
                repository, said = (
                    Path(value),
                    f"served with the instances that it was exported with ({error})",
                )
            argument = f"{name}={repository}"
            if said:
                sys.stderr.write(f"tritonserver: {value}: {said}\n")
        fitting.append(argument)
    return fitting


if __name__ == "__main__":
    main(sys.argv[1:])

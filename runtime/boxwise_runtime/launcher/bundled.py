"""`tritonserver` in an image that has no other: this process becomes the bundled one.

    python -m boxwise_runtime.launcher.bundled --model-repository=/models ...

Arguments are tritonserver's own, and go to it as they are. Nothing stays in between: signals reach the server.
"""

import os
import sys
from pathlib import Path

from boxwise_runtime.launcher.binary import locate
from boxwise_runtime.launcher.files import raise_open_files
from boxwise_runtime.launcher.options import LaunchError, ServerOptions


def main(arguments: list[str]) -> None:
    """Become tritonserver. Ends with a sentence where there is none that can run here."""
    try:
        binary = locate(ServerOptions(Path()))
    except LaunchError as error:
        raise SystemExit(f"tritonserver: {error}") from error
    raise_open_files()
    os.execve(  # noqa: S606 (what is run is ours)
        binary.program, [str(binary.program), *binary.arguments, *arguments], dict(binary.environment)
    )


if __name__ == "__main__":
    main(sys.argv[1:])

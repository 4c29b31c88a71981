"""The `boxwise` program: it starts without typer too, to say how to get it."""

import sys
from importlib.util import find_spec

from boxwise_cli.errors import USAGE


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage or extra missing, 130 interrupted."""
    if find_spec("typer") is None or find_spec("rich") is None:
        sys.stderr.write('the command line needs its extra: pip install "boxwise[cli]"\n')
        raise SystemExit(USAGE)
    from boxwise_cli.app import app

    app()

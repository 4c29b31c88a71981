"""The `boxwise` command, run inside the test's process."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from boxwise_cli.entry import main


def boxwise(
    *arguments: object, cwd: Path | None = None, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return what it printed and its exit code.

    It starts at once, where a program imports all that it needs first. What a program alone has
    (Ctrl-C, a server that outlives a call, a clean start) is tested with one.

    Args:
        arguments: of the command line.
        cwd: the current folder, the test's own where it is left out.
        encoding: of its terminal.
    """
    command = ["boxwise", *map(str, arguments)]
    printed = (io.BytesIO(), io.BytesIO())
    stdout, stderr = (io.TextIOWrapper(each, encoding, write_through=True) for each in printed)
    before = signal.getsignal(signal.SIGTERM)  # which some commands handle
    code: object = 0
    with (
        mock.patch.object(sys, "argv", command),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        chdir(cwd or Path.cwd()),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, before)
    assert isinstance(code, int)
    # JSON is UTF-8 on every terminal, and ASCII is UTF-8.
    return subprocess.CompletedProcess(
        command, code, *(each.getvalue().decode() for each in printed)
    )

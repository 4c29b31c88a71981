"""What goes with a release: its files, the bill of what it is served with, licences, and known
vulnerabilities.

`make release`, `make licences` and `make audit` run it in .venv-release; it is no part of what is
installed.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVED = ROOT / ".venv" / "bin" / "python"  # the demo's environment, and the tests' on top of it


class ReleaseError(Exception):
    """Says what is wrong and how to fix it."""

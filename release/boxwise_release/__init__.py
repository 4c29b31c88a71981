"""Release tools: distribution files, bill of materials, licences, known vulnerabilities.

    requirements/*.txt ─▶ lock.read() ─▶ bill.write(environment) ─▶ CycloneDX, licences.page()
    git commit ─▶ build() ─▶ sdist, wheel ─▶ dist/, with the bill and checksums

`make release`, `make licences` and `make audit` run it in .venv-release; it is not in the wheel.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVED = ROOT / ".venv" / "bin" / "python"  # the demo's environment, plus what tests need


class ReleaseError(Exception):
    """A release cannot be made; the message has the fix."""

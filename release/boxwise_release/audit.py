"""pip-audit of every lock. A package that could not be looked up is an error."""

from __future__ import annotations

import json
import subprocess
import sys

from boxwise_release import ReleaseError, lock

PIP_AUDIT = (
    *(sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"),
    *("--progress-spinner", "off", "--timeout", "15", "--format", "json"),
)
# torch-cuda.txt has the same version, under the name that lists of vulnerabilities use.
APART = {"torch-cpu"}


def audit() -> None:
    """Print every known vulnerability of every lock.

    Raises:
        ReleaseError: there is one, or a package could not be looked up.
    """
    found = 0
    for path in sorted(lock.LOCKS.glob("*.txt")):
        if path.stem in APART:
            continue
        done = subprocess.run(
            [*PIP_AUDIT, "--requirement", path], capture_output=True, text=True, check=False
        )
        if not done.stdout:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise ReleaseError(
                f"nothing was audited, because pip-audit did not reach its list: {reason}"
            )
        packages = json.loads(done.stdout)["dependencies"]
        if unknown := [each["name"] for each in packages if "skip_reason" in each]:
            raise ReleaseError(
                f"{len(unknown)} of {len(packages)} packages of {path.name} could not be looked up "
                f"({unknown[0]}, ...): this package index has no list of vulnerabilities. Run "
                "`make audit` where PyPI itself is reachable."
            )
        for each in packages:
            for known in each["vulns"]:
                found += 1
                fix = ", ".join(known["fix_versions"]) or "no version yet"
                print(
                    f"{path.name}: {each['name']} {each['version']}: {known['id']}, fixed in {fix}"
                )
        print(f"{path.name}: {len(packages)} packages looked up")
    if found:
        raise ReleaseError(
            f"{found} known vulnerabilities. `make lock UPGRADE=NAME` takes the newest "
            "version of a package."
        )

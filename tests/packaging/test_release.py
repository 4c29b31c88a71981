"""What `make release`, `make licences` and `make audit` do, by the tools of .venv-release."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from boxwise_release import ROOT, ReleaseError, audit, licences, lock

TOOLS = ROOT / ".venv-release" / "bin" / "python"
# They ask for their text beside what is passed on; MPL-2.0 for the sources of its own files too.
ACCEPTED = {
    *(
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "ISC",
        "LLVM-exception",
        "MIT",
        "MIT-CMU",
    ),
    *("MPL-2.0", "PSF-2.0", "Python-2.0", "ZPL-2.1"),
}


def tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert TOOLS.exists(), "the tools of a release are missing: make .venv-release/.dev"
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    return subprocess.run(
        [TOOLS, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment
    )


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("bill") / "bill.json"
    done = tool("-m", "boxwise_release", "bill", path)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def test_the_bill_names_all_that_is_served(bill: dict[str, Any]) -> None:
    components = {lock.key(each): each for each in bill["components"]}
    for (name, version), hashes in (lock.read("server") | lock.read("demo")).items():
        each = components[name, version]
        assert each["purl"] == f"pkg:pypi/{each['name'].lower().replace('_', '-')}@{version}"
        (files,) = (about for about in each["externalReferences"] if about.get("hashes"))
        assert [digest["content"] for digest in files["hashes"]] == hashes
        assert licences.named(each)
    assert "torch" in {name for name, _ in components}


def test_the_bill_names_no_tool_of_the_tests(bill: dict[str, Any]) -> None:
    assert not {"pytest", "ruff", "mypy", "pip"} & {
        lock.key(each)[0] for each in bill["components"]
    }
    assert bill["metadata"]["component"]["name"] == "boxwise"
    assert bill["metadata"]["timestamp"].startswith("2023-11-14")


def test_the_licences_are_listed_as_they_are(bill: dict[str, Any]) -> None:
    assert licences.PAGE.read_text() == licences.page(bill), "fix: make licences"


def test_what_is_installed_has_licences_that_were_accepted(bill: dict[str, Any]) -> None:
    for each in bill["components"]:
        words = set(re.findall(r"[\w.+-]+", licences.named(each))) - {"AND", "OR", "WITH"}
        assert words <= ACCEPTED, each["name"]


def test_a_commit_builds_to_the_same_bytes(tmp_path: Path) -> None:
    code = "import sys, pathlib, boxwise_release.__main__ as m; m.build(pathlib.Path(sys.argv[1]))"
    digests = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        done = tool("-c", code, folder)
        assert done.returncode == 0, done.stderr
        digests.append(
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        )
    assert digests[0] == digests[1]
    assert {Path(name).suffix for name in digests[0]} == {".whl", ".gz"}


class TestAudit:
    """pip-audit answered for: its service is not reached where these tests run."""

    def answer(self, monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "") -> None:
        done = subprocess.CompletedProcess([], 1, stdout, stderr)
        monkeypatch.setattr(audit.subprocess, "run", lambda *given, **options: done)

    def package(self, **more: object) -> str:
        return json.dumps(
            {"dependencies": [{"name": "pillow", "version": "1.0", "vulns": [], **more}]}
        )

    def test_what_was_looked_up_and_has_no_hole_passes(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.answer(monkeypatch, self.package())
        audit.audit()
        assert "demo.txt: 1 packages looked up" in capsys.readouterr().out

    def test_a_hole_is_named_with_its_mend(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.answer(monkeypatch, self.package(vulns=[{"id": "CVE-1", "fix_versions": ["1.1"]}]))
        with pytest.raises(ReleaseError, match="known vulnerabilities"):
            audit.audit()
        assert "demo.txt: pillow 1.0: CVE-1, fixed in 1.1" in capsys.readouterr().out

    def test_what_nobody_looked_up_is_not_called_clean(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answer(monkeypatch, self.package(skip_reason="not found"))
        with pytest.raises(
            ReleaseError, match=r"1 of 1 packages of build\.txt could not be looked up \(pillow"
        ):
            audit.audit()

    def test_a_service_that_is_not_reached_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer(monkeypatch, "", "Traceback\nConnectionError: no such name")
        with pytest.raises(
            ReleaseError, match="did not reach its list: ConnectionError: no such name"
        ):
            audit.audit()

"""Results survive their file, and what does not belong together is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from contract_support.perf_results import COMPARISON, EMPTY, RUN, SLO, machine

from boxwise_perf.result import FORMAT, Result, ResultError, check_one_machine, document, load, text


@pytest.mark.parametrize(
    "result", [EMPTY, RUN, SLO, replace(EMPTY, target=None, comparisons=(COMPARISON,))]
)
def test_there_and_back(tmp_path: Path, result: Result) -> None:
    file = tmp_path / "result.json"
    file.write_text(text(result))
    assert load(file) == result


def test_the_document_of_the_terminal_has_no_single_requests() -> None:
    assert "samples" in document(RUN, samples=True)["trials"][0]
    assert "samples" not in document(RUN, samples=False)["trials"][0]
    assert "samples" not in document(SLO, samples=False)["slo"]["tries"][0]["trial"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not a result"),
        ("[]", f"expected a result of format {FORMAT}, got None"),
        (
            '{"format": "boxwise-perf/2"}',
            "got boxwise-perf/2: read it with the boxwise that wrote it",
        ),
        (json.dumps({"format": FORMAT}), "created: Field required: the file is damaged"),
    ],
)
def test_what_is_no_result(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(content)
    with pytest.raises(ResultError, match=r"result\.json") as raised:
        load(file)
    assert words in str(raised.value)


def test_different_machines_are_refused_and_other_versions_are_not() -> None:
    newer = replace(machine(), packages={"boxwise": "0.2.0"}, python="3.12.1", kernel="Linux 7")
    check_one_machine([EMPTY, replace(EMPTY, machine=newer)])
    with pytest.raises(ResultError, match=r"different machines \(cores: 2 and 4\)"):
        check_one_machine([EMPTY, replace(EMPTY, machine=machine(cores=4))])

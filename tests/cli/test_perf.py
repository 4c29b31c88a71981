"""`boxwise perf` without a server to load: its help, its options, what it refuses, and reports of
results.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from contract_support.command import boxwise
from contract_support.perf_results import COMPARISON, EMPTY, RUN, machine, trial
from typer.testing import CliRunner

from boxwise_cli import options
from boxwise_cli.app import app
from boxwise_cli.files import write_text
from boxwise_cli.perf import perf
from boxwise_cli.perf_show import interval
from boxwise_perf.load import Closed
from boxwise_perf.result import load, text
from boxwise_perf.stats import Estimate


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return boxwise("perf", *arguments)


def test_every_command_is_in_the_help_and_has_its_own() -> None:
    listed = CliRunner().invoke(app, ["perf", "--help"])
    assert listed.exit_code == 0
    commands = typer.main.get_command(perf).commands
    assert len(commands) == 5
    for command in commands:
        assert f" {command} " in listed.output
        own = CliRunner().invoke(app, ["perf", command, "--help"], prog_name="boxwise")
        assert own.exit_code == 0
        assert f"boxwise perf {command} [OPTIONS]" in own.output


@pytest.mark.parametrize(
    "command", [["run", "models"], ["slo", "--p99", "1s", "models"], ["compare", "a", "b"]]
)
def test_without_the_extra_help_works_and_a_command_says_what_to_install(
    command: list[str],
) -> None:
    code = (
        "import sys; sys.modules['psutil'] = None; from boxwise_cli.app import app\n"
        f"app(['perf', '--help'], standalone_mode=False); app({['perf', *command]!r}, "
        "standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Load a pipeline" in done.stdout
    assert done.returncode == 1
    assert done.stderr.endswith('pip install "boxwise[perf]"\n')


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("100ms", 0.1), ("0.1s", 0.1), ("2min", 120), ("10", 10), (".5 s", 0.5), ("250us", 2.5e-4)],
)
def test_times(written: str, seconds: float) -> None:
    assert options.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("read", "written", "words"),
    [
        (options.duration, "soon", "such as 100ms"),
        (options.duration, "-1s", "such as 100ms"),
        (options.latency, "100", "add a unit: 100ms or 100s"),
        (options.latency, "0ms", "more than 0"),
        (options.size, "1280", "WIDTHxHEIGHT"),
        (options.size, "0x720", "WIDTHxHEIGHT"),
        (options.numbers, ["1,,2"], "positive numbers"),
        (options.numbers, ["0"], "positive numbers"),
        (options.concurrencies, ["1,2.5"], "whole numbers, got 2.5"),
        (options.boxes, "uniform:3", "poisson:MEAN"),
        (options.boxes, "2.5", "poisson:MEAN"),
    ],
)
def test_what_options_refuse(read: object, written: object, words: str) -> None:
    with pytest.raises(typer.BadParameter, match=words):
        read(written)


def test_lists_and_sizes() -> None:
    assert options.numbers([]) == []
    assert options.concurrencies(["1,2", "4"]) == [1, 2, 4]
    assert options.size("1280x720") == (1280, 720)
    assert options.boxes("5") == (5, False)
    assert options.boxes("poisson:5.3") == (5.3, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "expected a REPO, or the --url"),
        (["run", "models", "--url", "x:1"], "expected a REPO, or the --url"),
        (["run", "models", "--rate", "5", "--concurrency", "2"], "not both"),
        (["run", "models", "--rate", "x"], "positive numbers"),
        (["run", "models", "--duration", "0"], "more than 0"),
        (["run", "--url", "x:1", "--synthetic", "8x8", "--boxes", "5"], "--boxes needs a REPO"),
        (["slo", "models", "--p99", "100"], "add a unit"),
        (["compare", "nowhere", "localhost:1"], "nowhere: is no folder"),
        (["compare", __file__, "localhost:1"], "a result file has no server"),
        (
            ["compare", "x:1", "localhost:1", "--pairs", "5"],
            "expected at least 6 --pairs, or --starts",
        ),
        (
            ["compare", "x:1", "localhost:1", "--starts", "6"],
            "a running server cannot be restarted",
        ),
        (["report", __file__], "expected --html FILE or --png DIR"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "no-such-folder", "--synthetic", "8x8"], "holds no pipeline"),
        (["run", "--url", "127.0.0.1:9", "--synthetic", "8x8"], "127.0.0.1:9"),
        (["report", __file__, "--html", "page.html"], "is not a result"),
    ],
)
def test_what_fails_ends_with_1_and_one_line(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert "Traceback" not in done.stderr


def test_a_result_is_never_changed(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text("kept")
    done = run("run", "models", "--out", file)
    assert done.returncode == 2
    assert "exists, and a result is never changed" in done.stderr
    assert file.read_text() == "kept"


def test_a_report(tmp_path: Path) -> None:
    write_text(tmp_path / "run.json", text(RUN))
    write_text(
        tmp_path / "compare.json", text(replace(EMPTY, target=None, comparisons=(COMPARISON,)))
    )
    files = (tmp_path / "run.json", tmp_path / "compare.json")
    done = run(
        "report", *files, "--html", tmp_path / "deep" / "page.html", "--png", tmp_path / "png"
    )
    assert done.returncode == 0, done.stderr
    assert "<!doctype html>" in (tmp_path / "deep" / "page.html").read_text()
    names = {"stages_0.png", "batches_0.png", "requests_0.png", "comparison.png"}
    assert {path.name for path in (tmp_path / "png").iterdir()} == names


def test_results_of_different_machines_are_refused(tmp_path: Path) -> None:
    for name, cores in (("a", 2), ("b", 4)):
        write_text(tmp_path / f"{name}.json", text(replace(RUN, machine=machine(cores))))
    files = (tmp_path / "a.json", tmp_path / "b.json")
    for arguments in (["report", *files, "--html", tmp_path / "page.html"], ["compare", *files]):
        done = run(*arguments)
        assert done.returncode == 1
        assert "different machines (cores: 2 and 4)" in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_results_that_were_measured_apart(tmp_path: Path) -> None:
    for name, rate in (("a", 100.0), ("b", 150.0)):
        write_text(
            tmp_path / f"{name}.json", text(replace(EMPTY, trials=(trial(Closed(4), rate),)))
        )
    done = run("compare", tmp_path / "a.json", tmp_path / "b.json", "--out", tmp_path / "c.json")
    assert done.returncode == 0, done.stderr
    assert (
        "B has +50.0% images/s; measured apart, where differences under 15% mean nothing"
        in done.stdout
    )
    assert load(tmp_path / "c.json").comparisons[0].pairs[0][1].images_per_s == 150


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (None, "-"),
        (Estimate(1), "1.0"),
        (Estimate(1, 0.5), "1.0\n\\[0.5, ?]"),
        (Estimate(1, 0.5, 2), "1.0\n\\[0.5, 2.0]"),
    ],
)
def test_an_interval(estimate: Estimate | None, shown: str) -> None:
    assert interval(estimate) == shown

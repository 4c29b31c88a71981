"""The documents: generated pages are current, links lead somewhere, what is shown exists."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from boxwise_export.pipeline import Pipeline
from boxwise_runtime.metrics import FAMILIES, GAUGES

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def pages() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(name for name in listed.stdout.split() if (ROOT / name).is_file())


PAGES = pages()
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def commands() -> dict[str, Any]:
    return dict(generator().commands())


def fenced(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXTS[name], re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize(
    "name", ["pipeline-file.md", "cli.md", "python-api.md", "errors.md", "contract.md"]
)
def test_a_generated_page_is_current(name: str) -> None:
    current = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert current == generator().pages()[name], "it is older than its source: make docs"


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", TEXTS[name]))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: no such heading"


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", TEXTS["docs/index.md"]))
    own = {Path(name).relative_to("docs").as_posix() for name in PAGES if name.startswith("docs/")}
    assert own - {"index.md"} <= linked


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_named_files_exist(name: str) -> None:
    """Files and folders may be named by the end of their path."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [f"/{file}" for file in listed.stdout.split()]
    named = re.findall(r"`([\w./-]+\.(?:py|pbtxt|yaml|tpl|json|jsonl))`", TEXTS[name])
    named += re.findall(r"`((?:[\w.]+/)+)`", TEXTS[name])
    named += re.findall(r"^([a-z]\w*/[\w/]*) {2,}", TEXTS[name], re.MULTILINE)  # trees
    assert named
    for path in set(named) - {"dist/", "configs/"}:
        assert any(file.endswith(f"/{path}") or f"/{path}" in file for file in files), path


def shown() -> list[tuple[str, str, str]]:
    """(page, command, option) of each `boxwise COMMAND ...` in a code block or in backticks."""
    found = set()
    for name, text in TEXTS.items():
        if name == "CHANGELOG.md":  # which also says what is gone
            continue
        blocks = [match[0] for match in FENCE.finditer(text)]
        code = "\n".join([*blocks, *re.findall(r"`([^`]+)`", FENCE.sub("", text))])
        for match in re.finditer(
            r"(?:^|&& |bin/) *boxwise (perf [a-z]+|(?!perf\b)[a-z-]+)(?![\w:])((?:\\\n|[^\n#|&])*)",
            code,
            re.MULTILINE,
        ):
            options = re.findall(r"(?<=[\s\[])--[a-z0-9-]+", match[2]) or [""]
            found |= {(name, match[1], option) for option in options}
    return sorted(found)


@pytest.mark.parametrize(("page", "command", "option"), shown())
def test_a_shown_command_and_its_options_exist(page: str, command: str, option: str) -> None:
    assert command in commands()
    known = [
        name
        for each in commands()[command].params
        if each.param_type_name == "option"
        for name in (*each.opts, *each.secondary_opts)
    ]
    assert option in ("", "--help", *known)


def test_commands_are_shown() -> None:
    assert {command for page, command, _ in shown() if not page.startswith("docs/reference")} >= {
        "inspect",
        "export",
        "serve",
        "predict",
        "eval",
        "perf run",
        "perf tune",
    }


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_and_option_has_a_help_text(command: str) -> None:
    assert commands()[command].help
    assert all(each.help for each in commands()[command].params if each.name != "help")


def test_shown_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = {
        target
        for name, text in TEXTS.items()
        if name != "CHANGELOG.md"
        for target in re.findall(r"(?:^ *|`)make ([a-z][a-z-]*)", text, re.MULTILINE)
    }
    assert {"demo", "test", "docs", "lint"} <= found
    for target in found:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", PAGES)
def test_shown_pipeline_files_are_valid(name: str) -> None:
    for block in fenced(name, "yaml"):
        document = yaml.safe_load(block)
        if {"detector", "classifiers"} & document.keys():
            Pipeline.model_validate(document)


def test_the_metrics_are_listed() -> None:
    rows = re.findall(
        r"^\| `(boxwise_\w+)` \| (\w+) \|", TEXTS["docs/reference/metrics.md"], re.MULTILINE
    )
    assert dict(rows) == {name: "gauge" if name in GAUGES else "counter" for name in FAMILIES}


def test_the_fake_server_s_example_runs() -> None:
    (code,) = fenced("docs/how-to/test-your-application.md", "python")
    subprocess.run([sys.executable, "-c", code], check=True)

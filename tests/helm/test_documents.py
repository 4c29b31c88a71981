"""Commands of helm in the documents are rendered as they stand."""

from __future__ import annotations

import re
import shlex

import pytest
from helm_support.chart import CHART, NEWEST, ROOT, helm

PAGES = (ROOT / "docs" / "kubernetes.md", CHART / "README.md")
NOT_OF_TEMPLATE = ("--create-namespace",)


def commands() -> list[str]:
    text = "\n".join(re.sub(r"\\\n\s*", " ", page.read_text()) for page in PAGES)
    return sorted(set(re.findall(r"^\s*(helm (?:install|upgrade) .+)$", text, re.MULTILINE)))


@pytest.mark.parametrize("command", commands())
def test_it_renders(command: str) -> None:
    _, _, *words = shlex.split(command, comments=True)
    # `values.yaml` is the reader's own: the CPU's here.
    words = [word.replace("values.yaml", "helm/boxwise/examples/cpu.yaml") for word in words]
    arguments = [word for word in words if word not in NOT_OF_TEMPLATE]
    gateway = ["--set=grpcRoute.parentRefs[0].name=edge"] if "grpcRoute" in command else []
    assert "kind: Deployment" in helm("helm4", "template", *arguments, *gateway, f"--kube-version={NEWEST}")


def test_there_are_some() -> None:
    assert len(commands()) >= 4

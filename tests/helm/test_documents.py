"""Commands of helm in the documents are rendered as they stand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest
import yaml
from helm_support.chart import (
    CASES,
    CHART,
    NAMESPACE,
    NEWEST,
    RELEASE,
    ROOT,
    TOOLS,
    helm,
    of_kind,
    only,
    render,
)

PAGES = (ROOT / "docs" / "how-to" / "kubernetes.md", CHART / "README.md")
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
    assert "kind: Deployment" in helm(
        "helm4", "template", *arguments, *gateway, f"--kube-version={NEWEST}"
    )


def test_the_pod_that_fills_a_claim_holds_to_its_schema() -> None:
    (manifest,) = re.findall(r"apply -f - <<EOF\n(.*?)\nEOF", PAGES[0].read_text(), re.DOTALL)
    pod = yaml.safe_load(manifest)
    program = ROOT / "tests" / "helm" / "check_manifests.py"
    done = subprocess.run(
        [TOOLS / "python", program],
        input=json.dumps([[NEWEST, pod]]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []
    made = only(render({}), "PersistentVolumeClaim")["metadata"]["name"]
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == made


@pytest.mark.parametrize("name", ["default", "gpu", "cpu", "hardened", "kind", "names"])
def test_notes_name_what_is_there(name: str) -> None:
    said = helm(
        "helm4",
        "install",
        RELEASE,
        str(CHART),
        f"--namespace={NAMESPACE}",
        "--dry-run=client",
        values=CASES[name],
    )
    notes = said.partition("\nNOTES:\n")[2]
    manifests = render(CASES[name])
    assert "<no value>" not in notes
    assert f"deployment/{only(manifests, 'Deployment')['metadata']['name']}" in notes
    services = {each["metadata"]["name"] for each in of_kind(manifests, "Service")}
    assert (
        set(re.findall(r"service/(\S+)", notes)) | set(re.findall(r"dns:///([^.]+)", notes))
        == services
    )
    asked = re.findall(r"get secret (\S+)", notes)
    used = str(only(manifests, "Deployment"))
    assert asked
    assert all(f"'name': '{secret}'" in used for secret in asked)
    assert ("WARNING" in notes) == (name == "kind")


def test_there_are_some() -> None:
    assert len(commands()) >= 4

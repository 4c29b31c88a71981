"""Every manifest of every case, held to the schemas of every Kubernetes."""

from __future__ import annotations

import json
import subprocess

import pytest
from helm_support.chart import (
    CASES,
    CHART,
    HELMS,
    KUBERNETES,
    NEWEST,
    ROOT,
    TOOLS,
    Manifest,
    helm,
    render,
)

# Cases that need a newer Kubernetes than the oldest.
SINCE = {"oci": "1.31.0", "cpu": "1.35.0"}


def check(manifests: list[tuple[str, Manifest]]) -> list[str]:
    """A sentence for each that does not hold to its version's schema."""
    program = ROOT / "tests" / "helm" / "check_manifests.py"
    done = subprocess.run(
        [TOOLS / "python", program],
        input=json.dumps(manifests),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("name", CASES)
def test_helm_finds_nothing_to_say(binary: str, name: str) -> None:
    helm(binary, "lint", "--strict", str(CHART), f"--kube-version={NEWEST}", values=CASES[name])


@pytest.mark.parametrize("name", ["default", "gpu", "cpu", "hardened", "kind"])
def test_both_helms_render_the_same(name: str) -> None:
    one, other = (render(CASES[name], binary=binary) for binary in HELMS)
    for each in (*one, *other):
        if each["kind"] == "Secret":
            each["data"] = {}  # random
    assert sorted(one, key=str) == sorted(other, key=str)


def test_only_the_checks_ask_which_kubernetes_it_is() -> None:
    """So what the oldest and the newest render is what those between them render."""
    asking = {
        path.name
        for path in CHART.rglob("*")
        if path.is_file() and "Capabilities" in path.read_text()
    }
    assert asking == {"_checks.tpl"}


@pytest.mark.timeout(200)
def test_what_is_rendered_holds_to_every_version() -> None:
    rendered: dict[str, tuple[str, Manifest]] = {}
    for name, values in CASES.items():
        versions = [version for version in KUBERNETES if version >= SINCE.get(name, "")]
        ends = [render(values, kubernetes=version) for version in (versions[0], versions[-1])]
        for version in versions:
            for manifest in ends[0] if version == versions[0] else ends[1]:
                rendered[json.dumps([version, manifest], sort_keys=True)] = (version, manifest)
    kinds = {manifest["kind"] for _, manifest in rendered.values()}
    assert kinds >= {
        "Deployment",
        "GRPCRoute",
        "ScaledObject",
        "HorizontalPodAutoscaler",
        "ServiceMonitor",
    }
    assert check(list(rendered.values())) == []


def test_an_unknown_key_and_an_unknown_kind_are_found() -> None:
    manifests = [*render(CASES["gpu"]), *render(CASES["canary"])]
    spoils = {
        "Deployment": {"replica": 2},
        "ScaledObject": {"minReplicas": 2},
        "ServiceMonitor": {"endpoint": []},
        "PrometheusRule": {"rules": []},
        "GRPCRoute": {"hosts": []},
    }
    spoiled = []
    for kind, spoil in spoils.items():
        manifest = next(each for each in manifests if each["kind"] == kind)
        spoiled.append((NEWEST, manifest | {"spec": manifest["spec"] | spoil}))
    spoiled.append(
        (
            NEWEST,
            {
                "apiVersion": "autoscaling/v2beta2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "x"},
            },
        )
    )
    assert len(check(spoiled)) == len(spoiled)

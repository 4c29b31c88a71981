"""What helm refuses, and with which words; and that every value is described."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helm_support.chart import CHART, HELMS, ROOT, RenderError, Values, merged, render

SENTENCES: list[tuple[Values, str]] = [
    (
        {
            "autoscaling": {
                "hpa": {"enabled": True},
                "keda": {"enabled": True, "prometheusAddress": "http://p"},
            }
        },
        "would fight over the replicas: keep one",
    ),
    ({"autoscaling": {"keda": {"enabled": True}}}, "give autoscaling.keda.prometheusAddress"),
    ({"autoscaling": {"hpa": {"enabled": True}}}, "set monitoring.prometheusRule.enabled=true"),
    (
        {
            "autoscaling": {
                "minReplicas": 9,
                "keda": {"enabled": True, "prometheusAddress": "http://p"},
            },
        },
        "minReplicas 9 is more than autoscaling.maxReplicas 8",
    ),
    ({"target": "tensorrt", "gpu": {"count": 0}}, "tensorrt needs a GPU, and gpu.count is 0"),
    (
        {
            "target": "tensorrt",
            "repository": {"source": "objectStore", "objectStore": {"url": "s3://a/b"}},
        },
        "use repository.source init",
    ),
    (
        {"target": "tensorrt", "pipeline": {"layout": "fused"}},
        "for tensorrt lay the models out by `boxwise layout",
    ),
    ({"pipeline": {"layout": "fused"}}, "for onnxruntime lay the models out by `boxwise layout"),
    ({"repository": {"pvc": {"accessModes": ["ReadWriteOnce"]}}}, "2 pods are on several"),
    (
        {
            "replicas": 1,
            "repository": {"pvc": {"accessModes": ["ReadWriteOncePod"]}},
            "autoscaling": {"keda": {"enabled": True, "prometheusAddress": "http://p"}},
        },
        "8 pods are on several",
    ),
    (
        {"target": "tensorrt", "engines": {"cache": {"accessModes": ["ReadWriteOnce"]}}},
        "lets one node mount the plans",
    ),
    ({"repository": {"source": "objectStore"}}, "needs repository.objectStore.url"),
    ({"repository": {"source": "init"}}, "needs repository.init.image and repository.init.command"),
    (
        {"repository": {"source": "nfs", "nfs": {"server": "nas"}}},
        "needs repository.nfs.server and repository.nfs.path",
    ),
    ({"repository": {"source": "image"}}, "needs repository.image.reference"),
    (
        {"terminationGracePeriodSeconds": 30},
        "30 is shorter than its parts: a sleep of 20, an exit timeout of 10 and 25",
    ),
    ({"tls": {"enabled": True}, "triton": {"http": False}}, "needs tls.secretName"),
    ({"tls": {"enabled": True, "secretName": "tls"}}, "set triton.http=false"),
    ({"tls": {"clientCertificates": True}}, "needs tls.enabled"),
    ({"grpcRoute": {"enabled": True}}, "needs grpcRoute.parentRefs"),
    (
        {"triton": {"modelControl": "explicit"}, "restrictedProtocols": {"enabled": False}},
        "turn it on",
    ),
    ({"rollingUpdate": {"maxUnavailable": 0}}, "no pod could ever be replaced"),
    ({"triton": {"version": "26.06"}}, "26.07 is the oldest accepted"),
    ({"triton": {"version": "24.10"}}, "26.07 is the oldest accepted"),
]
BY_SCHEMA: list[tuple[Values, str]] = [
    ({"replica": 3}, "replica"),
    ({"image": {"name": "x"}}, "name"),
    ({"triton": {"version": 26.09}}, "version"),
    ({"triton": {"version": "26.9"}}, "version"),
    ({"triton": {"extraArgs": ["log-verbose=1"]}}, "extraArgs"),
    ({"gpu": {"count": -1}}, "count"),
    ({"gpu": {"count": "one"}}, "count"),
    ({"gpu": {"resource": "gpu"}}, "resource"),
    ({"target": "onnx"}, "target"),
    ({"pipeline": {"name": "7up"}}, "name"),
    ({"drain": 14}, "drain"),
    ({"shmSize": "1GB"}, "shmSize"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"repository": {"source": "ftp"}}, "source"),
    ({"repository": {"objectStore": {"url": "http://x"}}}, "url"),
    ({"probes": {"liveness": {"timeoutSeconds": 0}}}, "timeoutSeconds"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"ports": {"grpc": 80}}, "grpc"),
]


@pytest.mark.parametrize(("values", "words"), SENTENCES, ids=[words for _, words in SENTENCES])
def test_wrong_values_fail_with_a_sentence(values: Values, words: str) -> None:
    with pytest.raises(RenderError) as refused:
        render(values)
    assert words in str(refused.value)


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize(
    ("values", "key"), BY_SCHEMA, ids=[json.dumps(values) for values, _ in BY_SCHEMA]
)
def test_the_schema_refuses(values: Values, key: str, binary: str) -> None:
    with pytest.raises(RenderError, match="schema") as refused:
        render(values, binary=binary)
    assert key in str(refused.value)


@pytest.mark.parametrize(
    ("kubernetes", "more", "words"),
    [
        ("1.30.0", {}, "needs Kubernetes 1.31"),
        ("1.34.2", {}, "repository.image.featureGate=true"),
        ("1.32.0", {"featureGate": True, "subPath": "x"}, "subPath needs Kubernetes 1.33"),
    ],
)
def test_an_image_as_a_volume_waits_for_its_kubernetes(
    kubernetes: str, more: Values, words: str
) -> None:
    values = {"repository": {"source": "image", "image": {"reference": "models:7", **more}}}
    with pytest.raises(RenderError) as refused:
        render(values, kubernetes=kubernetes)
    assert words in str(refused.value)


def test_a_vulnerable_triton_is_rendered_when_that_is_said() -> None:
    assert render({"triton": {"version": "24.10", "acceptVulnerable": True}})


def test_an_old_kubernetes_is_refused() -> None:
    with pytest.raises(RenderError, match=r"1\.29"):
        render({}, kubernetes="1.28.0")


def test_every_value_is_in_the_schema_and_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(paths(values, schema)) == set(known(schema)) - {"global"}
    sys.path.insert(0, str(ROOT / "helm"))
    try:
        import readme
    finally:
        sys.path.pop(0)
    described = [row.key for row in readme.rows((CHART / "values.yaml").read_text())]
    for path in paths(values, schema):
        assert any(path == key or path.startswith(f"{key}.") for key in described), (
            f"{path} has no `# --`"
        )


def test_the_table_of_values_is_up_to_date() -> None:
    subprocess.run([sys.executable, ROOT / "helm" / "readme.py", "--check"], check=True)


def paths(values: Any, schema: Any, path: str = "") -> Iterator[str]:
    """The values that the schema describes one by one."""
    if isinstance(values, dict) and "properties" in schema:
        for key, value in values.items():
            yield from paths(value, schema["properties"][key], f"{path}.{key}" if path else key)
    else:
        yield path


def known(schema: Any, path: str = "") -> Iterator[str]:
    if "properties" in schema and not path.endswith("pullSecrets"):
        assert schema["additionalProperties"] is False, path
        for key, value in schema["properties"].items():
            yield from known(value, f"{path}.{key}" if path else key)
    else:
        yield path


def test_values_on_values_are_merged() -> None:
    assert merged({"a": {"b": 1}}, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}

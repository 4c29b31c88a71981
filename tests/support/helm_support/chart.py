"""Values in, manifests out, by the helm binaries of .venv-helm."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "helm" / "boxwise"
TOOLS = ROOT / ".venv-helm" / "bin"
HELMS = ("helm4", "helm3")
RELEASE, NAMESPACE = "street", "vision"
KUBERNETES = tuple(f"1.{minor}.0" for minor in range(29, 38))
NEWEST = KUBERNETES[-1]

Values = Mapping[str, Any]
Manifest = dict[str, Any]


class RenderError(Exception):
    """Helm did not render the values; the text is what it said."""


def example(name: str) -> dict[str, Any]:
    """The values of helm/boxwise/examples."""
    return yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text())


def merged(*values: Values) -> dict[str, Any]:
    """Values on top of values, as several -f are."""
    result: dict[str, Any] = {}
    for each in values:
        for key, value in each.items():
            inner = result.get(key)
            result[key] = (
                merged(inner, value)
                if isinstance(inner, dict) and isinstance(value, Mapping)
                else value
            )
    return result


_WITH_TOKEN = {"restrictedProtocols": {"existingSecret": "token"}}
MONITORING = {
    "monitoring": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    }
}
# Every way in which the chart can be used, by name.
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "gpu": example("gpu"),
    "cpu": example("cpu"),
    "hardened": example("hardened"),
    "kind": example("kind"),
    "names": {
        "fullnameOverride": "pictures",
        "nameOverride": "vision",
        "podLabels": {"team": "vision"},
    },
    "claim": {"repository": {"pvc": {"existingClaim": "models", "subPath": "current"}}},
    "s3": {
        "repository": {
            "source": "objectStore",
            "objectStore": {
                "url": "s3://models/street",
                "env": {"AWS_DEFAULT_REGION": "eu-west-1"},
            },
        },
        "serviceAccount": {
            "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/models"}
        },
    },
    "gs": {
        "repository": {"source": "objectStore", "objectStore": {"url": "gs://models/street"}},
        "serviceAccount": {
            "annotations": {"iam.gke.io/gcp-service-account": "models@p.iam.gserviceaccount.com"}
        },
    },
    "azure": {
        "repository": {
            "source": "objectStore",
            "objectStore": {"url": "as://account/models/street", "credentialsSecret": "storage"},
        }
    },
    "oci": {
        "repository": {"source": "image", "image": {"reference": "models:7", "featureGate": True}}
    },
    "init": {
        "repository": {
            "source": "init",
            "init": {
                "image": "rclone:1",
                "command": ["rclone", "copy"],
                "credentialsSecret": "storage",
            },
        }
    },
    "nfs": {"repository": {"source": "nfs", "nfs": {"server": "nas.internal", "path": "/models"}}},
    "mig": {"gpu": {"resource": "nvidia.com/mig-1g.10gb", "runtimeClassName": "nvidia"}},
    "tensorrt": {"target": "tensorrt", "engines": {"pictures": "/models/images"}},
    "tensorrt-nfs": {
        "target": "tensorrt",
        "repository": {"source": "nfs", "nfs": {"server": "nas", "path": "/m"}},
    },
    "tensorrt-claims": {
        "target": "tensorrt",
        "repository": {"pvc": {"existingClaim": "models"}},
        "engines": {"cache": {"existingClaim": "plans"}},
    },
    "hpa": merged(MONITORING, {"autoscaling": {"hpa": {"enabled": True}}}),
    "keda": {
        "autoscaling": {
            "keda": {
                "enabled": True,
                "prometheusAddress": "http://p:9090",
                "authenticationRef": "a",
            }
        }
    },
    "bls": merged(MONITORING, {"pipeline": {"name": "street", "layout": "bls"}}),
    "tls": {"tls": {"enabled": True, "secretName": "tls"}, "triton": {"http": False}},
    "open": {
        "restrictedProtocols": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "headlessService": {"enabled": False},
        "serviceAccount": {"create": False},
    },
    "shared-memory": {
        "triton": {
            "clientSharedMemory": True,
            "responseCacheMiB": 64,
            "extraArgs": ["--log-verbose=1"],
        }
    },
    "explicit": {"triton": {"modelControl": "explicit"}},
    "loadbalancer": merged(
        MONITORING, {"service": {"type": "LoadBalancer", "annotations": {"a": "b"}}}
    ),
    "canary": {
        "grpcRoute": {
            "enabled": True,
            "parentRefs": [{"name": "edge"}],
            "weight": 95,
            "extraBackends": [{"name": "canary-boxwise", "port": 8001, "weight": 5}],
        }
    },
    "scheduling": {
        "nodeSelector": {"pool": "gpu"},
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "extraEnv": [{"name": "A", "value": "b"}],
        "podAnnotations": {"a": "b"},
        "terminationGracePeriodSeconds": 90,
        "test": {"picture": "aGVsbG8=", "minBoxes": 3},
    },
}


def helm(binary: str, *arguments: str, values: Values | None = None) -> str:
    """Run helm, with values on its stdin. Raises Refused with its words when it fails."""
    given = ["--values=-"] if values is not None else []
    done = subprocess.run(
        [TOOLS / binary, *arguments, *given],
        input=json.dumps(values) if values is not None else None,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        raise RenderError(done.stderr + done.stdout)
    return done.stdout


def render(values: Values, *, kubernetes: str = NEWEST, binary: str = "helm4") -> list[Manifest]:
    """Every manifest of a release, tests of `helm test` included."""
    return json.loads(_render(json.dumps(values), kubernetes, binary))


@functools.cache
def _render(values: str, kubernetes: str, binary: str) -> str:
    text = helm(
        binary,
        "template",
        RELEASE,
        str(CHART),
        f"--namespace={NAMESPACE}",
        f"--kube-version={kubernetes}",
        values=json.loads(values),
    )
    return json.dumps([each for each in yaml.safe_load_all(text) if each])


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def only(manifests: list[Manifest], kind: str, ending: str = "") -> Manifest:
    """The one manifest of a kind whose name ends so."""
    (found,) = [
        each for each in of_kind(manifests, kind) if each["metadata"]["name"].endswith(ending)
    ]
    return found


def pod_of(manifest: Manifest) -> Manifest:
    """A pod's metadata and spec, of what makes pods."""
    return manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]


def pods(manifests: list[Manifest]) -> list[Manifest]:
    return [pod_of(each) for each in manifests if each["kind"] in ("Pod", "Deployment", "Job")]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]

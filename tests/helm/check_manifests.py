"""Hold manifests to schemas: `python tests/helm/check_manifests.py < [[VERSION, MANIFEST], ...]`,
run in .venv-helm.

Prints a JSON list with a sentence for each that does not hold. Kubernetes' own kinds are validated
strictly (unknown keys are errors) against the schemas of that very version; custom resources
against the models of their operators, which ignore keys that they do not know, so what goes in is
compared with what comes out.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from kubernetes_validate import utils

MODELS = {
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ServiceMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
}
# Newer than the model (KEDA 2.16); in KEDA's documents since 2.17.
NEWER = {("ScaledObject", "spec.fallback.behavior")}
SCHEMAS = {
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): Path(__file__).parent / "grpcroute.schema.json"
}


# Read for each manifest anew otherwise: megabytes of definitions, thousands of times.
utils.schema_contents = functools.cache(utils.schema_contents)


def failure(version: str, manifest: dict[str, Any]) -> str | None:
    key = manifest["apiVersion"], manifest["kind"]
    if model := MODELS.get(key):
        known = json.loads(
            model.model_validate(manifest).model_dump_json(by_alias=True, exclude_none=True)
        )
        lost = {each for each in _lost(manifest, known, "") if (key[1], each) not in NEWER}
        return f"unknown or changed: {sorted(lost)}" if lost else None
    if key in SCHEMAS:
        errors = list(
            jsonschema.Draft202012Validator(json.loads(SCHEMAS[key].read_text())).iter_errors(
                manifest
            )
        )
        return "; ".join(each.message for each in errors) or None
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error.message
    except kubernetes_validate.SchemaNotFoundError:  # its own text is empty
        return f"Kubernetes {version} has no {manifest['kind']} of {manifest['apiVersion']}"
    return None


def _lost(given: Any, known: Any, path: str) -> set[str]:
    """Paths of what did not come back as it was given."""
    if isinstance(given, dict) and isinstance(known, dict):
        return {
            lost
            for key, value in given.items()
            for lost in _lost(value, known.get(key), f"{path}.{key}" if path else key)
        }
    if isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        return {
            lost for i, value in enumerate(given) for lost in _lost(value, known[i], f"{path}[{i}]")
        }
    return (
        set()
        if given == known or (not isinstance(known, type(given)) and str(given) == str(known))
        else {path}
    )


def main() -> None:
    failures = []
    for version, manifest in json.load(sys.stdin):
        try:
            found = failure(version, manifest)
        except Exception as error:  # noqa: BLE001 (a validator's own; it is reported)
            found = f"{type(error).__name__}: {error}"
        if found is not None:
            failures.append(f"{version} {manifest['kind']} {manifest['metadata']['name']}: {found}")
    json.dump(failures, sys.stdout)


if __name__ == "__main__":
    main()

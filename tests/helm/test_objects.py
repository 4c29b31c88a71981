"""Whether objects that name each other mean each other."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from helm_support.chart import (
    CASES,
    NAMESPACE,
    RELEASE,
    Manifest,
    containers,
    merged,
    of_kind,
    only,
    pod_of,
    pods,
    render,
)

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
# Not made by the chart: the values name them, and the README says what they hold.
GIVEN = {
    "Secret": {"boxwise-tls", "boxwise-admin-token", "storage", "tls", "registry"},
    "PersistentVolumeClaim": {"models", "plans", "street-models"},
    "ServiceAccount": {"default"},
}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_names_are_unique_and_in_the_namespace(manifests: list[Manifest]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names))
    for each in manifests:
        assert each["kind"] == "PersistentVolume" or each["metadata"]["namespace"] == NAMESPACE
        assert len(each["metadata"]["name"]) <= 63
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE


def test_selectors_match_the_server_and_nothing_else(manifests: list[Manifest]) -> None:
    server, test = pod_of(only(manifests, "Deployment")), only(manifests, "Pod")
    selectors = [
        only(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        *(each["spec"]["selector"] for each in of_kind(manifests, "Service")),
        *(
            each["spec"]["selector"]["matchLabels"]
            for each in of_kind(manifests, "PodDisruptionBudget")
        ),
        *(
            each["spec"]["podSelector"]["matchLabels"]
            for each in of_kind(manifests, "NetworkPolicy")
        ),
    ]
    for selector in selectors:
        assert selects(selector, server["metadata"]["labels"])
        assert not selects(selector, test["metadata"]["labels"])
    for constraint in server["spec"]["topologySpreadConstraints"]:
        labels = server["metadata"]["labels"]
        assert selects(constraint["labelSelector"]["matchLabels"], labels)


def test_labels_of_the_pods_never_change_with_the_chart(manifests: list[Manifest]) -> None:
    labels = pod_of(only(manifests, "Deployment"))["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & labels.keys()


def test_ports_are_those_of_the_container_and_of_its_arguments(manifests: list[Manifest]) -> None:
    (server,) = pod_of(only(manifests, "Deployment"))["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in server["ports"]}
    for name, port in ports.items():
        assert f"--{name}-port={port}" in server["args"]
    for service in of_kind(manifests, "Service"):
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports.keys()
        assert all(each["port"] == ports[each["targetPort"]] for each in service["spec"]["ports"])
    for policy in of_kind(manifests, "NetworkPolicy"):
        named = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert named == ports.keys()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        command = server[probe]["exec"]["command"]
        options = dict(zip(command[4::2], command[5::2], strict=True))
        assert f"--http-port={options['--http-port']}" in server["args"]
        assert options["--metrics-port"] == str(ports["metrics"])
        # The kubelet's own limit ends the probe without a sentence.
        assert float(options["--timeout"]) < server[probe]["timeoutSeconds"]


def test_http_that_is_not_served_listens_on_loopback_alone() -> None:
    (server,) = pod_of(only(render(CASES["tls"]), "Deployment"))["spec"]["containers"]
    assert "--http-address=127.0.0.1" in server["args"]
    assert "http" not in {each["name"] for each in server["ports"]}


def references(pod: Manifest) -> set[tuple[str, str]]:
    """What a pod names, as kind and name."""
    spec: dict[str, Any] = pod["spec"]
    found = {("Secret", each["name"]) for each in spec.get("imagePullSecrets", [])}
    if "serviceAccountName" in spec:
        found.add(("ServiceAccount", spec["serviceAccountName"]))
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            found.add(("Secret", volume["secret"]["secretName"]))
        if "configMap" in volume:
            found.add(("ConfigMap", volume["configMap"]["name"]))
        if "persistentVolumeClaim" in volume:
            found.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    for container in containers(pod):
        for each in container.get("env", []):
            source = each.get("valueFrom", {})
            assert source.keys() <= {"secretKeyRef"}
            found |= {("Secret", source["secretKeyRef"]["name"])} if source else set()
        found |= {("Secret", each["secretRef"]["name"]) for each in container.get("envFrom", [])}
    return found


def test_what_pods_name_is_there_or_given(manifests: list[Manifest]) -> None:
    made = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    for pod in pods(manifests):
        for kind, name in references(pod):
            assert (kind, name) in made or name in GIVEN.get(kind, set()), (kind, name)


def test_secrets_hold_the_keys_that_are_asked_of_them() -> None:
    rendered = render({"restrictedProtocols": {"secretKey": "admin.token"}})
    (server,) = pod_of(only(rendered, "Deployment"))["spec"]["containers"]
    (asked,) = [each["valueFrom"]["secretKeyRef"] for each in server["env"] if "valueFrom" in each]
    secret = only(rendered, "Secret")
    assert asked["name"] == secret["metadata"]["name"]
    assert len(base64.b64decode(secret["data"][asked["key"]])) == 40


def test_every_mount_has_its_volume_and_every_volume_its_mount(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        volumes = {each["name"] for each in pod["spec"].get("volumes", [])}
        mounted = {
            mount["name"] for each in containers(pod) for mount in each.get("volumeMounts", [])
        }
        assert mounted == volumes
        for each in containers(pod):
            paths = [mount["mountPath"] for mount in each["volumeMounts"]]
            assert len(paths) == len(set(paths))


def test_arguments_name_what_is_mounted(manifests: list[Manifest]) -> None:
    (server,) = pod_of(only(manifests, "Deployment"))["spec"]["containers"]
    paths = {each["mountPath"] for each in server["volumeMounts"]}
    for argument in server["args"]:
        _, _, value = argument.partition("=")
        if value.startswith("/"):
            assert any(value == path or value.startswith(f"{path}/") for path in paths), argument


def test_what_is_expanded_in_arguments_is_in_the_environment(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        for each in containers(pod):
            names = {variable["name"] for variable in each.get("env", [])}
            for argument in each.get("args", []):
                _, found, rest = argument.partition("$(")
                assert not found or rest.partition(")")[0] in names


def test_budget_and_scaler_aim_at_the_deployment(manifests: list[Manifest]) -> None:
    deployment = only(manifests, "Deployment")
    scalers = [*of_kind(manifests, "HorizontalPodAutoscaler"), *of_kind(manifests, "ScaledObject")]
    for each in scalers:
        assert each["spec"]["scaleTargetRef"] == {
            "apiVersion": deployment["apiVersion"],
            "kind": "Deployment",
            "name": deployment["metadata"]["name"],
        }
    # A Deployment that says how many would take back, at every upgrade, what the scaler did.
    assert ("replicas" in deployment["spec"]) == (not scalers)


def test_scaling_never_asks_how_busy_a_gpu_is(manifests: list[Manifest]) -> None:
    for each in (
        *of_kind(manifests, "HorizontalPodAutoscaler"),
        *of_kind(manifests, "ScaledObject"),
    ):
        text = str(each["spec"])
        assert "pending" in text
        assert "queue" in text
        assert "gpu" not in text.lower()


def test_the_hpa_reads_what_is_recorded() -> None:
    rendered = render(CASES["hpa"])
    recorded = {
        rule.get("record")
        for group in only(rendered, "PrometheusRule")["spec"]["groups"]
        for rule in group["rules"]
    }
    asked = {
        each["pods"]["metric"]["name"]
        for each in only(rendered, "HorizontalPodAutoscaler")["spec"]["metrics"]
    }
    assert asked <= recorded


def test_the_monitor_scrapes_each_pod_once(manifests: list[Manifest]) -> None:
    for monitor in of_kind(manifests, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (port,) = [each["port"] for each in monitor["spec"]["endpoints"]]
        services = [
            each
            for each in of_kind(manifests, "Service")
            if selects(wanted, each["metadata"]["labels"])
        ]
        with_port = [
            each for each in services if port in {one["name"] for one in each["spec"]["ports"]}
        ]
        assert len(with_port) == 1


def test_routes_lead_to_the_service() -> None:
    rendered = render(CASES["canary"])
    (rule,) = only(rendered, "GRPCRoute")["spec"]["rules"]
    own, canary = rule["backendRefs"]
    service = only(rendered, "Service", "boxwise")
    assert own["name"] == service["metadata"]["name"]
    assert own["port"] in {each["port"] for each in service["spec"]["ports"]}
    assert (own["weight"], canary["weight"]) == (95, 5)
    assert not {each["method"]["method"] for each in rule["matches"]} & {
        "RepositoryModelLoad",
        "ModelConfig",
    }


def test_pods_keep_to_restricted_security(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for volume in spec["volumes"]:
            # (An OCI image as a volume is read only, and newer than the list that the standard's
            # page has.)
            assert volume.keys() - {"name"} <= RESTRICTED_VOLUMES | {"image"}
        for each in containers(pod):
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert each["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert each["resources"]["limits"]["memory"] == each["resources"]["requests"]["memory"]


def test_the_server_has_its_own_shm_and_tmp(manifests: list[Manifest]) -> None:
    spec = pod_of(only(manifests, "Deployment"))["spec"]
    volumes = {each["name"]: each for each in spec["volumes"]}
    (server,) = spec["containers"]
    mounts = {each["mountPath"]: volumes[each["name"]] for each in server["volumeMounts"]}
    assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
    assert "sizeLimit" in mounts["/dev/shm"]["emptyDir"]
    assert "sizeLimit" in mounts["/tmp"]["emptyDir"]
    writable = {each["mountPath"] for each in server["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/dev/shm", "/tmp"}


def test_no_volume_of_the_node_is_without_a_limit(manifests: list[Manifest]) -> None:
    for volume in pod_of(only(manifests, "Deployment"))["spec"]["volumes"]:
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": "none of the node's"})


def test_pods_reach_names_and_what_they_fetch_from_alone() -> None:
    for name, ports in {
        "default": {53},
        "s3": {53, 443, 80, 988},
        "init": {53, 443, 80, 988},
        "nfs": {53},
    }.items():
        rules = only(render(CASES[name]), "NetworkPolicy")["spec"]["egress"]
        assert {port["port"] for rule in rules for port in rule["ports"]} == ports
        for rule in rules:
            if {"port": 80} in rule["ports"]:
                assert all("ipBlock" in each for each in rule["to"])


def test_clients_share_memory_only_where_that_is_asked() -> None:
    for name, values in CASES.items():
        (server,) = pod_of(only(render(values), "Deployment"))["spec"]["containers"]
        restricted = [each for each in server["args"] if "-restricted-" in each]
        closed = all("shared-memory" in each for each in restricted)
        assert closed == (name != "shared-memory") or not restricted
        assert ("--allow-client-shm=true" in server["args"]) == (name == "shared-memory")


def test_a_gpu_is_asked_for_when_there_is_one(manifests: list[Manifest]) -> None:
    spec = pod_of(only(manifests, "Deployment"))["spec"]
    (server,) = spec["containers"]
    devices = [name for name in server["resources"]["limits"] if "/" in name]
    assert bool(devices) == (
        "--model-config-name=onnxruntime" in server["args"]
        or "--model-config-name=tensorrt" in server["args"]
    )
    assert bool(devices) == ("tolerations" in spec)
    assert not [name for name in server["resources"]["requests"] if "/" in name]


def test_without_a_gpu_nothing_of_gpus_is_left() -> None:
    spec = str(
        pod_of(
            only(
                render(merged(CASES["cpu"], {"gpu": {"runtimeClassName": "nvidia"}})), "Deployment"
            )
        )["spec"]
    )
    assert "nvidia" not in spec
    assert "model-config-name" not in spec


@pytest.mark.parametrize("drain", [15, 16, 17, 30, 600])
def test_grace_holds_its_parts(drain: int) -> None:
    spec = pod_of(only(render({"drain": drain}), "Deployment"))["spec"]
    (server,) = spec["containers"]
    sleep = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
    (timeout,) = [
        int(each.partition("=")[2])
        for each in server["args"]
        if each.startswith("--exit-timeout-secs")
    ]
    assert sleep >= timeout > 0
    assert sleep + timeout == drain
    assert spec["terminationGracePeriodSeconds"] == drain + 25


def test_slow_loads_are_waited_for() -> None:
    deployment = only(render({"startup": {"seconds": 1801}, "target": "tensorrt"}), "Deployment")
    (server,) = pod_of(deployment)["spec"]["containers"]
    probe = server["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 1801
    # Nor does a rollout count as failed while plans are built and models load.
    assert deployment["spec"]["progressDeadlineSeconds"] > 1801 + 1800


def test_plans_are_built_before_the_server_starts() -> None:
    rendered = render(CASES["tensorrt"])
    pod = pod_of(only(rendered, "Deployment"))
    (builder,), (server,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert builder["image"] == server["image"]  # plans load only in the TensorRT that built them
    assert builder["resources"] == server["resources"]
    mounts = {each["mountPath"]: each["name"] for each in builder["volumeMounts"]}
    served = {each["mountPath"]: each["name"] for each in server["volumeMounts"]}
    assert mounts["/models"] == served["/models"] == "models"
    assert mounts["/source"] == "repository"
    assert {"name": "BOXWISE_CACHE", "value": "/engines/boxwise"} in builder["env"]


def test_the_image_follows_the_triton() -> None:
    image = pod_of(only(render({"triton": {"version": "26.07"}}), "Deployment"))["spec"][
        "containers"
    ][0]["image"]
    assert image == "boxwise:0.1.0-triton26.07"
    image = pod_of(only(render(CASES["hardened"]), "Deployment"))["spec"]["containers"][0]["image"]
    assert "@sha256:" in image


def test_a_made_claim_outlives_its_release() -> None:
    for claim in of_kind(render(CASES["tensorrt"]), "PersistentVolumeClaim"):
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"

"""Every rule and every panel, asked of a real Prometheus that scrapes a real server while it serves
the demo.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from helm_support.chart import (
    CASES,
    CHART,
    MONITORING,
    NAMESPACE,
    ROOT,
    TOOLS,
    Manifest,
    merged,
    only,
    render,
)
from helm_support.pod import Pod, Ports, image, running

from boxwise import Client
from boxwise_export.demo import prepare_demo
from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import Layout, ServingConfig
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.launcher import free_ports
from boxwise_runtime.stub_processes import stubs_of

DASHBOARD = json.loads((CHART / "dashboards" / "boxwise.json").read_text())
PANELS = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]
]
# Of which this machine has none: the queries are parsed, and find nothing.
NO_GPU = {
    "GPU",
    "GPU memory",
}
ONE_MODEL = "Stages inside one model"  # an ensemble has none


def rules(manifests: list[Manifest]) -> list[dict[str, Any]]:
    return [
        rule
        for group in only(manifests, "PrometheusRule")["spec"]["groups"]
        for rule in group["rules"]
    ]


def write_rules(manifests: list[Manifest], folder: Path) -> Path:
    """The rules as Prometheus reads them: what the operator makes of a PrometheusRule."""
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(only(manifests, "PrometheusRule")["spec"]))
    return file


class Prometheus:
    """A Prometheus that scrapes one server, and labels what it says as the ServiceMonitor has it
    labelled.
    """

    def __init__(self, manifests: list[Manifest], ports: Ports, folder: Path) -> None:
        (self._port,) = free_ports(1)
        monitor = only(manifests, "ServiceMonitor")
        (relabel,) = monitor["spec"]["endpoints"][0]["relabelings"]
        labels = {
            "namespace": NAMESPACE,
            "pod": "street-boxwise-0",
            relabel["targetLabel"]: relabel["replacement"],
        }
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(write_rules(manifests, folder))],
            "scrape_configs": [
                {
                    "job_name": "boxwise",
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{ports.metrics}"], "labels": labels}
                    ],
                }
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self._process = subprocess.Popen(
            [
                TOOLS / "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str, **params: str) -> Any:
        reply = requests.get(
            f"http://127.0.0.1:{self._port}/api/v1/{path}", params=params, timeout=10
        ).json()
        assert reply["status"] == "success", reply
        return reply["data"]

    def ask(self, query: str) -> list[float]:
        """The values of a query that may be false: NaN (nothing by nothing) left out."""
        found = [float(each["value"][1]) for each in self.get("query", query=query)["result"]]
        return [each for each in found if not math.isnan(each)]

    def rules(self) -> dict[str, Any]:
        groups = self.get("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Served:
    """The demo, served by the rendered pod and watched."""

    def __init__(self, pod: Pod, prometheus: Prometheus, ports: Ports, photos: list[Path]) -> None:
        self.pod, self.prometheus, self.ports, self.photos = pod, prometheus, ports, photos

    def send(self, count: int) -> int:
        """Ask about the demo's photos; returns how many requests failed."""
        with Client(f"127.0.0.1:{self.ports.grpc}", retry=None) as client:
            images = [self.photos[i % len(self.photos)] for i in range(count)]
            return sum(
                outcome.error is not None for outcome in client.predict_many(images, concurrency=4)
            )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The demo as an ensemble, asked about its photos."""
    with serving(tmp_path_factory.mktemp("demo"), "ensemble") as served:
        yield served


@contextmanager
def serving(folder: Path, layout: Layout) -> Iterator[Served]:
    photos = prepare_demo(cache_folder(), folder / "repository", lambda line: None)
    change_layout(folder / "repository", None, ServingConfig(layout))
    ports = Ports.free()
    values = merged(
        MONITORING,
        {
            "gpu": {"count": 0},
            "pipeline": {"layout": layout},
            "triton": {"listenAddress": "127.0.0.1"},
            "repository": {"mountPath": str(folder / "repository")},
            **ports.values,
        },
    )
    manifests = render(values)
    with running(Pod(manifests, image(folder / "image"), str(ports.http))) as pod:
        prometheus = Prometheus(manifests, ports, folder)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    if prometheus.ask("up"):
                        break
                except requests.RequestException:  # nobody is there, or it is starting
                    pass
                assert time.monotonic() < deadline, "Prometheus did not start"
                time.sleep(0.2)
            served = Served(pod, prometheus, ports, photos)
            assert served.send(40) == 0
            time.sleep(3)  # two scrapes of what was handed over a second later
            yield served
        finally:
            prometheus.stop()


def asked(expr: str) -> str:
    """A panel's query with its variables filled in."""
    variables = {
        "namespace": NAMESPACE,
        "job": "street-boxwise",
        "pipeline": "boxwise",
        "__rate_interval": "1m",
    }
    filled = re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match[1]], expr)
    assert "$" not in filled
    return filled


@pytest.mark.parametrize(
    ("panel", "expr"), PANELS, ids=[f"{title}-{i}" for i, (title, _) in enumerate(PANELS)]
)
def test_every_query_of_the_dashboard_finds_something(
    served: Served, panel: str, expr: str
) -> None:
    found = served.prometheus.ask(asked(expr))
    assert bool(found) == (panel not in NO_GPU | {ONE_MODEL})
    assert all(each >= 0 and math.isfinite(each) for each in found)


def test_the_dashboard_shows_every_stage(served: Served) -> None:
    (latency,) = [expr for title, expr in PANELS if title == "Latency by stage"]
    found = served.prometheus.get("query", query=asked(latency))["result"]
    stages = {
        "boxwise",
        "boxwise_preprocess",
        "boxwise_detector",
        "boxwise_nms",
        "boxwise_assemble",
    }
    assert {each["metric"]["model"] for each in found} >= stages
    boxes, asked_of = [expr for title, expr in PANELS if title == "Boxes per image"]
    (per_image,) = served.prometheus.ask(asked(boxes))
    (per_classifier,) = served.prometheus.ask(asked(asked_of))
    # A person, in one of the demo's four photos, goes to no classifier.
    assert 0.5 < per_classifier < per_image < 10


def test_a_pipeline_that_is_one_model_is_seen_as_well(tmp_path: Path) -> None:
    with serving(tmp_path, "fused") as served:
        for panel, expr in PANELS:
            assert bool(served.prometheus.ask(asked(expr))) == (panel not in NO_GPU), panel
        for name, rule in served.prometheus.rules().items():
            assert not active(rule), name
        (inside,) = [expr for title, expr in PANELS if title == ONE_MODEL]
        found = served.prometheus.get("query", query=asked(inside))["result"]
        stages = {"preprocess", "detector", "nms", "classifier_imagenet", "assemble"}
        assert {each["metric"]["stage"] for each in found} == stages


def test_the_dashboards_variables_find_release_and_pipeline(served: Served) -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    for name, expected in {
        "namespace": NAMESPACE,
        "job": "street-boxwise",
        "pipeline": "boxwise_info",
    }.items():
        query = variables[name]["query"]["query"]
        series, _, label = query.removeprefix("label_values(").removesuffix(")").rpartition(", ")
        found = served.prometheus.get("series", **{"match[]": asked(series)})
        assert {each[label] for each in found} == {expected}
    assert re.fullmatch(variables["pipeline"]["regex"], "boxwise_info")[1] == "boxwise"  # type: ignore[index]


def test_every_rule_is_evaluated_and_none_is_active(served: Served) -> None:
    found = served.prometheus.rules()
    assert len(found) == len(rules(served.pod.manifests))
    for name, rule in found.items():
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), name
        assert not active(rule), f"{name} is active on a server in good health"


def active(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """The alerts of a rule; those of slowness count once they fire, as this machine may be busy."""
    return [
        alert
        for alert in rule.get("alerts", [])
        if rule["name"] not in ("BoxwiseQueueing", "BoxwiseSlow") or alert["state"] == "firing"
    ]


def test_what_scaling_reads_is_recorded(served: Served) -> None:
    for name in ("boxwise_pending_requests", "boxwise_queue_milliseconds"):
        (series,) = served.prometheus.get("query", query=name)["result"]
        assert series["metric"] == {
            "__name__": name,
            "namespace": NAMESPACE,
            "pod": "street-boxwise-0",
        }
    # A queue is seen while there is one.
    with Client(f"127.0.0.1:{served.ports.grpc}") as client:
        deadline = time.monotonic() + 30
        while not any(
            each > 2
            for each in served.prometheus.ask("max_over_time(boxwise_pending_requests[10s])")
        ):
            assert time.monotonic() < deadline
            # Soon enough on a slow machine too.
            for each in [client.submit(photo) for photo in served.photos * 4]:
                each.result()


def test_keda_asks_what_can_be_answered(served: Served) -> None:
    scaled = merged(CASES["keda"], {"gpu": {"count": 0}})
    triggers = only(render(scaled), "ScaledObject")["spec"]["triggers"]
    assert {each["name"] for each in triggers} == {"pending", "queue"}
    for each in triggers:
        assert len(served.prometheus.ask(each["metadata"]["query"])) == 1


def test_a_broken_stage_raises_its_alerts(served: Served) -> None:
    """Last of those that ask this server: it does not come back."""
    assert served.pod.process is not None
    for stub in stubs_of(served.pod.process.pid):
        if stub.model == "boxwise_assemble":
            os.kill(stub.pid, signal.SIGKILL)
    time.sleep(1)
    deadline = time.monotonic() + 40
    active: set[str] = set()
    while not {"BoxwiseStageFails", "BoxwiseErrors"} <= active:
        assert time.monotonic() < deadline, active
        assert served.send(4) == 4
        time.sleep(1)
        active = {name for name, rule in served.prometheus.rules().items() if rule.get("alerts")}


@pytest.mark.parametrize("name", ["hpa", "bls", "loadbalancer"])
def test_promtool_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [TOOLS / "promtool", "check", "rules", write_rules(render(CASES[name]), tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


SERIES = 'namespace="vision",job="street-boxwise"'
POD = f'{SERIES},pod="p"'
FIRES = {
    "BoxwiseDown": {f"up{{{POD}}}": "0x30"},
    "BoxwiseReplicaDown": {f"up{{{POD}}}": "0x30", f'up{{{SERIES},pod="q"}}': "1x30"},
    "BoxwiseErrors": {
        f'nv_inference_request_success{{{POD},model="boxwise"}}': "0+96x30",
        f'nv_inference_request_failure{{{POD},model="boxwise",reason="BACKEND"}}': "0+4x30",
    },
    "BoxwiseStageFails": {
        f'nv_inference_request_failure{{{POD},model="boxwise_nms",reason="BACKEND"}}': "0+1x30",
    },
    "BoxwiseTurnsAway": {
        f'boxwise_overload_refusals_total{{{POD},model="boxwise_detector",reason="queue"}}': (
            "0+5x30"
        ),
        f'nv_inference_request_failure{{{POD},model="boxwise_detector",reason="BACKEND"}}': (
            "0+5x30"
        ),
    },
    "BoxwiseQueueing": {
        f'nv_inference_request_success{{{POD},model="boxwise"}}': "0+100x30",
        # 150 ms
        f'nv_inference_queue_duration_us{{{POD},model="boxwise_detector",version="1"}}': (
            "0+15000000x30"
        ),
        f'boxwise_queue_seconds_total{{{POD},model="boxwise_detector"}}': "0+10x30",  # 100 ms
    },
    "BoxwiseSlow": {
        f'nv_inference_request_success{{{POD},model="boxwise"}}': "0+100x30",
        f'nv_inference_request_duration_us{{{POD},model="boxwise"}}': "0+150000000x30",  # 1.5 s
    },
}
QUIET = {
    f"up{{{POD}}}": "1x30",
    f'nv_inference_request_success{{{POD},model="boxwise"}}': "0+100x30",
    f'nv_inference_request_success{{{POD},model="boxwise_raw"}}': "0x30",
    f'nv_inference_request_duration_us{{{POD},model="boxwise"}}': "0+50000000x30",  # 0.5 s
    # 10 ms
    f'nv_inference_queue_duration_us{{{POD},model="boxwise_detector",version="1"}}': "0+1000000x30",
    # An ensemble's own queue is wrong, and left out.
    f'nv_inference_queue_duration_us{{{POD},model="boxwise"}}': "0+900000000x30",
    # Refused images, at half a percent; callers who left.
    f'nv_inference_request_failure{{{POD},model="boxwise",reason="BACKEND"}}': "0+0.5x30",
    f'nv_inference_request_failure{{{POD},model="boxwise_preprocess",reason="BACKEND"}}': (
        "0+0.5x30"
    ),
    f'nv_inference_request_failure{{{POD},model="boxwise",reason="CANCELED"}}': "0+50x30",
    f'nv_inference_request_failure{{{POD},model="boxwise_nms",reason="CANCELED"}}': "0+50x30",
}


def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else(tmp_path: Path) -> None:
    manifests = render(merged(MONITORING, {"gpu": {"count": 0}}))
    alerts = [rule["alert"] for rule in rules(manifests) if "alert" in rule]
    assert set(alerts) == FIRES.keys()
    cases = [("nothing", QUIET, set())]
    cases += [(name, {**QUIET, **series}, {name}) for name, series in FIRES.items()]
    also = {"BoxwiseDown": {"BoxwiseReplicaDown"}}  # each of its servers is down, too
    tests = []
    for name, series, expected in cases:
        expected = expected | also.get(name, set())
        tests.append(
            {
                "interval": "1m",
                "name": name,
                "input_series": [{"series": key, "values": value} for key, value in series.items()],
                "promql_expr_test": [
                    {
                        "expr": "count by (alertname) "
                        f'(ALERTS{{alertstate="firing",alertname="{alert}"}})',
                        "eval_time": "25m",
                        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
                        if alert in expected
                        else [],
                    }
                    for alert in alerts
                ],
            }
        )
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(write_rules(manifests, tmp_path))],
                "evaluation_interval": "1m",
                "tests": tests,
            }
        )
    )
    done = subprocess.run(
        [TOOLS / "promtool", "test", "rules", tmp_path / "tests.yaml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_runbook() -> None:
    page = (ROOT / "docs" / "how-to" / "runbook.md").read_text()
    anchors = {
        line.lstrip("# ").strip().lower().replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    for rule in rules(render(CASES["hpa"])):
        if "alert" in rule:
            link = rule["annotations"]["runbook_url"]
            file, _, anchor = link.partition("#")
            assert (ROOT / file).is_file()
            assert anchor in anchors, f"docs/how-to/runbook.md has no runbook for {rule['alert']}"


def test_panels_do_not_overlap() -> None:
    cells = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        own = {(grid["x"] + i, grid["y"] + j) for i in range(grid["w"]) for j in range(grid["h"])}
        assert not own & cells
        assert max(x for x, _ in own) < 24
        cells |= own

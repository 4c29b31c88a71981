"""The headless Service: several servers behind one name, the SDK balances, and one is drained under
load.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from contract_support.servers import write_repository
from contract_support.synthetic import make_dots
from helm_support.chart import NAMESPACE, only, render
from helm_support.pod import Pod, Ports, image, running

from boxwise import BoxwiseError, Client
from boxwise_perf.prometheus import scrape

PIPELINE = "dots"
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class Headless:
    """What a cluster's DNS says of the headless Service: the addresses of pods that are ready and
    not about to go.
    """

    def __init__(self, name: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name, self.port = name, port
        self.ready: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != self.name:
            return self._real(host, port, *args, **kwargs)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in self.ready
        ]


def answered(address: str, ports: Ports) -> int:
    said = scrape(f"http://{address}:{ports.metrics}/metrics")
    mine = (
        each
        for each in said
        if each.name == "nv_inference_request_success" and each.labels["model"] == PIPELINE
    )
    return sum(int(each.value) for each in mine)


@pytest.mark.timeout(200)
def test_a_server_that_is_drained_under_load_fails_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, programs, ports = (
        write_repository(tmp_path / "dots", PIPELINE),
        image(tmp_path / "image"),
        Ports.free(),
    )
    pods = {}
    for address in ADDRESSES:
        values = {
            "gpu": {"count": 0},
            "pipeline": {"name": PIPELINE},
            "triton": {"listenAddress": address},
            "repository": {"mountPath": str(repository)},
            "drain": 15,
            **ports.values,
        }
        pods[address] = Pod(render(values), programs, f"{address}-{ports.http}")
    service = only(next(iter(pods.values())).manifests, "Service", "-headless")
    (port,) = [each["port"] for each in service["spec"]["ports"] if each["name"] == "grpc"]
    name = f"{service['metadata']['name']}.{NAMESPACE}"
    dns = Headless(name, port, monkeypatch)
    frame = make_dots(3).draw()[:200, :200]
    failures: list[str] = []
    stop = threading.Event()

    def ask(client: Client) -> None:
        while not stop.is_set():
            try:
                client.predict(frame)
            except BoxwiseError as error:
                failures.append(repr(error))

    with ExitStack() as stack:
        for pod in pods.values():
            stack.enter_context(running(pod))
            assert pod.probe("readiness")
        dns.ready = list(ADDRESSES)
        client = stack.enter_context(
            Client(f"dns:///{name}:{port}", pipeline=PIPELINE, timeout_s=30)
        )
        stack.callback(stop.set)
        with ThreadPoolExecutor(5) as threads:
            asking = [threads.submit(ask, client) for _ in range(4)]
            while min(answered(address, ports) for address in ADDRESSES) < 20:
                time.sleep(0.2)
                assert not failures, failures
            # A rollout begins: the pod leaves the name as its preStop hook starts to sleep.
            leaving, *staying = ADDRESSES
            dns.ready = staying
            going = threads.submit(pods[leaving].stop)
            time.sleep(13)  # its 10 s of sleep, and some while it has stopped
            before = [answered(address, ports) for address in staying]
            time.sleep(2)
            after = [answered(address, ports) for address in staying]
            stop.set()
            for each in asking:
                each.result()
            client.close()
            assert going.result() == 0
    assert failures == []
    assert all(then > earlier for then, earlier in zip(after, before, strict=True))

"""What is rendered is executed: the server's pod, its probes and hooks, and what `helm test` runs,
on a real Triton.
"""

from __future__ import annotations

import base64
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import trustme
from contract_support.servers import on_ipv6, write_repository
from contract_support.synthetic import make_dots, png
from helm_support.chart import CASES, NAMESPACE, RELEASE, merged, only, pod_of, render
from helm_support.pod import LEFT_OUT, Pod, Ports, helm_test, image, running
from helm_support.repository import add_slow_model
from tritonclient.grpc import service_pb2, service_pb2_grpc

from boxwise import TLS, BoxwiseError, Client
from boxwise_export.repository.atomic_dir import write_file
from boxwise_runtime import probe
from boxwise_runtime.launcher import command
from boxwise_runtime.launcher.options import ServerOptions
from boxwise_runtime.stub_processes import stubs_of
from boxwise_runtime.targets import ONNXRUNTIME

PIPELINE = "dots"
HEADER = "boxwise-admin"
USUAL_FILES = 1024


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("dots"), PIPELINE)


def values(repository: Path, ports: Ports, **more: Any) -> dict[str, Any]:
    """What makes a pod of this machine: no GPU, on loopback. The rest is as the chart has it."""
    here = {
        "gpu": {"count": 0},
        "pipeline": {"name": PIPELINE},
        "triton": {"listenAddress": "127.0.0.1"},
        "repository": {"mountPath": str(repository)},
        "drain": 15,
        **ports.values,
    }
    return merged(here, more)


@pytest.fixture(scope="module")
def ports() -> Ports:
    return Ports.free()


@pytest.fixture(scope="module")
def pod(repository: Path, ports: Ports, programs: Path) -> Iterator[Pod]:
    """One server for what does not change it."""
    server = Pod(render(values(repository, ports)), programs, str(ports.http))
    left_behind(server).write_bytes(b"x")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (USUAL_FILES, files[1]))
    with running(server):
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        yield server


def left_behind(pod: Pod) -> Path:
    """A segment of a container that was killed."""
    return Path("/dev/shm") / f"{pod.prefix}left-behind"


@pytest.fixture(scope="module")
def broken(repository: Path, programs: Path) -> Iterator[tuple[Pod, Ports]]:
    """A server one of whose stages was killed."""
    ports = Ports.free()
    with running(Pod(render(values(repository, ports)), programs, str(ports.http))) as pod:
        assert pod.process is not None
        assert pod.probe("readiness")
        (stub,) = [each for each in stubs_of(pod.process.pid) if each.model == f"{PIPELINE}_nms"]
        os.kill(stub.pid, signal.SIGKILL)
        yield pod, ports


class TestCommand:
    def test_every_flag_that_the_server_knows_is_passed(
        self, repository: Path, programs: Path
    ) -> None:
        """And the few that it does not are in LEFT_OUT, and nothing else is there."""
        everything = values(
            repository,
            Ports.free(),
            tls={"enabled": True, "secretName": "tls", "clientCertificates": True},
            triton={"http": False, "clientSharedMemory": True, "responseCacheMiB": 1},
            target=ONNXRUNTIME.name,
        )
        container = Pod(render(everything), programs, "x").container
        asked = subprocess.run(
            [programs / "tritonserver", "--help"], capture_output=True, text=True
        )
        known = {
            line.split()[0]
            for line in (asked.stdout + asked.stderr).splitlines()
            if line.strip().startswith("--")
        }
        flags = {each.partition("=")[0] for each in container["args"]}
        assert len(flags) > 15
        assert flags - known == LEFT_OUT.keys()

    def test_arguments_are_those_of_the_launcher(
        self, repository: Path, ports: Ports, programs: Path
    ) -> None:
        """`boxwise serve` and the chart start the same server."""
        pod = Pod(render(values(repository, ports, triton={"responseCacheMiB": 8})), programs, "x")
        options = ServerOptions(
            repository,
            grpc_port=ports.grpc,
            http_port=ports.http,
            metrics_port=ports.metrics,
            response_cache_mb=8,
            public=True,
            admin_key=pod.token,
        )
        served = set(command.arguments(options, pod.prefix))
        # Of `drain`; 5 of the least drain, as DRAIN_S is.
        assert f"--exit-timeout-secs={command.DRAIN_S}" in served
        rendered = {word for word in pod.command if word.startswith("--")}
        assert served == rendered
        assert command.ALLOCATOR.items() <= pod.variables.items()

    def test_the_server_takes_the_place_of_its_shell(self, pod: Pod) -> None:
        assert pod.process is not None
        assert Path(f"/proc/{pod.process.pid}/comm").read_text().strip() == "tritonserver"

    def test_the_server_may_open_as_many_files_as_the_container(self, pod: Pod) -> None:
        """A connection is one; the limit that programs start with is 1,024 on many nodes."""
        assert pod.process is not None
        soft, hard = resource.prlimit(pod.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > USUAL_FILES

    def test_what_a_killed_container_left_in_shm_is_removed(self, pod: Pod) -> None:
        """`pod` starts with some there."""
        assert not left_behind(pod).exists()
        # Its own, under the prefix that it was given.
        assert list(Path("/dev/shm").glob(f"{pod.prefix}*"))


class TestProbes:
    def test_all_pass_on_a_server_that_answers(self, pod: Pod) -> None:
        for kind in ("startup", "readiness", "liveness"):
            assert pod.probe(kind), pod.said

    def test_all_fail_while_a_slow_model_loads(
        self, repository: Path, programs: Path, tmp_path: Path
    ) -> None:
        slow = tmp_path / "repository"
        shutil.copytree(repository, slow)
        add_slow_model(slow, 4)
        ports = Ports.free()
        pod = Pod(render(values(slow, ports)), programs, str(ports.http))
        try:
            started = time.monotonic()
            pod.start()
            while time.monotonic() < started + 3:
                for kind in ("startup", "readiness", "liveness"):
                    assert not pod.probe(kind)
                    assert "the server does not respond" in pod.said
            pod.wait_until_started()
            assert time.monotonic() > started + 4
            assert pod.probe("readiness")
            assert pod.probe("liveness")
        finally:
            pod.kill()

    def test_a_dead_stage_is_seen_though_the_server_says_ready(
        self, broken: tuple[Pod, Ports]
    ) -> None:
        pod, ports = broken
        wait_for(lambda: not pod.probe("readiness"))
        assert "a stage died" in pod.said
        assert not pod.probe("liveness")
        assert (
            requests.get(f"http://127.0.0.1:{ports.http}/v2/health/ready", timeout=5).status_code
            == 200
        )
        # What the probe sees where it cannot look at processes: the answer itself, which may be
        # late on a busy machine.
        words = pod.container["readinessProbe"]["exec"]["command"]
        blind = pod.environment | {"BOXWISE_SERVER_PID": "1"}

        def says_so() -> bool:
            done = subprocess.run(words, env=blind, capture_output=True, text=True)
            assert done.returncode == 1
            return "not healthy" in done.stdout

        wait_for(says_so)

    def test_a_busy_server_is_not_a_broken_one(self, pod: Pod, ports: Ports) -> None:
        """Its image waits for 2 s on 2 cores, longer than it has patience for, while others are
        answered.
        """
        with Load(ports, threads=32, content=image_of(1500)) as load:
            wait_for(lambda: load.answered > 10)
            done = [self.impatient(pod, "0.5") for _ in range(4)]
        assert [each.returncode for each in done] == [0] * 4, [each.stdout for each in done]
        assert not load.failures

    def test_a_full_queue_is_not_broken_either(
        self, repository: Path, programs: Path, tmp_path: Path
    ) -> None:
        short = tmp_path / "repository"
        shutil.copytree(repository, short)
        config = short / f"{PIPELINE}_detector" / "config.pbtxt"
        write_file(
            config,
            config.read_bytes()
            + b"\ndynamic_batching { default_queue_policy { max_queue_size: 1 } }\n",
        )
        ports = Ports.free()
        with (
            running(Pod(render(values(short, ports)), programs, str(ports.http))),
            ThreadPoolExecutor(16) as clients,
        ):
            path = f"/v2/models/{PIPELINE}/infer"

            def ask(_: int) -> tuple[int, bytes]:
                return probe._exchange("127.0.0.1", ports.http, "POST", path, time.monotonic() + 30)

            refused = [body for status, body in clients.map(ask, range(400)) if status != 200]
        assert refused
        assert all(any(words in body for words in probe.BUSY) for body in refused), set(refused)

    def test_what_does_not_answer_at_all_fails(self, pod: Pod) -> None:
        assert pod.process is not None
        os.kill(pod.process.pid, signal.SIGSTOP)
        try:
            done = self.impatient(pod, "1")
        finally:
            os.kill(pod.process.pid, signal.SIGCONT)
        assert done.returncode == 1
        assert "did not respond within 1 s" in done.stdout

    def impatient(self, pod: Pod, seconds: str) -> subprocess.CompletedProcess[str]:
        """The probe, with less patience than was rendered."""
        words = pod.container["readinessProbe"]["exec"]["command"].copy()
        words[words.index("--timeout") + 1] = seconds
        return subprocess.run(words, env=pod.environment, capture_output=True, text=True)

    @pytest.mark.parametrize("layout", ["fused", "bls"])
    def test_other_layouts_are_probed_and_tested_alike(
        self, layout: str, programs: Path, tmp_path: Path
    ) -> None:
        repository, ports = (
            write_repository(tmp_path / "dots", PIPELINE, layout=layout),
            Ports.free(),
        )
        rendered = values(repository, ports, pipeline={"layout": layout})
        with running(Pod(render(rendered), programs, str(ports.http))) as pod:
            assert pod.probe("readiness"), pod.said
            assert TestHelmTest().run(pod, ports, tmp_path).returncode == 0

    @on_ipv6
    def test_a_pod_of_ipv6_is_probed_alike(self, repository: Path, programs: Path) -> None:
        ports = Ports.free()
        rendered = render(values(repository, ports, triton={"listenAddress": "::"}))
        with running(Pod(rendered, programs, str(ports.http))) as pod:
            assert pod.probe("readiness"), pod.said
            with grpc.insecure_channel(f"[::1]:{ports.grpc}") as channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=20).ready

    def test_a_pipeline_without_a_detector_is_probed_alike(
        self, programs: Path, tmp_path: Path
    ) -> None:
        repository = write_repository(tmp_path / "whole", PIPELINE, detector=None)
        ports = Ports.free()
        with running(Pod(render(values(repository, ports)), programs, str(ports.http))) as pod:
            assert pod.probe("liveness"), pod.said
            assert TestHelmTest().run(pod, ports, tmp_path, test={"minBoxes": 1}).returncode == 0


class TestEngines:
    def test_the_init_container_builds_into_the_pods_own_copy(
        self, repository: Path, tmp_path: Path
    ) -> None:
        """Its script is run; what stands for `boxwise` says what it was asked, since there is no
        GPU to build for.
        """
        spec = pod_of(only(render(CASES["tensorrt"]), "Deployment"))["spec"]
        (container,) = spec["initContainers"]
        programs, models = tmp_path / "bin", tmp_path / "models"
        programs.mkdir()
        models.mkdir()
        boxwise = programs / "boxwise"
        boxwise.write_text('#!/bin/sh\necho "$BOXWISE_CACHE" "$@"\n')
        boxwise.chmod(0o755)
        own = {each["name"]: each["value"] for each in container["env"]} | {"MODELS": str(models)}
        script = [word.replace("/source/", f"{repository}/") for word in container["command"]]
        environment = {"PATH": f"{programs}:/usr/bin:/bin", **own}
        options = "--pipeline=boxwise --workspace=2 --calibration=/models/images"
        for _ in range(2):  # it is run again where it failed, over a copy whose files are read-only
            done = subprocess.run(
                script, env=environment, capture_output=True, text=True, check=True
            )
            assert done.stdout.strip() == f"/engines/boxwise build-engines {models} {options}"
        here, there = (
            {path.relative_to(top) for path in top.rglob("*")} for top in (repository, models)
        )
        assert here == there


class TestDrain:
    def test_no_request_is_lost(self, repository: Path, programs: Path) -> None:
        """preStop and SIGTERM under load, from clients that hear a moment after the pod began to
        go.

        They stay connected, so the server takes 20 s longer to end (`boxwise.leastGrace`).
        """
        ports = Ports.free()
        with running(Pod(render(values(repository, ports)), programs, str(ports.http))) as pod:
            with (
                Load(ports, threads=4, content=image_of(400)) as load,
                ThreadPoolExecutor(1) as kubelet,
            ):
                wait_for(lambda: load.answered > 20)
                before, started = load.answered, time.monotonic()
                code = kubelet.submit(pod.stop)
                time.sleep(3)  # what load balancers take to hear of it
                load.stop.set()
                assert code.result() == 0, "".join(pod.log)
                assert time.monotonic() - started < pod.spec["terminationGracePeriodSeconds"]
            assert load.answered > before + 20
            assert load.failures == []


CLOSED = {
    "RepositoryIndex": service_pb2.RepositoryIndexRequest(),
    "RepositoryModelLoad": service_pb2.RepositoryModelLoadRequest(model_name="x"),
    "RepositoryModelUnload": service_pb2.RepositoryModelUnloadRequest(model_name="x"),
    "ModelConfig": service_pb2.ModelConfigRequest(name=PIPELINE),
    "ModelStatistics": service_pb2.ModelStatisticsRequest(),
    "SystemSharedMemoryStatus": service_pb2.SystemSharedMemoryStatusRequest(),
    "SystemSharedMemoryRegister": service_pb2.SystemSharedMemoryRegisterRequest(
        name="x", key="/x", byte_size=1
    ),
    "CudaSharedMemoryStatus": service_pb2.CudaSharedMemoryStatusRequest(),
    "TraceSetting": service_pb2.TraceSettingRequest(),
    "LogSettings": service_pb2.LogSettingsRequest(),
}
OPEN = {
    "ServerLive": service_pb2.ServerLiveRequest(),
    "ServerReady": service_pb2.ServerReadyRequest(),
    "ModelReady": service_pb2.ModelReadyRequest(name=PIPELINE),
    "ServerMetadata": service_pb2.ServerMetadataRequest(),
    "ModelMetadata": service_pb2.ModelMetadataRequest(name=PIPELINE),
    "ModelInfer": service_pb2.ModelInferRequest(model_name=f"{PIPELINE}_info"),
}


class TestRestrictedProtocols:
    """Inference, health and metadata for everybody; the rest for who has the token."""

    def ask(self, ports: Ports, method: str, request: Any, token: str | None = None) -> Any:
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            metadata = [(f"triton-grpc-protocol-{HEADER}", token)] if token is not None else []
            return getattr(stub, method)(request, metadata=metadata, timeout=20)

    @pytest.mark.parametrize("method", CLOSED)
    @pytest.mark.parametrize("token", [None, "", "guess"])
    def test_grpc_refuses(self, pod: Pod, ports: Ports, method: str, token: str | None) -> None:
        with pytest.raises(grpc.RpcError) as refused:
            self.ask(ports, method, CLOSED[method], token)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "restricted" in refused.value.details()

    @pytest.mark.parametrize("method", OPEN)
    def test_grpc_answers_everybody(self, pod: Pod, ports: Ports, method: str) -> None:
        self.ask(ports, method, OPEN[method])

    @pytest.mark.parametrize(
        "method", ["RepositoryIndex", "ModelConfig", "ModelStatistics", "LogSettings"]
    )
    def test_grpc_answers_who_has_the_token(self, pod: Pod, ports: Ports, method: str) -> None:
        self.ask(ports, method, CLOSED[method], pod.token)

    @pytest.mark.parametrize(
        ("verb", "path"),
        [
            ("POST", "repository/index"),
            ("POST", "repository/models/x/load"),
            ("GET", f"models/{PIPELINE}/config"),
            ("GET", "models/stats"),
            ("GET", "systemsharedmemory/status"),
            ("GET", "cudasharedmemory/status"),
            ("GET", "trace/setting"),
            ("GET", "logging"),
        ],
    )
    def test_http_refuses_all_but_who_has_the_token(
        self, pod: Pod, ports: Ports, verb: str, path: str
    ) -> None:
        url = f"http://127.0.0.1:{ports.http}/v2/{path}"
        for headers in ({}, {HEADER: "guess"}):
            reply = requests.request(verb, url, headers=headers, timeout=20)
            assert (reply.status_code, "restricted" in reply.text) == (403, True)
        assert (
            "restricted"
            not in requests.request(verb, url, headers={HEADER: pod.token}, timeout=20).text
        )

    def test_models_cannot_be_changed_even_with_the_token(self, pod: Pod, ports: Ports) -> None:
        with pytest.raises(grpc.RpcError, match="explicit"):
            self.ask(ports, "RepositoryModelUnload", CLOSED["RepositoryModelUnload"], pod.token)

    def test_models_can_be_changed_where_that_is_asked(
        self, repository: Path, programs: Path
    ) -> None:
        ports = Ports.free()
        explicit = values(repository, ports, triton={"modelControl": "explicit"})
        with running(Pod(render(explicit), programs, str(ports.http))) as pod:
            raw = service_pb2.RepositoryModelUnloadRequest(model_name=f"{PIPELINE}_raw")
            with pytest.raises(grpc.RpcError, match="restricted"):
                self.ask(ports, "RepositoryModelUnload", raw)
            self.ask(ports, "RepositoryModelUnload", raw, pod.token)
            assert pod.probe("readiness"), pod.said


class TestHelmTest:
    def run(
        self, pod: Pod, ports: Ports, folder: Path, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        rendered = render(values(Path(pod.command[4].partition("=")[2]), ports, **more))
        service = f"{only(rendered, 'Deployment')['metadata']['name']}.{NAMESPACE}.svc"
        command, environment = helm_test(rendered, folder, pod.programs, {service: "127.0.0.1"})
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)

    def test_it_passes(self, pod: Pod, ports: Ports, tmp_path: Path) -> None:
        done = self.run(pod, ports, tmp_path, test={"minBoxes": 1})
        assert done.returncode == 0, done.stderr
        assert f"{PIPELINE}: " in done.stdout

    def test_it_sends_the_image_it_is_given(self, pod: Pod, ports: Ports, tmp_path: Path) -> None:
        content = base64.b64encode(png(make_dots(7).draw())).decode()
        done = self.run(pod, ports, tmp_path, test={"minBoxes": 7, "picture": content})
        assert done.returncode == 0, done.stderr
        assert f"{PIPELINE}: 7 boxes in an image of 512 x 512" in done.stdout
        done = self.run(pod, ports, tmp_path, test={"minBoxes": 8, "picture": content})
        assert done.returncode == 1
        assert "FAILED: 7 boxes, where 8 are the least" in done.stderr

    def test_it_fails_when_the_pipeline_is_broken(
        self, broken: tuple[Pod, Ports], tmp_path: Path
    ) -> None:
        done = self.run(*broken, tmp_path)
        assert done.returncode == 1
        assert "StageFailed" in done.stderr


class TestTls:
    def test_grpc_is_encrypted_and_http_is_for_the_probes_alone(
        self, repository: Path, programs: Path, tmp_path: Path
    ) -> None:
        authority = trustme.CA()
        own, another = (
            authority.issue_cert("localhost", f"{RELEASE}-boxwise.{NAMESPACE}.svc"),
            authority.issue_cert("c"),
        )
        authority.cert_pem.write_to_path(tmp_path / "ca.crt")
        own.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
        own.private_key_pem.write_to_path(tmp_path / "tls.key")
        another.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        ports = Ports.free()
        secure = values(
            repository,
            ports,
            triton={"http": False},
            tls={"enabled": True, "secretName": "tls", "clientCertificates": True},
        )
        rendered = render(secure)
        pod = Pod(rendered, programs, str(ports.http), {"/tls/": f"{tmp_path}/"})
        with running(pod):
            assert "--http-address=127.0.0.1" in pod.command
            target = f"localhost:{ports.grpc}"
            known = TLS(ca=tmp_path / "ca.crt", certificate=tmp_path / "client.pem")
            with Client(target, pipeline=PIPELINE, tls=known) as client:
                assert len(client.predict(png(make_dots(3).draw()))) == 3
            for tls in (False, TLS(ca=tmp_path / "ca.crt")):  # plain, and without a certificate
                with (
                    Client(target, pipeline=PIPELINE, tls=tls, timeout_s=3) as client,
                    pytest.raises(BoxwiseError),
                ):
                    client.predict(image_of(64))
            hosts = {f"{RELEASE}-boxwise.{NAMESPACE}.svc": "localhost", "/tls/": f"{tmp_path}/"}
            command, environment = helm_test(rendered, tmp_path, programs, hosts)
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=100
            )
            assert done.returncode == 0, done.stderr


def image_of(side: int) -> bytes:
    return png(
        make_dots(20).draw(side, side) if side >= 512 else make_dots(20).draw()[:side, :side]
    )


def wait_for(holds: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


class Load:
    """Clients that ask without a pause and never ask again, until `stop` is set."""

    def __init__(self, ports: Ports, threads: int, content: bytes) -> None:
        self.stop = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self._client = Client(
            f"127.0.0.1:{ports.grpc}",
            pipeline=PIPELINE,
            retry=None,
            timeout_s=60,
            connections=threads,
        )
        self._image = content
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        self._lock = threading.Lock()

    def _ask(self) -> None:
        while not self.stop.is_set():
            try:
                self._client.predict(self._image)
            except BoxwiseError as error:
                self.failures.append(repr(error))
            else:
                with self._lock:
                    self.answered += 1

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for each in self._threads:
            each.join()
        self._client.close()

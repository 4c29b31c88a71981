"""What a server does for whom: a real one is asked for everything that its protocols have."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import requests
from contract_support.servers import launched
from tritonclient.grpc import service_pb2, service_pb2_grpc

from boxwise_runtime.launcher import ServerOptions
from boxwise_runtime.launcher.options import ADMIN_HEADER

LOAD = ("RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name="echo"))
UNLOAD = ("RepositoryModelUnload", service_pb2.RepositoryModelUnloadRequest(model_name="echo"))
INDEX = ("RepositoryIndex", service_pb2.RepositoryIndexRequest())
SHM = ("SystemSharedMemoryStatus", service_pb2.SystemSharedMemoryStatusRequest())
CLOSED = (
    LOAD,
    UNLOAD,
    INDEX,
    SHM,
    (
        "SystemSharedMemoryRegister",
        service_pb2.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=1),
    ),
    ("CudaSharedMemoryStatus", service_pb2.CudaSharedMemoryStatusRequest()),
    ("TraceSetting", service_pb2.TraceSettingRequest()),
    ("LogSettings", service_pb2.LogSettingsRequest()),
)
OPEN = (
    ("ServerReady", service_pb2.ServerReadyRequest()),
    ("ModelMetadata", service_pb2.ModelMetadataRequest(name="echo")),
    ("ModelConfig", service_pb2.ModelConfigRequest(name="echo")),
    ("ModelStatistics", service_pb2.ModelStatisticsRequest(name="echo")),
)
CLOSED_HTTP = (
    ("POST", "repository/index"),
    ("POST", "repository/models/echo/load"),
    ("POST", "repository/models/echo/unload"),
    ("GET", "systemsharedmemory/status"),
    ("POST", "systemsharedmemory/region/x/register"),
    ("GET", "cudasharedmemory/status"),
    ("GET", "trace/setting"),
    ("GET", "logging"),
)


def ask(
    options: ServerOptions, asked: tuple[str, Any], headers: dict[str, str] | None = None
) -> str:
    """What the server says to it over gRPC: its words, where it refuses."""
    method, message = asked
    with grpc.insecure_channel(options.grpc_url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            return str(
                getattr(stub, method)(message, metadata=tuple((headers or {}).items()), timeout=20)
            )
        except grpc.RpcError as error:
            return str(error.details())


def segment_modes(options: ServerOptions) -> set[int]:
    """Who may read and write what its stages hand on in /dev/shm."""
    return {
        path.stat().st_mode & 0o777
        for path in Path("/dev/shm").glob(f"boxwise-{options.http_port}-*")
    }


def test_what_changes_a_server_is_closed_but_to_who_has_its_key(
    echo_options: ServerOptions,
) -> None:
    wrong = dict.fromkeys(echo_options.admin_headers, "guess")
    http = f"http://127.0.0.1:{echo_options.http_port}/v2"
    with launched(echo_options) as server:
        for asked in CLOSED:
            for headers in (None, wrong):
                assert "is restricted" in ask(echo_options, asked, headers), asked
            assert "is restricted" not in ask(echo_options, asked, echo_options.admin_headers), (
                asked
            )
        for asked in OPEN:
            assert "is restricted" not in ask(echo_options, asked), asked
        for verb, path in CLOSED_HTTP:
            for headers in ({}, wrong):
                reply = requests.request(verb, f"{http}/{path}", headers=headers, timeout=20)
                assert (reply.status_code, "restricted" in reply.text) == (403, True), path
            reply = requests.request(
                verb, f"{http}/{path}", headers=echo_options.admin_headers, timeout=20
            )
            assert "restricted" not in reply.text, path
        for asked in (LOAD, UNLOAD):  # there is nothing to be had with the key either
            assert "explicit" in ask(echo_options, asked, echo_options.admin_headers)
        assert echo_options.admin_key not in "\n".join(server.log)
        shown = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert f"{ADMIN_HEADER}=***" in shown
        assert echo_options.admin_key not in shown
    assert echo_options.admin_key not in repr(echo_options)


def test_models_are_loaded_and_unloaded_where_that_is_asked(
    echo_options: ServerOptions, infer: Callable[..., list[int]]
) -> None:
    options = replace(echo_options, reload=True)
    with launched(options) as server:
        assert infer(options, 0) == [0]
        assert segment_modes(options) == {0o600}
        assert "is restricted" in ask(options, UNLOAD)
        assert infer(options, 0) == [0]
        assert ask(options, UNLOAD, options.admin_headers) == ""
        assert "no available versions" in ask(
            options, ("ModelMetadata", service_pb2.ModelMetadataRequest(name="echo"))
        )
        assert ask(options, LOAD, options.admin_headers) == ""
        assert infer(options, 0) == [0]
        assert segment_modes(options) != {0o600}  # there are new ones
        server.close_segments()
        assert segment_modes(options) == {0o600}


def test_clients_share_memory_where_that_is_asked(echo_options: ServerOptions) -> None:
    options = replace(echo_options, client_shm=True)
    with launched(options):
        assert ask(options, SHM) == ""
        assert "is restricted" in ask(options, INDEX)


def test_each_server_has_a_key_of_its_own(echo_options: ServerOptions) -> None:
    assert len(echo_options.admin_key) >= 32
    assert ServerOptions(echo_options.repository).admin_key != echo_options.admin_key

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from boxwise_runtime.launcher import (
    LaunchError,
    ServerOptions,
    ServerTLS,
    TritonProcess,
    free_ports,
    pipelines,
)
from boxwise_runtime.launcher.options import (
    check_endpoints,
    check_exposure,
    check_repository,
    find_server,
)


def repository_of(folder: Path, *models: str) -> Path:
    for name in models:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.pbtxt").touch()
    return folder


def test_a_repository_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"missing does not exist: `boxwise export"):
        check_repository(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match="file is a file, not a folder"):
        check_repository(tmp_path / "file")
    (tmp_path / "empty" / "no_config").mkdir(parents=True)
    with pytest.raises(LaunchError, match="empty holds no model"):
        check_repository(tmp_path / "empty")
    check_repository(repository_of(tmp_path / "one", "echo"))


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ((), []),
        (("echo",), []),
        (("_info",), []),
        (("b_info", "b", "a_info", "a_info_nms"), ["a", "b"]),
    ],
)
def test_pipelines_are_known_by_their_info_model(
    tmp_path: Path, models: tuple[str, ...], expected: list[str]
) -> None:
    assert pipelines(repository_of(tmp_path, *models)) == expected


@pytest.mark.parametrize("name", ["grpc", "http", "metrics"])
def test_a_taken_port_is_named_with_its_flag(tmp_path: Path, name: str) -> None:
    ports = dict(zip(["grpc_port", "http_port", "metrics_port"], free_ports(3), strict=True))
    options = ServerOptions(repository_of(tmp_path, "echo"), **ports)
    check_endpoints(options)
    with socket.socket() as other:
        other.bind(("127.0.0.1", options.ports[name]))
        other.listen()
        with pytest.raises(
            LaunchError, match=rf"port {options.ports[name]} .* is taken .* --{name}-port"
        ):
            TritonProcess.start(options)


def test_a_port_that_was_in_use_a_moment_ago_is_free(tmp_path: Path) -> None:
    """Its connections linger in TIME_WAIT after a restart: that must not refuse the next server."""
    grpc, http, metrics = free_ports(3)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", grpc))
        server.listen()
        with socket.create_connection(("127.0.0.1", grpc)):
            server.accept()[0].close()
    check_endpoints(ServerOptions(tmp_path, grpc_port=grpc, http_port=http, metrics_port=metrics))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grpc_port": 0}, "--grpc-port 0 is not a port"),
        ({"http_port": 65536}, "--http-port 65536 is not a port"),
        ({"metrics_port": 8001}, "--grpc-port and --metrics-port are both 8001"),
        ({"host": "no.such.host.invalid"}, "--host no.such.host.invalid is not an address"),
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1"),  # TEST-NET-1: nobody's
    ],
)
def test_wrong_endpoints_say_which_flag(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(LaunchError, match=message):
        check_endpoints(ServerOptions(tmp_path, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "reachable", "on_loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "localhost", True),
        ("::1", "[::1]", True),
        ("0.0.0.0", "127.0.0.1", False),
        ("::", "[::1]", False),
        ("10.0.0.7", "10.0.0.7", False),
        ("127.0.0.1.example.com", "127.0.0.1.example.com", False),
    ],
)
def test_hosts(tmp_path: Path, host: str, reachable: str, on_loopback: bool) -> None:
    options = ServerOptions(tmp_path, host=host)
    assert (options.reachable_host, options.on_loopback) == (reachable, on_loopback)
    assert replace(options, host=options.local_host).on_loopback
    assert (options.local_host == host) == on_loopback


PEM = ServerTLS(Path("cert.pem"), Path("cert.pem"))  # trustme has both in one


@pytest.fixture
def pem_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    for name in ("cert.pem", "other.pem"):
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(name)
    key = load_pem_private_key(Path("cert.pem").read_bytes(), None)
    password = BestAvailableEncryption(b"secret")
    Path("locked.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password))
    Path("no.pem").write_text("no PEM")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 can be reached from other machines: give --public"),
        (
            {"host": "10.0.0.7", "tls": PEM},
            "--host 10.0.0.7 can be reached from other machines: give --public",
        ),
        ({"host": "0.0.0.0", "without_tls": True}, "give --public"),
        ({"host": "0.0.0.0", "public": True}, "--public needs --tls-cert and --tls-key"),
        (
            {"tls": replace(PEM, key=Path("key.pem"))},
            r"--tls-key key\.pem does not exist: give a PEM file",
        ),
        (
            {"tls": replace(PEM, client_ca=Path("ca.pem"))},
            r"--tls-client-ca ca\.pem does not exist",
        ),
        (
            {"tls": replace(PEM, certificate=Path("no.pem"))},
            r"--tls-cert no\.pem and --tls-key cert\.pem are not",
        ),
        (
            {"tls": replace(PEM, key=Path("other.pem"))},
            r"--tls-key other\.pem are not a certificate and its own key",
        ),
        ({"tls": replace(PEM, key=Path("locked.pem"))}, "the key without a password"),
        (
            {"tls": replace(PEM, client_ca=Path("no.pem"))},
            r"--tls-client-ca no\.pem holds no certificate",
        ),
    ],
)
def test_who_can_call_must_have_been_said(
    pem_files: None, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(LaunchError, match=message):
        check_exposure(ServerOptions(tmp_path, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{}, {"tls": PEM}, {"public": True, "tls": PEM}, {"public": True, "without_tls": True}],
)
def test_what_was_said_is_let_through(
    pem_files: None, tmp_path: Path, changes: dict[str, object]
) -> None:
    check_exposure(ServerOptions(tmp_path, **changes))  # type: ignore[arg-type]
    if "public" in changes:
        check_exposure(ServerOptions(tmp_path, host="0.0.0.0", **changes))  # type: ignore[arg-type]


def test_find_server(tmp_path: Path) -> None:
    assert find_server(Path("sh")).name == "sh"
    with pytest.raises(LaunchError, match="--server nowhere/tritonserver is not there"):
        find_server(Path("nowhere/tritonserver"))
    (tmp_path / "plain").touch()
    with pytest.raises(LaunchError, match="plain cannot be executed"):
        find_server(tmp_path / "plain")


def test_free_ports_differ(tmp_path: Path, on_free_ports: Callable[[Path], ServerOptions]) -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    check_endpoints(on_free_ports(tmp_path))

"""TLS and mutual TLS, against a gRPC server with certificates of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tritonclient.grpc import service_pb2 as pb

from boxwise import TLS, InvalidArgument, Unavailable


class Certificates:
    """An authority, a server that it vouches for, and a client."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.server = authority.issue_cert("localhost", "boxwise.test")
        client = authority.issue_cert("client@boxwise.test")
        self.authority = authority
        self.ca, self.certificate, self.key = (
            folder / "ca.pem",
            folder / "client.pem",
            folder / "client.key",
        )
        authority.cert_pem.write_to_path(self.ca)
        client.cert_chain_pems[0].write_to_path(self.certificate)
        client.private_key_pem.write_to_path(self.key)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=[False, True], ids=["tls", "mutual"])
def secured(
    request: pytest.FixtureRequest, certificates: Certificates
) -> Iterator[tuple[str, bool]]:
    """A server that is live, and whether it asks for a certificate."""
    credentials = grpc.ssl_server_credentials(
        [
            (
                certificates.server.private_key_pem.bytes(),
                certificates.server.cert_chain_pems[0].bytes(),
            )
        ],
        root_certificates=certificates.authority.cert_pem.bytes(),
        require_client_auth=request.param,
    )
    server = grpc.server(ThreadPoolExecutor(2))
    live = grpc.unary_unary_rpc_method_handler(
        lambda request, context: pb.ServerLiveResponse(live=True),
        pb.ServerLiveRequest.FromString,
        pb.ServerLiveResponse.SerializeToString,
    )
    handlers = grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {"ServerLive": live}
    )
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"localhost:{port}", request.param
    server.stop(grace=None).wait()


def test_a_server_is_trusted_by_its_authority(
    connect: Any, secured: tuple[str, bool], certificates: Any
) -> None:
    url, mutual = secured
    tls = TLS(ca=certificates.ca, certificate=certificates.certificate, key=certificates.key)
    with connect(url, tls=tls, token="a secret") as client:
        assert client.live()
    with connect(url, tls=TLS(ca=certificates.ca)) as client:
        assert client.live() is not mutual


def test_a_stranger_s_certificate_is_refused(connect: Any, secured: tuple[str, bool]) -> None:
    with (
        connect(secured[0], tls=True, retry=None) as client,
        pytest.raises(Unavailable, match="is not trusted"),
    ):
        client.info()


def test_a_certificate_of_another_name_is_refused(
    connect: Any, secured: tuple[str, bool], certificates: Certificates
) -> None:
    files = {
        "ca": certificates.ca,
        "certificate": certificates.certificate,
        "key": certificates.key,
    }
    with connect(secured[0], tls=TLS(**files, server_name="boxwise.test")) as client:
        assert client.live()
    with (
        connect(secured[0], tls=TLS(**files, server_name="other.test"), retry=None) as client,
        pytest.raises(Unavailable, match="is not trusted"),
    ):
        client.info()


def test_a_server_without_tls_is_said_so(connect: Any, server: Any) -> None:
    with (
        connect(server.url, tls=True, retry=None) as client,
        pytest.raises(Unavailable, match="TLS failed"),
    ):
        client.info()


@pytest.mark.parametrize("which", ["ca", "certificate"])
def test_a_file_that_can_not_be_used_is_named(connect: Any, tmp_path: Path, which: str) -> None:
    broken = tmp_path / "broken.pem"
    with pytest.raises(InvalidArgument, match="No such file"):
        connect("localhost:1", tls=TLS(**{which: broken}))
    broken.write_text("no certificate")
    with pytest.raises(InvalidArgument, match=r"cannot use .*broken\.pem: it is not PEM"):
        connect("localhost:1", tls=TLS(**{which: broken}))
    with pytest.raises(InvalidArgument, match="a key without a certificate"):
        connect("localhost:1", tls=TLS(key=broken))


def test_nothing_secret_is_logged(
    connect: Any, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with connect(
        server.url, pipeline="street", token="a secret", metadata={"x-key": "another"}
    ) as client:
        client.predict(b"jpeg")
    written = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "street" in written
    assert "a secret" not in written
    assert "another" not in written

"""Who and what the front turns away, and by which gRPC status."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from contract_support.http2 import SERVICE
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from front_support.front import Front, Keys, running
from front_support.server import ADMIN_KEY, IMAGE, Server
from front_support.wire import Wire, message
from tritonclient.grpc import service_pb2

from boxwise import AccessDenied, BoxwiseError, InvalidImage, Overloaded

BAD_TOKENS: dict[str, Callable[[Keys], str]] = {
    "none": lambda keys: "",
    "no token at all": lambda keys: "secret",
    "expired": lambda keys: keys.token(exp=1_700_000_000),
    "for ever": lambda keys: keys.token(exp=None),
    "of another issuer": lambda keys: keys.token(iss="https://another.example"),
    "signed by another key": lambda keys: keys.token(Ed25519PrivateKey.generate()),
    "changed": lambda keys: (
        keys.token(sub="one").rpartition(".")[0] + "." + keys.token(sub="two").rpartition(".")[2]
    ),
}
METHODS = [
    each.name for each in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
]
PASSES = {"ModelInfer", "ModelReady", "ModelMetadata", "ServerLive", "ServerReady"}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_token_that_is_not_good_is_unauthenticated(
    name: str, kind: Any, front: Front, keys: Keys
) -> None:
    with front.client(kind, token=BAD_TOKENS[name](keys)) as client:
        with pytest.raises(AccessDenied, match="Jwt") as caught:
            client.predict(IMAGE)
        assert caught.value.code == "UNAUTHENTICATED"
        with pytest.raises(AccessDenied):
            client.live()


def test_a_token_for_another_service_is_denied(kind: Any, front: Front, keys: Keys) -> None:
    client = front.client(kind, token=keys.token(aud="another"))
    with client, pytest.raises(AccessDenied, match="Audiences in Jwt are not allowed") as caught:
        client.predict(IMAGE)
    assert caught.value.code == "PERMISSION_DENIED"


def test_client_certificates_are_asked_for_by_the_lines_that_are_comments(
    front_with: Callable[..., Front], keys: Keys, tmp_path: Path
) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(keys.folder / "tls" / "clients-ca.crt")
    front = front_with(
        {f"# {line}": line for line in ("validation_context:", "require_client_certificate:")}
    )
    for authority, let_in in ((ours, True), (theirs, False)):
        certificate = tmp_path / "client.pem"
        authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(certificate)
        with front.client(certificate=certificate, timeout_s=2) as client:
            assert client.live() is let_in
    with front.client(timeout_s=2) as client:
        assert not client.live()


def test_who_speaks_no_tls_gets_nothing(front: Front) -> None:
    with Wire(front.port) as wire:
        with contextlib.suppress(ConnectionError):  # closed while we speak
            wire.flush()
        wire.wait_until_closed(5)


@pytest.mark.parametrize("method", ["", *METHODS, "ModelInferX", "modelinfer"])
def test_only_inference_and_health_pass(method: str, front: Front, keys: Keys) -> None:
    with Wire(front.port, front.ca) as wire:
        reply = wire.call(SERVICE + method, message(b""), keys.bearer(sub=method))
    refused = reply["grpc-status"] == "7" and "only inference and health" in reply["grpc-message"]
    assert refused is (method not in PASSES), reply


@pytest.mark.parametrize(
    "path", ["/grpc.health.v1.Health/Check", "/v2/models/dots/infer", f"/x{SERVICE}ModelInfer"]
)
def test_nothing_else_passes(path: str, front: Front, keys: Keys) -> None:
    with Wire(front.port, front.ca) as wire:
        assert wire.call(path, message(b""), keys.bearer())["grpc-status"] == "7"


def test_the_key_of_a_restricted_protocol_does_not_pass(
    front: Front, triton: Server, keys: Keys
) -> None:
    method = SERVICE + "ModelMetadata"
    with Wire(triton.port) as wire:
        # Let in, and asked for no model.
        assert wire.call(method, message(b""), ADMIN_KEY)["grpc-status"] == "5"
    with Wire(front.port, front.ca) as wire:
        reply = wire.call(method, message(b""), keys.bearer(), ADMIN_KEY)
    assert "This protocol is restricted" in reply["grpc-message"]


class Recorder(grpc.GenericRpcHandler):
    """A server that says yes to everything, and remembers the headers of each call."""

    def __init__(self) -> None:
        self.headers: list[set[str]] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if handler_call_details.method == SERVICE + "ServerLive":
            self.headers.append({name for name, _ in handler_call_details.invocation_metadata})
        # Of health, SERVING.
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")


def test_what_is_for_the_front_alone_does_not_reach_the_server(keys: Keys, tmp_path: Path) -> None:
    server, recorder = grpc.server(ThreadPoolExecutor(2)), Recorder()
    server.add_generic_rpc_handlers((recorder,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sent = [keys.bearer(), ADMIN_KEY, ("x-envoy-max-retries", "9"), ("traceparent", "00-1-2-01")]
    try:
        with running(keys, port, tmp_path) as front, Wire(front.port, front.ca) as wire:
            assert wire.call(SERVICE + "ServerLive", message(b""), *sent)["grpc-status"] == "0"
    finally:
        server.stop(None)
    (arrived,) = recorder.headers
    assert arrived & {name for name, _ in sent} == {"traceparent"}


def test_an_image_over_the_cap_is_an_invalid_image(kind: Any, front: Front) -> None:
    with (
        front.client(kind) as client,
        pytest.raises(InvalidImage, match="larger than 8 MiB") as caught,
    ):
        client.predict(IMAGE + bytes(8 << 20))
    assert (caught.value.code, caught.value.retryable) == ("INVALID_ARGUMENT", False)


def test_a_client_that_compresses_hears_why_it_must_not(front: Front, keys: Keys) -> None:
    trust = grpc.ssl_channel_credentials(front.ca.read_bytes())
    with grpc.secure_channel(front.url, trust) as channel:
        live = channel.unary_unary(SERVICE + "ServerLive")
        with pytest.raises(grpc.RpcError) as caught:
            live(b"\x0a\x00" * 1000, metadata=[keys.bearer()], compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
        assert "compressed messages are not taken" in caught.value.details()  # type: ignore[attr-defined]


def _outcomes(client: Any, count: int) -> list[BoxwiseError | None]:
    return [outcome.error for outcome in client.predict_many([IMAGE] * count, concurrency=4)]


# The bucket that is made small, and whether another client is then let in.
RATES = {
    "each client's own": ("{max_tokens: 100, tokens_per_fill: 50", True),
    "that of all": ("{max_tokens: 200, tokens_per_fill: 100", False),
}


@pytest.mark.parametrize("name", RATES)
def test_over_the_rate_is_an_overload_that_passes(
    name: str, kind: Any, front_with: Callable[..., Front], keys: Keys
) -> None:
    bucket, others_pass = RATES[name]
    front = front_with({bucket: "{max_tokens: 5, tokens_per_fill: 5"})
    with (
        front.client(kind, token=keys.token(sub="greedy")) as greedy,
        front.client(token=keys.token(sub="modest")) as modest,
    ):
        errors = _outcomes(greedy, 40)
        assert None in errors
        for error in filter(None, errors):
            assert isinstance(error, Overloaded)
            assert (error.code, error.server_message) == (
                "RESOURCE_EXHAUSTED",
                "local_rate_limited",
            )
        assert any(errors)
        assert (_outcomes(modest, 1) == [None]) is others_pass
        time.sleep(1.1)
        assert len(greedy.predict(IMAGE)) == 12


def test_more_calls_under_way_than_allowed_are_an_overload(
    front_with: Callable[..., Front],
) -> None:
    front = front_with(
        {
            "max_requests: 64": "max_requests: 1",
            "max_pending_requests: 64": "max_pending_requests: 1",
        }
    )
    with front.client() as client:
        client.info()
        errors = [outcome.error for outcome in client.predict_many([IMAGE] * 30, concurrency=8)]
    assert None in errors
    refused = [error for error in errors if error is not None]
    assert refused
    for error in refused:
        assert isinstance(error, Overloaded)
        assert error.server_message == "too many requests are under way"

"""A server that speaks Triton's gRPC protocol with scripted replies: the real one is driven in
tests/e2e.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from contract_support.either import CLIENTS
from tritonclient.grpc import service_pb2 as pb

INFO = {
    "contract": 1,
    "pipeline": "street",
    "detector": {
        "labels": ["cat", "cup"],
        "score_threshold": 0.25,
        "iou_threshold": 0.5,
        "max_detections": 100,
    },
    "classifiers": [
        {"name": "imagenet", "labels": ["mug", "tabby", "espresso"], "top_k": 2, "only": [1]}
    ],
    "limits": {"max_pixels": 25_000_000},
    "digests": {"detector": "sha256:00"},
}
OBJECTS = {
    "boxes": np.array([[10, 20, 40, 60], [1, 2, 3, 4]], np.float32),
    "scores": np.array([0.75, 0.5], np.float32),
    "class_ids": np.array([1, 0], np.int32),
    "image_size": np.array([64, 96], np.int32),
    "imagenet_ids": np.array([[2, 0], [-1, -1]], np.int32),
    "imagenet_scores": np.array([[0.875, 0.125], [0, 0]], np.float32),
}
"""Two objects in an image of 96 x 64: a cup, an espresso says the classifier, and a cat that it is
not asked about.
"""


class ScriptedServer:
    """Answers each model as it was last told to, and keeps the requests."""

    def __init__(self, port: int) -> None:
        self.url = f"127.0.0.1:{port}"
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.delay_s = 0.0
        self.refusal: Callable[[Any], tuple[grpc.StatusCode, str] | None] = lambda request: None
        self._replies: dict[str, Any] = {}

    def describe(self, pipeline: str, info: Mapping[str, Any]) -> None:
        """Answer `<pipeline>_info` with this document."""
        document = json.dumps(info).encode()
        reply = pb.ModelInferResponse(model_name=f"{pipeline}_info")
        reply.outputs.add(name="info", datatype="BYTES", shape=[1])
        reply.raw_output_contents.append(struct.pack("<I", len(document)) + document)
        self._replies[f"{pipeline}_info"] = reply

    def answer(self, model: str, outputs: Mapping[str, np.ndarray]) -> None:
        """Answer `model` with these tensors."""
        reply = pb.ModelInferResponse(model_name=model)
        for name, array in outputs.items():
            datatype = {"f": "FP32", "i": "INT32"}[array.dtype.kind]
            reply.outputs.add(name=name, datatype=datatype, shape=array.shape)
            reply.raw_output_contents.append(array.tobytes())
        self._replies[model] = reply

    def refuse(self, model: str, code: grpc.StatusCode, details: str) -> None:
        """Answer `model` with a gRPC status."""
        self._replies[model] = (code, details)

    def infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        time.sleep(self.delay_s)
        reply = self.refusal(request) or self._replies.get(request.model_name)
        if reply is None:
            # as Triton 2.51 words it
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Request for unknown model: '{request.model_name}' is not found",
            )
        if isinstance(reply, tuple):
            context.abort(*reply)
        return reply

    def model_ready(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.ModelReadyResponse(ready=request.name in self._replies)


@pytest.fixture(params=sorted(CLIENTS))
def connect(request: pytest.FixtureRequest) -> Any:
    """`Client`, and `AsyncClient` behind the same methods."""
    return CLIENTS[request.param]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server of the pipeline "street": it answers INFO, and OBJECTS for every image."""
    grpc_server = grpc.server(
        ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)]
    )
    scripted = ScriptedServer(grpc_server.add_insecure_port("127.0.0.1:0"))
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(
            scripted.infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
        ),
        "ModelReady": grpc.unary_unary_rpc_method_handler(
            scripted.model_ready,
            pb.ModelReadyRequest.FromString,
            pb.ModelReadyResponse.SerializeToString,
        ),
    }
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
    grpc_server.add_generic_rpc_handlers((service,))
    scripted.describe("street", INFO)
    scripted.answer("street", OBJECTS)
    scripted.answer("street_raw", OBJECTS)
    grpc_server.start()
    yield scripted
    grpc_server.stop(grace=None).wait()


@pytest.fixture
def info_document() -> dict[str, Any]:
    """What the scripted pipeline says of itself; yours to change."""
    return json.loads(json.dumps(INFO))


@pytest.fixture
def outputs() -> dict[str, np.ndarray]:
    """What the scripted pipeline answers; yours to change."""
    return {name: array.copy() for name, array in OBJECTS.items()}

"""`python -m proxies_support.backend PORT [LIMIT [AGE_MS]]`: a grpcio server that costs little, a
process of its own.

Its reply to an image has 16 KB, and in place of the image's size the checksum of what arrived. A
connection has LIMIT concurrent streams, and gets a GOAWAY after AGE_MS.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from boxwise import PipelineInfo
from boxwise._info import DetectorInfo
from boxwise._protocol import messages
from boxwise_contract.tensors import VERSION

PIPELINE = "boxwise"
BOXES = 700  # of 24 bytes
INFO = PipelineInfo(VERSION, PIPELINE, DetectorInfo(("dot",), 0.25, 0.5, BOXES), (), {}, {})
COLUMNS = {
    "boxes": np.arange(4 * BOXES, dtype=np.float32).reshape(BOXES, 4),
    "scores": np.linspace(1, 0.5, BOXES, dtype=np.float32),
    "class_ids": np.zeros(BOXES, np.int32),
}


def checksum(image: bytes) -> tuple[int, int]:
    """What stands for the height and width of an image."""
    number = zlib.crc32(image)
    return number >> 16, number & 0xFFFF


def infer(request: bytes, _: grpc.ServicerContext) -> bytes:
    asked = messages().ModelInferRequest.FromString(request)
    if asked.model_name == f"{PIPELINE}_info":
        document = json.dumps(dataclasses.asdict(INFO)).encode()
        reply = messages().ModelInferResponse(model_name=asked.model_name, model_version="1")
        reply.outputs.add(name="info", datatype="BYTES", shape=[1])
        reply.raw_output_contents.append(struct.pack("<I", len(document)) + document)
        return bytes(reply.SerializeToString())
    columns = COLUMNS | {"image_size": np.array(checksum(asked.raw_input_contents[0]), np.int32)}
    reply = messages().ModelInferResponse(model_name=PIPELINE, model_version="1", id=asked.id)
    for name, array in columns.items():
        reply.outputs.add(
            name=name, datatype={"f": "FP32", "i": "INT32"}[array.dtype.kind], shape=array.shape
        )
        reply.raw_output_contents.append(array.tobytes())
    return bytes(reply.SerializeToString())


def serve(port: int, limit: int, age_ms: int) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    options += [("grpc.max_concurrent_streams", limit)] if limit else []
    options += (
        [("grpc.max_connection_age_ms", age_ms), ("grpc.max_connection_age_grace_ms", 10_000)]
        if age_ms
        else []
    )
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}  # messages as they came
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    serve(*(int(each) for each in [*sys.argv[1:], "0", "0"][:3]))

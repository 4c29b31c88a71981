"""Triton's gRPC protocol: the paths of the calls, and the messages, imported when first needed.

The messages come with `tritonclient.grpc`, whose import takes about as long again as all the rest of this package.
"""

from __future__ import annotations

from functools import cache
from typing import Any

INFER = "/inference.GRPCInferenceService/ModelInfer"
READY = "/inference.GRPCInferenceService/ModelReady"

# protobuf's own limit. Pictures and frames are far larger than the 4 MB that gRPC accepts unless told otherwise.
MAX_MESSAGE_BYTES = 2**31 - 1


@cache
def messages() -> Any:
    """The module of the protocol's protobuf messages (`ModelInferRequest`, ...)."""
    from tritonclient.grpc import service_pb2

    return service_pb2

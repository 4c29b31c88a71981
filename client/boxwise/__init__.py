"""The boxwise client SDK: an image goes in, every object in it comes back.

    Client, AsyncClient ─▶ Session (_session.py): each call is a generator of I/O steps
    image ─▶ Tensor (_image.py) ─▶ request (_request.py) ─▶ gRPC on HTTP/2 (_grpc.py, _http2.py)
    steps ─▶ sockets of threads (_blocking.py) or of asyncio (_asynchronous.py) ─▶ server
    response (_response.py) ─▶ Result (_result.py), or a gRPC status ─▶ BoxwiseError (_errors.py)

>>> from boxwise import Client
>>> with Client("localhost:8001") as client:
...     result = client.predict("street.jpg")
...     result.draw().save("out.png")
"""

from boxwise._async_client import AsyncClient
from boxwise._batch import Outcome
from boxwise._client import Client
from boxwise._detections import Detection, Label
from boxwise._errors import (
    AccessDenied,
    BoxwiseError,
    Cancelled,
    ContractMismatch,
    DeadlineExceeded,
    InvalidArgument,
    InvalidImage,
    InvalidInput,
    Overloaded,
    ServerError,
    StageFailed,
    Unavailable,
    UnknownPipeline,
)
from boxwise._image import ImageLike, Transfer
from boxwise._info import ClassifierInfo, DetectorInfo, PipelineInfo
from boxwise._options import CallOptions
from boxwise._policy import Hedge, Retry
from boxwise._prediction import Prediction
from boxwise._result import Result, Timings
from boxwise._security import TLS
from boxwise._video import Frame

__version__: str

__all__ = [
    "TLS",
    "AccessDenied",
    "AsyncClient",
    "BoxwiseError",
    "CallOptions",
    "Cancelled",
    "ClassifierInfo",
    "Client",
    "ContractMismatch",
    "DeadlineExceeded",
    "Detection",
    "DetectorInfo",
    "Frame",
    "Hedge",
    "ImageLike",
    "InvalidArgument",
    "InvalidImage",
    "InvalidInput",
    "Label",
    "Outcome",
    "Overloaded",
    "PipelineInfo",
    "Prediction",
    "Result",
    "Retry",
    "ServerError",
    "StageFailed",
    "Timings",
    "Transfer",
    "Unavailable",
    "UnknownPipeline",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        # A fifth of this package's import time, for an attribute that few read.
        from importlib.metadata import version

        return version("boxwise")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The boxwise client SDK: an image goes in, every object in it comes back.

>>> from boxwise import Client
>>> with Client("localhost:8001") as client:
...     result = client.predict("street.jpg")
...     result.draw().save("out.png")
"""

from boxwise._client import Client
from boxwise._errors import (
    BoxwiseError,
    ContractMismatch,
    DeadlineExceeded,
    InvalidInput,
    ServerError,
    Unavailable,
    UnknownPipeline,
)
from boxwise._image import ImageLike
from boxwise._info import ClassifierInfo, DetectorInfo, PipelineInfo
from boxwise._result import Detection, Label, Result

__version__: str

__all__ = [
    "BoxwiseError",
    "ClassifierInfo",
    "Client",
    "ContractMismatch",
    "DeadlineExceeded",
    "Detection",
    "DetectorInfo",
    "ImageLike",
    "InvalidInput",
    "Label",
    "PipelineInfo",
    "Result",
    "ServerError",
    "Unavailable",
    "UnknownPipeline",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # takes a fifth of this package's import time, for what few ask for

        return version("boxwise")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

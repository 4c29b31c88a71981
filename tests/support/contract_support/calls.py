"""The server as any client sees it: plain tritonclient, named arrays in, named arrays out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Array = NDArray[Any]
Answer = dict[str, Array]

OPTION_TYPES = {
    "score_threshold": np.float32,
    "iou_threshold": np.float32,
    "max_detections": np.int32,
    "class_filter": np.int32,
}


@dataclass(frozen=True)
class Refusal:
    """How a request was refused: the gRPC status, the sentence, and how long it took."""

    status: str
    sentence: str
    milliseconds: float


class Triton:
    """One server."""

    def __init__(self, grpc_url: str, http_url: str) -> None:
        self.grpc_url = grpc_url
        self.http_url = http_url
        self.client = grpcclient.InferenceServerClient(grpc_url)

    def infer(
        self, model: str, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> Answer:
        """Send these tensors; every output by name, or those that are asked for."""
        tensors = []
        for name, values in inputs.items():
            tensor = grpcclient.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            tensors.append(tensor)
        asked = [grpcclient.InferRequestedOutput(name) for name in outputs] if outputs else None
        result = self.client.infer(model, tensors, outputs=asked)
        return {
            output.name: result.as_numpy(output.name) for output in result.get_response().outputs
        }

    def predict(self, pipeline: str, file: bytes, **options: Any) -> Answer:
        """Ask about an encoded image; options as numbers or lists."""
        return self.infer(pipeline, {"image": np.frombuffer(file, np.uint8), **as_tensors(options)})

    def predict_raw(self, pipeline: str, frame: NDArray[np.uint8], **options: Any) -> Answer:
        """Ask about RGB pixels."""
        return self.infer(
            f"{pipeline}_raw", {"frame": np.ascontiguousarray(frame), **as_tensors(options)}
        )

    def refusal(self, model: str, inputs: Mapping[str, Array]) -> Refusal:
        """Send what must be refused."""
        start = time.perf_counter()
        try:
            answer = self.infer(model, inputs)
        except InferenceServerException as error:
            elapsed = (time.perf_counter() - start) * 1000
            return Refusal(
                str(error.status()).removeprefix("StatusCode."), str(error.message()), elapsed
            )
        raise AssertionError(
            f"answered, not refused: { ({name: v.shape for name, v in answer.items()}) }"
        )


def as_tensors(options: Mapping[str, Any]) -> dict[str, Array]:
    """Request options as the tensors of the contract."""
    return {
        name: np.atleast_1d(np.asarray(value, OPTION_TYPES[name]))
        for name, value in options.items()
    }


def assert_same(one: Answer, other: Answer) -> None:
    """Equal to the last bit."""
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_well_formed(
    answer: Answer, count: int, top_k: Mapping[str, int], *, height: int, width: int
) -> None:
    """The contract's types and shapes, boxes within the image, best score first."""
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "boxes": (np.float32, (count, 4)),
        "scores": (np.float32, (count,)),
        "class_ids": (np.int32, (count,)),
        "image_size": (np.int32, (2,)),
    }
    for name, k in top_k.items():
        expected |= {
            f"{name}_ids": (np.int32, (count, k)),
            f"{name}_scores": (np.float32, (count, k)),
        }
    assert {name: (values.dtype.type, values.shape) for name, values in answer.items()} == expected
    assert answer["image_size"].tolist() == [height, width]
    boxes = answer["boxes"]
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (np.diff(answer["scores"]) <= 0).all()

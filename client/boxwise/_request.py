"""Tensors become a serialised `ModelInferRequest`: header by protobuf, and the payloads behind it,
not copied.

protobuf would copy each payload twice, once into the message and once out of it: 19 ms for a raw
1080p frame. The wire format allows it: `raw_input_contents` has the highest field number, so its
entries follow the rest of the message, each as tag, length, bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np

from boxwise._errors import InvalidArgument
from boxwise._http2 import Buffer
from boxwise._protocol import messages
from boxwise._words import shortened
from boxwise_contract import IMAGE, OPTIONS, RequestOptions, info_model, raw_model

_RAW_INPUT_CONTENTS = b"\x3a"  # field 7, length-delimited


_DATATYPES = {option.name: option.datatype for option in OPTIONS}


class Slot(NamedTuple):
    """Where a tensor lies in a shared memory region that the server knows by name."""

    region: str
    offset: int
    size: int


class Tensor(NamedTuple):
    """One input as the server sees it; `payload` is the bytes of its elements, C-contiguous and
    little-endian.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    payload: Buffer


def infer_request(
    model: str, tensors: Iterable[Tensor], *, request_id: str = "", slot: Slot | None = None
) -> list[Buffer]:
    """A serialised `ModelInferRequest`, in pieces; joined, byte for byte what tritonclient sends
    for these inputs.

    Args:
        model: that is asked.
        tensors: its inputs.
        request_id: comes back in the server's log and traces.
        slot: where the first tensor lies instead of in the message.
    """
    header = messages().ModelInferRequest(model_name=model, id=request_id)
    chunks: list[Buffer] = []
    for name, datatype, shape, payload in tensors:
        entry = header.inputs.add()
        entry.name = name
        entry.datatype = datatype
        entry.shape.extend(shape)
        if slot is not None:
            entry.parameters["shared_memory_region"].string_param = slot.region
            entry.parameters["shared_memory_byte_size"].int64_param = slot.size
            if slot.offset:
                entry.parameters["shared_memory_offset"].int64_param = slot.offset
            slot = None
            continue
        chunks.append(_RAW_INPUT_CONTENTS + varint(len(payload)))
        chunks.append(payload)
    return [header.SerializeToString(), *chunks]


def info_request(pipeline: str) -> list[Buffer]:
    """Asks a pipeline about itself."""
    return infer_request(info_model(pipeline), ())


def predict_request(
    pipeline: str,
    image: Tensor,
    options: RequestOptions | None = None,
    *,
    request_id: str = "",
    slot: Slot | None = None,
) -> list[Buffer]:
    """Asks a pipeline about one image.

    Args:
        pipeline: its name.
        image: `image` UINT8 [bytes], or `frame` UINT8 [height, width, 3], as
            `boxwise._image.to_tensor` makes them.
        options: of this request.
        request_id: see `infer_request`.
        slot: where the image lies in shared memory.

    Raises:
        InvalidArgument: an argument is not a number, or one that its tensor cannot hold.
    """
    model = pipeline if image.name == IMAGE.name else raw_model(pipeline)
    tensors = [image]
    for name, value in (options or {}).items():
        if value is not None:
            tensors.append(_option(name, cast("float | Sequence[int]", value)))
    return infer_request(model, tensors, request_id=request_id, slot=slot)


def varint(number: int) -> bytes:
    """A length in protobuf's base 128, lowest digits first: 300 is `ac 02`."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _option(name: str, value: float | Sequence[int]) -> Tensor:
    """An optional input: one value or several, as a vector."""
    datatype = _DATATYPES[name]
    values = np.atleast_1d(value).tolist()
    try:
        payload = struct.pack(f"<{len(values)}{_PACKED_AS[datatype]}", *values)
    except (struct.error, OverflowError) as error:
        expected = "numbers" if datatype == "FP32" else "whole numbers"
        raise InvalidArgument(
            f"{name}: expected {expected} that fit {datatype}, got {shortened(repr(value))}"
        ) from error
    return Tensor(name, datatype, (len(values),), payload)


_PACKED_AS = {"FP32": "f", "INT32": "i"}

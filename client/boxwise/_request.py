"""Serialise a `ModelInferRequest`: a header by protobuf, followed by the payloads, uncopied.

protobuf would copy each payload into the message and out of it, 19 ms for a raw 1080p frame.
`raw_input_contents` has the highest field number, so its entries (tag, length, bytes) may follow
the rest of the message.
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
from boxwise_contract.options import OPTIONS, RequestOptions
from boxwise_contract.tensors import IMAGE, info_model, raw_model

_RAW_INPUT_CONTENTS = b"\x3a"  # field 7, length-delimited


_DATATYPES = {option.name: option.datatype for option in OPTIONS}


class Slot(NamedTuple):
    """The place of a tensor in a registered shared memory region."""

    region: str
    offset: int
    size: int


class Tensor(NamedTuple):
    """One input; `payload` holds its elements, C-contiguous and little-endian."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    payload: Buffer


def infer_request(
    model: str, tensors: Iterable[Tensor], *, request_id: str = "", slot: Slot | None = None
) -> list[Buffer]:
    """Return a serialised `ModelInferRequest` in pieces.

    Joined, they equal what tritonclient sends for these inputs, byte for byte.

    Args:
        model: its name.
        tensors: its inputs.
        request_id: appears in the server's log and traces.
        slot: the place of the first tensor, if it is in shared memory and not in the message.
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
    """Return the request for the description of a pipeline."""
    return infer_request(info_model(pipeline), ())


def predict_request(
    pipeline: str,
    image: Tensor,
    options: RequestOptions | None = None,
    *,
    request_id: str = "",
    slot: Slot | None = None,
) -> list[Buffer]:
    """Return the request for the objects in one image.

    Args:
        pipeline: its name.
        image: `image` UINT8 [bytes], or `frame` UINT8 [height, width, 3], as
            `boxwise._image.to_tensor` returns them.
        options: of this request.
        request_id: see `infer_request`.
        slot: the place of the image in shared memory; None to send it in the message.

    Raises:
        InvalidArgument: an option is not a number, or does not fit its datatype.
    """
    model = pipeline if image.name == IMAGE.name else raw_model(pipeline)
    tensors = [image]
    for name, value in (options or {}).items():
        if value is not None:
            tensors.append(_option(name, cast("float | Sequence[int]", value)))
    return infer_request(model, tensors, request_id=request_id, slot=slot)


def varint(number: int) -> bytes:
    """Encode a length in protobuf's base 128, lowest digits first: 300 is `ac 02`."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _option(name: str, value: float | Sequence[int]) -> Tensor:
    """Return an optional input: one value or several, as a vector."""
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

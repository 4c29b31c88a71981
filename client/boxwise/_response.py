"""Numpy arrays over the bytes of a `ModelInferResponse`."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise._errors import ContractMismatch
from boxwise_contract.tensors import DETECTIONS, DTYPES

_DTYPES = {spec.datatype: DTYPES[spec.datatype] for spec in DETECTIONS}  # no output has others


def arrays(response: Any) -> dict[str, NDArray[Any]]:
    """Return the outputs of a `ModelInferResponse` by name, read-only and uncopied.

    Raises:
        ContractMismatch: an output has a datatype that the contract lacks, or a number of bytes
            that does not match its shape.
    """
    found: dict[str, NDArray[Any]] = {}
    for output, content in _outputs(response):
        name, datatype, shape = output.name, output.datatype, tuple(output.shape)
        dtype = _DTYPES.get(datatype)
        if dtype is None:
            raise ContractMismatch(f"{name}: expected one of {', '.join(_DTYPES)}, got {datatype}")
        try:
            array: NDArray[Any] = np.ndarray(shape, dtype, content)
        except (TypeError, ValueError) as error:
            raise _mismatch(name, datatype, shape, content) from error
        if array.nbytes != len(content):
            raise _mismatch(name, datatype, shape, content)
        found[name] = array
    return found


def text(response: Any, name: str) -> str:
    """Return the string in the output `name` (BYTES [1]): its length in 4 bytes, then UTF-8.

    Raises:
        ContractMismatch: there is no such output, or it holds something else.
    """
    found = [each for each in _outputs(response) if each[0].name == name]
    if not found:
        raise ContractMismatch(
            f"{response.model_name} returns no {name!r}, so it is not a boxwise pipeline"
        )
    output, content = found[-1]
    shape = list(output.shape)
    if output.datatype != "BYTES" or math.prod(shape) != 1 or len(content) < 4:
        raise ContractMismatch(
            f"{name}: expected BYTES [1], got {output.datatype} {shape} of {len(content)} bytes"
        )
    (length,) = struct.unpack_from("<I", content)
    try:
        return content[4 : 4 + length].decode()
    except UnicodeDecodeError as error:
        raise ContractMismatch(f"{name}: expected text in UTF-8 ({error})") from error


def _mismatch(name: str, datatype: str, shape: tuple[int, ...], content: bytes) -> ContractMismatch:
    needed = math.prod(shape) * DTYPES[datatype].itemsize
    return ContractMismatch(
        f"{name}: {datatype} {list(shape)} needs {needed} bytes, got {len(content)}"
    )


def _outputs(response: Any) -> Iterator[tuple[Any, bytes]]:
    """Return each `InferOutputTensor` with its raw content."""
    outputs, contents = response.outputs, response.raw_output_contents
    if len(outputs) != len(contents):
        raise ContractMismatch(
            f"{response.model_name} returns {len(outputs)} outputs but {len(contents)} raw "
            "contents; expected one for each"
        )
    return zip(outputs, contents, strict=True)

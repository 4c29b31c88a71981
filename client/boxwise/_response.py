"""A `ModelInferResponse` becomes numpy arrays over the bytes it came with."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise._errors import ContractMismatch

_DTYPES = {"FP32": np.dtype("<f4"), "INT32": np.dtype("<i4")}


def arrays(response: Any) -> dict[str, NDArray[Any]]:
    """The outputs of a `ModelInferResponse` by name: read-only, not copied out of the reply.

    Raises:
        ContractMismatch: an output of a type that the contract does not have, or of more or fewer bytes than its
            shape says.
    """
    return {name: _array(name, *rest) for name, rest in _outputs(response).items()}


def text(response: Any, name: str) -> str:
    """The one string in the output `name` (BYTES [1]): its length as 4 bytes, then UTF-8.

    Raises:
        ContractMismatch: no such output, or it holds something else.
    """
    outputs = _outputs(response)
    if name not in outputs:
        raise ContractMismatch(f"{response.model_name} answers without {name!r}, so it is no boxwise pipeline")
    datatype, shape, content = outputs[name]
    if datatype != "BYTES" or math.prod(shape) != 1 or len(content) < 4:
        raise ContractMismatch(f"{name}: expected BYTES [1], got {datatype} {shape} of {len(content)} bytes")
    (length,) = struct.unpack_from("<I", content)
    try:
        return content[4 : 4 + length].decode()
    except UnicodeDecodeError as error:
        raise ContractMismatch(f"{name}: expected text in UTF-8 ({error})") from error


def _outputs(response: Any) -> dict[str, tuple[str, list[int], bytes]]:
    """Name -> datatype, shape, raw content."""
    outputs, contents = response.outputs, response.raw_output_contents
    if len(outputs) != len(contents):
        raise ContractMismatch(
            f"{response.model_name} answers with {len(outputs)} outputs but {len(contents)} raw contents; "
            "expected one for each"
        )
    return {
        output.name: (output.datatype, list(output.shape), content)
        for output, content in zip(outputs, contents, strict=True)
    }


def _array(name: str, datatype: str, shape: list[int], content: bytes) -> NDArray[Any]:
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise ContractMismatch(f"{name}: expected one of {', '.join(_DTYPES)}, got {datatype}")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ContractMismatch(
            f"{name}: {datatype} {shape} needs {math.prod(shape) * dtype.itemsize} bytes, got {len(content)}"
        )
    return np.frombuffer(content, dtype).reshape(shape)

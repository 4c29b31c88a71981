"""Read ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import (
    ExternalDataInfo,
    load_external_data_for_model,
    uses_external_data,
)

from boxwise_export.errors import SourceError
from boxwise_export.graphs.large_models import check_graph

# Protobuf's limit of one message (signed 32-bit lengths), and so of a model.onnx.
_MOST_BYTES = 2**31 - 1


def read_onnx(path: Path, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """Read an ONNX file, its external data included.

    Args:
        path: the file.
        outputs: keep only these of the graph's outputs; None keeps all.

    Raises:
        SourceError: no such file, not an ONNX model, of an opset that is not known, weights missing
            beside it, outside its folder or over 2 GB, or no such output.
    """
    model = _parse(path)
    _check_opset(path, model)
    _load_weights(path, model)
    try:
        check_graph(model, shapes=False)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise SourceError(
            f"{path}: not a valid ONNX model ({_one_line(error)}); export it again"
        ) from error
    if outputs is not None:
        found = {output.name: output for output in model.graph.output}
        if unknown := [name for name in outputs if name not in found]:
            raise SourceError(f"{path}: has no output {unknown[0]!r}; it has {', '.join(found)}")
        del model.graph.output[:]
        model.graph.output.extend(found[name] for name in outputs)
    return model


def _parse(path: Path) -> onnx.ModelProto:
    """Read the graph without its external data."""
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise _too_large(path, size)
        model = onnx.load_model(str(path), load_external_data=False)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from error
    except DecodeError as error:
        raise SourceError(
            f"{path}: not an ONNX model, or one that was cut off ({size:,} bytes)"
        ) from error
    if not model.graph.node:
        raise SourceError(f"{path}: not an ONNX model: it has no nodes ({size:,} bytes)")
    return model


def _check_opset(path: Path, model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise SourceError(
                f"{path}: opset {opset.version}, but onnx {onnx.__version__} knows up to {newest}; "
                "export it with an older opset, or install a newer onnx"
            )


def _load_weights(path: Path, model: onnx.ModelProto) -> None:
    """Read the weights that lie in files of their own."""
    external = {
        ExternalDataInfo(tensor).location
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
    }
    folder = path.parent.resolve()
    total = path.stat().st_size
    for location in sorted(external):
        file = (folder / location).resolve()
        if not file.is_relative_to(folder):
            raise SourceError(
                f"{path}: says that its weights are in {location}, outside its folder; that "
                "is not read"
            )
        if not file.is_file():
            raise SourceError(
                f"{path}: its weights are in {location}, which is not beside it; put both "
                "into one folder"
            )
        total += file.stat().st_size
    if total > _MOST_BYTES:
        raise _too_large(path, total)
    try:
        load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise SourceError(f"{path}: its weights cannot be read ({_one_line(error)})") from error


def _too_large(path: Path, size: int) -> SourceError:
    return SourceError(
        f"{path}: {size / 1e9:.1f} GB of weights; an ONNX graph is exported up to "
        f"{_MOST_BYTES / 1e9:.1f} GB. Export it in fp16, or choose a smaller model"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

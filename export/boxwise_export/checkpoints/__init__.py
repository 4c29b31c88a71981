"""Read checkpoints into ONNX: one module for each kind, which returns a `Source`.

pipeline.yaml's weights ─ read_source ─▶ onnx_file, tfjs, pytorch, torchvision, timm,
                                         ultralytics, transformers ─▶ Source
Source ─ network.py ─▶ Network: its size settled, its batch opened, run once on noise
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boxwise_export.checkpoints.base import Detections, Preprocessing, Source, file_digest, onnx_run
from boxwise_export.checkpoints.onnx_file import read_onnx
from boxwise_export.checkpoints.onnx_metadata import (
    read_licence,
    read_metadata,
    read_names,
    read_preprocessing,
)
from boxwise_export.errors import SourceError
from boxwise_export.labels import read_labels
from boxwise_export.pipeline import Weights

__all__ = ["Detections", "Preprocessing", "Source", "SourceError", "read_source"]


def read_source(weights: Weights, key: str, size: tuple[int, int] | None) -> Source:
    """Read a checkpoint of any kind.

    Args:
        weights: from the pipeline file.
        key: its key there, for errors.
        size: height and width of the images, if the file gives them; a PyTorch checkpoint needs
            them.

    Raises:
        SourceError: the kind is unknown, or the file cannot be read.
    """
    if weights.source is not None:
        return _read_framework(weights, key, size)
    file = weights.file
    assert file is not None  # noqa: S101 (Weights has one of the two)
    if not file.exists():
        raise SourceError(f"{key}: no such file: {file}")
    if file.is_dir():
        return _read_folder(weights, file, key, size)
    match file.suffix.lower():
        case ".onnx":
            model = read_onnx(file, weights.outputs)
            return Source(
                model,
                onnx_run(model),
                "ONNX file",
                file_digest(file),
                licence=read_licence(model),
                labels=read_names(model),
                preprocessing=read_preprocessing(model),
                metadata=read_metadata(model),
            )
        case ".json":
            from boxwise_export.checkpoints.tfjs import read_tfjs

            model = read_tfjs(file, weights.outputs)
            return Source(model, onnx_run(model), "TensorFlow.js graph model", file_digest(file))
        case ".pt" | ".pth":
            return _read_torch(weights, file, key, size)
        case ".tflite":
            raise SourceError(
                f"{key}: {file.name} is a TensorFlow Lite file, which is not read; convert it to "
                "ONNX, with `python -m tf2onnx.convert --tflite FILE --output model.onnx`, and "
                "check the result with `boxwise inspect`"
            )
        case suffix:
            raise SourceError(
                f"{key}: {file.name} ends in {suffix or 'nothing'}; expected .onnx, a TFJS "
                "model.json, a PyTorch .pt or .pth, or a folder of transformers"
            )


def _read_folder(weights: Weights, folder: Path, key: str, size: tuple[int, int] | None) -> Source:
    """Read what a training of ultralytics left, or a model of transformers."""
    if not (folder / "args.yaml").is_file():
        from boxwise_export.checkpoints.transformers import read_transformers

        return read_transformers(folder, size)
    trained = weights.model_copy(update={"file": _trained_weights(folder)})
    source, data = read_source(trained, key, size), folder / "data.yaml"
    if source.labels or not data.is_file():
        return source
    return replace(source, labels=read_labels(str(data), key))


def _read_torch(weights: Weights, file: Path, key: str, size: tuple[int, int] | None) -> Source:
    if weights.architecture is None and weights.trust_pickle:
        from boxwise_export.checkpoints.ultralytics import read_ultralytics

        return read_ultralytics(None, file, size, trust_pickle=True)
    if weights.architecture is None or size is None:
        needed = {
            "architecture (package.module:factory)": weights.architecture,
            "size of its input": size,
        }
        missing = " and the ".join(what for what, given in needed.items() if given is None)
        raise SourceError(
            f"{key}: a PyTorch checkpoint holds weights only; name the {missing} as well, or the "
            "`source:` that they belong to, as torchvision:resnet18. Of a model that ultralytics "
            "saved, say `trust_pickle: true`"
        )
    from boxwise_export.checkpoints.pytorch import read_pytorch

    return read_pytorch(file, weights.architecture, weights.arguments, *size)


def _trained_weights(folder: Path) -> Path:
    """Return the checkpoint of a training folder of ultralytics: its ONNX export, or the best.

    Raises:
        SourceError: there is none.
    """
    for name in ("weights/best.onnx", "best.onnx", "weights/best.pt", "best.pt"):
        if (folder / name).is_file():
            return folder / name
    raise SourceError(
        f"{folder}: a folder of ultralytics, by its args.yaml, without weights/best.onnx or "
        "weights/best.pt"
    )


def _read_framework(weights: Weights, key: str, size: tuple[int, int] | None) -> Source:
    kind, _, name = str(weights.source).partition(":")
    if weights.file is not None and not weights.file.exists():
        raise SourceError(f"{key}: no such file: {weights.file}")
    match kind:
        case "torchvision":
            from boxwise_export.checkpoints.torchvision import read_torchvision

            return read_torchvision(name, weights.file, size)
        case "timm":
            from boxwise_export.checkpoints.timm import read_timm

            return read_timm(name, weights.file, size)
        case _:
            from boxwise_export.checkpoints.ultralytics import read_ultralytics

            return read_ultralytics(name, weights.file, size, trust_pickle=weights.trust_pickle)

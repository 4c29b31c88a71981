"""Turn a PyTorch module and its weights into a source: weights are read without running code,
loaded strictly, and the module is traced.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from boxwise_export.checkpoints.base import Floats, Run, file_digest
from boxwise_export.errors import SourceError
from boxwise_export.graphs.builder import OPSET
from boxwise_export.graphs.large_models import give_back_memory
from boxwise_runtime.canvas import Interpolation

State = Mapping[str, Any]
# The keys of the weights in the checkpoints of training scripts; the averaged ones are those that
# were evaluated.
_KEYS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model")


# Pillow antialiases when it shrinks an image, in every mode; OpenCV's area averages come nearest.
ANTIALIASED: dict[str, Interpolation] = {
    "nearest": "nearest",
    "bilinear": "area",
    "bicubic": "area",
    "lanczos": "area",
    "box": "area",
    "hamming": "area",
}


def needs(package: str, extra: str, what: str) -> SourceError:
    """Return the error for a package that is not installed."""
    return SourceError(f'{what} needs {package}: pip install "boxwise[export,{extra}]"')


def not_downloaded(source: str, error: Exception, file: str) -> SourceError:
    """Return the error for weights that a framework knows but cannot download; `file` is an example
    of their name.
    """
    return SourceError(
        f"{source}: its weights cannot be downloaded ({one_line(error)}); name a file of them: "
        f"`weights: {{source: {source}, file: {file}}}`"
    )


def read_state(path: Path) -> State:
    """The weights in a file, by name: a state dict, a dict that holds one, or safetensors.

    Read with `weights_only=True`, so that a file can carry no code.

    Raises:
        SourceError: no such file, or not one of weights.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such file") from error
    except Exception as error:
        raise SourceError(f"{path}: not a file of PyTorch weights ({one_line(error)})") from error
    for key in _KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not state:
        raise SourceError(f"{path}: holds no weights by name, but a {type(state).__name__}")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def load_strictly(module: Any, state: State, path: Path, title: str) -> Any:
    """Load weights that must be exactly the module's; returns it, ready to be run.

    Raises:
        SourceError: they are of something else.
    """
    try:
        module.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: not the weights of {title}: {one_line(error)}") from error
    return module.eval()


def classes_in(state: State, module: Any, usual: int) -> int:
    """How many classes the weights are for, by how much longer their last layers are than those of
    `usual` classes.
    """
    for name, tensor in module.state_dict().items():
        rows = len(state[name]) if name in state and tensor.ndim else 0
        if rows and tensor.ndim and rows != len(tensor) and not rows * usual % len(tensor):
            return rows * usual // len(tensor)
    return usual


def trace(
    module: Any, outputs: Sequence[str], height: int, width: int, *, batched: bool = True
) -> onnx.ModelProto:
    """Export `module(images [B, 3, height, width]) -> outputs` to ONNX.

    Args:
        module: in eval mode.
        outputs: the names that its outputs get, in order.
        height: of the images, pixels.
        width: of the same.
        batched: whether the outputs have a batch, of any size.

    Raises:
        SourceError: PyTorch cannot export it.
    """
    import torch

    axes = {name: {0: "batch" if batched else f"{name}_rows"} for name in outputs}
    with (
        tempfile.TemporaryDirectory(prefix="boxwise-") as folder,
        warnings.catch_warnings(),
        torch.no_grad(),
    ):
        # The tracing exporter is announced as legacy; the other needs onnxscript, and cannot export
        # every model here.
        warnings.simplefilter("ignore")
        file = Path(folder, "model.onnx")
        try:
            torch.onnx.export(
                module,
                (torch.zeros(1, 3, height, width),),
                file,
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(outputs),
                dynamic_axes={"images": {0: "batch"}, **axes},
                dynamo=False,
            )
        except Exception as error:
            title = type(module).__name__
            raise SourceError(
                f"{title}: PyTorch cannot export it to ONNX ({one_line(error)})"
            ) from error
        give_back_memory()  # of the exporter's own copies of the weights
        return onnx.load_model(str(file))


def torch_run(module: Any, outputs: Sequence[str]) -> Run:
    """The module as a function of arrays."""
    import torch

    def run(batch: Floats) -> dict[str, Floats]:
        with torch.no_grad():
            given = module(torch.from_numpy(np.ascontiguousarray(batch)))
        given = given if isinstance(given, tuple | list) else (given,)
        return {
            name: np.asarray(values, np.float32)
            for name, values in zip(outputs, given, strict=True)
        }

    return run


def weights_digest(file: Path | None, module: Any) -> str:
    """SHA-256 of the file, or, where the framework found the weights itself, of all of them with
    their names.
    """
    if file is not None:
        return file_digest(file)
    total = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        total.update(name.encode() + b"\0" + tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def adapted(module: Any, forward: Callable[..., Any]) -> Any:
    """A module whose `forward(images)` is the function given, and whose weights are those of
    `module`.
    """
    import torch

    class Adapted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, images: Any) -> Any:
            return forward(images)

    return Adapted().eval()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

"""Arrays that a pipeline file names, as .npy files: anchors and prototypes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_export.errors import PipelineError


def read_anchors(file: Path) -> NDArray[np.float32]:
    """Read anchors [N, 4], xyxy in pixels of the canvas.

    Raises:
        PipelineError: the file cannot be read, or holds something else.
    """
    anchors = _read(file, "detector.anchors")
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        raise PipelineError(
            f"detector.anchors: {file} holds {list(anchors.shape)}; expected [N, 4], xyxy in pixels"
        )
    return np.asarray(anchors, np.float32)


def read_prototypes(file: Path, size: int, key: str) -> NDArray[np.float32]:
    """Read prototypes [labels, D], at least one.

    Args:
        file: the .npy.
        size: D, of the graph's embedding.
        key: of the classifier in the pipeline file, for errors.

    Raises:
        PipelineError: the file cannot be read, or holds something else.
    """
    prototypes = _read(file, f"{key}.prototypes")
    if prototypes.ndim != 2 or prototypes.shape[1] != size:
        shape = list(prototypes.shape)
        raise PipelineError(
            f"{key}.prototypes: {file} holds {shape}; expected [labels, {size}], as the "
            "embedding has"
        )
    if not np.isfinite(prototypes).all() or not prototypes.any(axis=1).all():
        raise PipelineError(
            f"{key}.prototypes: {file} has a row of zeros or one that is not finite: no direction"
        )
    return np.asarray(prototypes, np.float32)


def _read(file: Path, key: str) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{key}: {file} cannot be read ({error}); expected a .npy file"
        ) from error
    if values.dtype.kind not in "fiu":
        raise PipelineError(f"{key}: {file} holds {values.dtype}; expected numbers")
    return values

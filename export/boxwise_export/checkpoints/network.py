"""Read a checkpoint and run it once: its input, its outputs, and whether it takes batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from boxwise_export.checkpoints import Source, read_source
from boxwise_export.errors import PipelineError
from boxwise_export.graphs.batch import with_dynamic_batch
from boxwise_export.graphs.source import SourceInput, probe, read_input
from boxwise_export.pipeline import Weights

Report = Callable[[str], None]


@dataclass(frozen=True)
class Network:
    """A source's graph, ready for preprocessing and decoding around it.

    Attributes:
        source: what was read, without its graph, which is `model`.
        model: the graph, with a batch of any size if possible.
        input: of the graph; its batch is None (any) or 1.
        height: of the images, pixels.
        width: of the images, pixels.
        outputs: name -> its value for one image of noise, float32.
        alone: why the graph takes one image at a time; None if it takes any number.
    """

    source: Source
    model: onnx.ModelProto
    input: SourceInput
    height: int
    width: int
    outputs: Mapping[str, NDArray[np.float32]]
    alone: str | None


def read_network(
    weights: Weights, size: tuple[int, int] | None, key: str, size_key: str, report: Report
) -> Network:
    """Read a checkpoint, settle its size, open its batch and run it.

    Args:
        weights: from the pipeline file.
        size: height and width in the file.
        key: of the detector or classifier in the file, for errors.
        size_key: key of the size in the file, for errors.
        report: gets the reason if the graph takes one image at a time.

    Raises:
        ExportError: the checkpoint cannot be read or run, or has another size.
    """
    source = read_source(weights, f"{key}.weights", size)
    graph = read_input(source.model)
    height, width = _settle_size(graph, size or source.preprocessing.size, size_key)
    model, alone = source.model, None
    opened = with_dynamic_batch(model, graph, height, width)
    if isinstance(opened, str):
        alone = opened
        report(f"  one image at a time: {alone}")
    else:
        model = opened
    graph = replace(read_input(model), batch=1 if alone else None)
    source = replace(source, model=onnx.ModelProto())  # frees the copy
    return Network(source, model, graph, height, width, probe(model, graph, height, width), alone)


def _settle_size(graph: SourceInput, asked: tuple[int, int] | None, key: str) -> tuple[int, int]:
    """Return height and width: the graph's own, which the file must not contradict,
    or the file's.
    """
    if graph.height is not None and graph.width is not None:
        fixed = (graph.height, graph.width)
        if asked is not None and asked != fixed:
            raise PipelineError(
                f"{key}: {list(asked)}, but the graph takes {list(fixed)}; leave it out or "
                "correct it"
            )
        return fixed
    if asked is None:
        raise PipelineError(
            f"{key}: the graph takes images of any size; say which it was trained on"
        )
    return asked

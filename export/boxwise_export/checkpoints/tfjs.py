"""The TFJS source: a TensorFlow.js graph model (`model.json` and its weight shards) as a float32
ONNX model.
"""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from onnx import helper

from boxwise_export.checkpoints.tfjs_graph import Array, Graph, Node
from boxwise_export.checkpoints.tfjs_ops import OPS
from boxwise_export.errors import SourceError
from boxwise_export.graphs.builder import IR_VERSION, OPSET

# How the manifest's dtypes lie in a shard, all little-endian.
_STORED = {
    "float32": "<f4",
    "float16": "<f2",
    "int32": "<i4",
    "uint16": "<u2",
    "uint8": "|u1",
    "bool": "|b1",
}


def read_tfjs(model_json: Path, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """Read a TFJS graph model, with plain, float16, uint8 or uint16 weights, as an ONNX model
    (opset 17).

    `outputs` names the nodes to keep (default: those of the model's signature); what they do not
    need is dropped. Inputs and outputs are float32 and keep TensorFlow's names and layout (NHWC),
    with the symbolic batch dimension "batch" whatever batch the graph was frozen with.

    Raises SourceError for a file that is not a graph model, missing or short weights, or an op
    without a translation.
    """
    document = _read_document(model_json)
    try:
        nodes = {node.name: node for node in map(Node.parse, document["modelTopology"]["node"])}
        graph = Graph(_read_weights(model_json, document.get("weightsManifest", [])))
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{model_json.name} is malformed: a node or a weight lacks a field ({error!r})"
        ) from error
    wanted = [
        name.removesuffix(":0") for name in outputs or _signature_outputs(document, model_json)
    ]
    order = _needed(nodes, wanted)
    for node in order:
        if node.op not in OPS:
            raise SourceError(
                f"{model_json.name}: node '{node.name}' is a {node.op}, which has no translation "
                f"(there are {', '.join(sorted(OPS))}). Choose outputs that come before it."
            )
        graph.values[node.name] = OPS[node.op](graph, node)
    for name in wanted:
        graph.output(name)
    return helper.make_model(
        graph.build(model_json.stem),
        producer_name="boxwise",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def _read_document(model_json: Path) -> dict[str, Any]:
    try:
        document = json.loads(model_json.read_bytes())
    except OSError as error:
        raise SourceError(f"cannot read {model_json}: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(
            f"{model_json} is not JSON ({error}); expected the model.json of a TFJS graph model"
        ) from error
    topology = document.get("modelTopology") if isinstance(document, dict) else None
    if isinstance(topology, dict) and isinstance(topology.get("node"), list):
        return dict(document)
    if isinstance(topology, dict) and ("model_config" in topology or "class_name" in topology):
        raise SourceError(
            f"{model_json} is a TFJS layers model; make a graph model of it with "
            "`tensorflowjs_converter --input_format=tfjs_layers_model "
            "--output_format=tfjs_graph_model`"
        )
    raise SourceError(
        f"{model_json} is not a TFJS graph model: it has no modelTopology with a list of nodes"
    )


def _signature_outputs(document: Mapping[str, Any], model_json: Path) -> list[str]:
    signature = (
        document.get("signature") or document.get("userDefinedMetadata", {}).get("signature") or {}
    )
    names = [str(output["name"]) for output in signature.get("outputs", {}).values()]
    if not names:
        raise SourceError(
            f"{model_json.name} has no signature that names its outputs: name the nodes to keep"
        )
    return names


def _needed(nodes: Mapping[str, Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that the outputs depend on, each after its inputs."""
    dependencies: dict[str, tuple[str, ...]] = {}
    pending = [(name, "the outputs") for name in outputs]
    while pending:
        name, asker = pending.pop()
        if name not in nodes:
            near = difflib.get_close_matches(name, nodes, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise SourceError(f"the graph has no node '{name}', which {asker} asked for{hint}")
        if name not in dependencies:
            dependencies[name] = nodes[name].inputs
            pending += [(before, f"node '{name}'") for before in nodes[name].inputs]
    try:
        return [nodes[name] for name in TopologicalSorter(dependencies).static_order()]
    except CycleError as error:
        raise SourceError(f"the graph runs in a circle: {' -> '.join(error.args[1])}") from error


def _read_weights(model_json: Path, manifest: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Decode every weight of the manifest: in each group, the shards joined in order hold them back
    to back.
    """
    weights: dict[str, Array] = {}
    for group in manifest:
        data = b"".join(_read_shard(model_json, path) for path in group["paths"])
        stored = [_stored_dtype(weight) for weight in group["weights"]]
        sizes = [
            math.prod(w["shape"]) * dtype.itemsize
            for w, dtype in zip(group["weights"], stored, strict=True)
        ]
        if sum(sizes) != len(data):
            raise SourceError(
                f"{', '.join(group['paths'])}: {len(data)} bytes, where {model_json.name} "
                f"describes {sum(sizes)}. The file is cut short, or the two come from different "
                "exports: fetch both again"
            )
        offset = 0
        for weight, dtype, size in zip(group["weights"], stored, sizes, strict=True):
            values = np.frombuffer(data[offset : offset + size], dtype).reshape(weight["shape"])
            weights[weight["name"]] = _dequantize(values, weight)
            offset += size
    return weights


def _read_shard(model_json: Path, path: str) -> bytes:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise SourceError(
            f"{model_json.name} names the weight shard '{path}', which lies outside the "
            "model's own folder"
        )
    try:
        return (model_json.parent / path).read_bytes()
    except OSError as error:
        raise SourceError(
            f"cannot read {path}, a weight shard of {model_json.name} ({error.strerror}): "
            f"it belongs in {model_json.parent}"
        ) from error


def _stored_dtype(weight: Mapping[str, Any]) -> np.dtype[Any]:
    dtype = weight.get("quantization", {}).get("dtype", weight["dtype"])
    if dtype not in _STORED:
        raise SourceError(
            f"weight '{weight['name']}' is stored as {dtype}; expected one of {', '.join(_STORED)}"
        )
    return np.dtype(_STORED[dtype])


def _dequantize(values: Array, weight: Mapping[str, Any]) -> Array:
    quantization = weight.get("quantization", {})
    if "scale" in quantization:  # uint8 and uint16; float16 is a plain cast
        values = values * float(quantization["scale"]) + float(quantization["min"])
    return (np.rint(values) if weight["dtype"] == "int32" else values).astype(weight["dtype"])

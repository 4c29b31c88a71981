"""Requests that are wrong in their tensors, shapes, types, options and names: INVALID_ARGUMENT, or
a reply as ever.

What Triton 2.51 itself answers otherwise is named in `fuzzing.OF_TRITON`.
"""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from contract_support.attacked import GOOD, PIPELINES, Attacked, export_dots
from contract_support.calls import OPTION_TYPES
from contract_support.fuzzing import (
    assert_a_reply_of_the_contract,
    call,
    fuzz,
    image_request,
    refused,
    wraps_around,
)
from contract_support.synthetic import make_dots
from contract_support.trials import Trial
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from boxwise_runtime.launcher import ServerOptions, Supervisor

FRAME = make_dots(5, width=96, height=64).draw(96, 64)
OUTPUTS = ("boxes", "scores", "class_ids", "image_size", "shade_ids", "shade_scores")
STEPS = ("preprocess", "detector", "nms", "classifier_shade", "assemble")
SIZES = (
    -(2**63),
    -(2**31),
    -1,
    0,
    1,
    2,
    3,
    4,
    17,
    96,
    1000,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**33,
    2**62,
    2**63 - 1,
)
TYPES = (
    "UINT8",
    "INT8",
    "FP32",
    "FP16",
    "BF16",
    "FP64",
    "INT32",
    "INT64",
    "UINT64",
    "BOOL",
    "BYTES",
    "",
    "nonsense",
)
NUMBERS = (
    0.0,
    -0.0,
    0.3,
    0.5,
    1.0,
    1.0000001,
    -1e-9,
    1e30,
    -1e30,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
)
Request = pb.ModelInferRequest


def good_request(rng: random.Random) -> Request:
    """An image or a frame, and options that may be right."""
    pipeline = rng.choice(PIPELINES)
    if rng.random() < 0.3:
        request = Request(model_name=f"{pipeline}_raw", raw_input_contents=[FRAME.tobytes()])
        request.inputs.add(name="frame", datatype="UINT8", shape=FRAME.shape)
    else:
        request = image_request(pipeline, GOOD)
    for name, kind in OPTION_TYPES.items():
        if rng.random() < 0.3:
            add(request, name, option(rng, name).astype(kind))
    if rng.random() < 0.2:
        for name in rng.sample(OUTPUTS, rng.randint(1, 6)):
            request.outputs.add(name=name)
    return request


def option(rng: random.Random, name: str) -> np.ndarray:
    """Any number, as often right as wrong."""
    if name.endswith("threshold"):
        return np.array([rng.choice((rng.random(), rng.choice(NUMBERS)))])
    if name == "max_detections":
        return np.array(
            [rng.choice((rng.randint(1, 100), rng.choice((0, -1, 101, 2**31 - 1, -(2**31)))))]
        )
    few = rng.choice((0, 1, 1, 2, 3, 1000))
    return np.array(
        [rng.choice((rng.randint(0, 2), rng.randint(0, 2), rng.randint(-2, 5))) for _ in range(few)]
    )


def add(request: Request, name: str, values: np.ndarray) -> None:
    kind = {"float32": "FP32", "int32": "INT32", "uint8": "UINT8"}[values.dtype.name]
    request.inputs.add(name=name, datatype=kind, shape=values.shape)
    request.raw_input_contents.append(values.tobytes())


def other_type(rng: random.Random, request: Request) -> None:
    if request.inputs:
        rng.choice(request.inputs).datatype = rng.choice(TYPES)


def other_shape(rng: random.Random, request: Request) -> None:
    if request.inputs:
        shape = rng.choice(request.inputs).shape
        if shape and rng.random() < 0.5:
            shape[rng.randrange(len(shape))] = rng.choice(SIZES)
        else:
            shape[:] = [rng.choice(SIZES) for _ in range(rng.randint(0, 6))]


def other_bytes(rng: random.Random, request: Request) -> None:
    contents = request.raw_input_contents
    if contents:
        which = rng.randrange(len(contents))
        whole = contents[which]
        contents[which] = rng.choice(
            (b"", whole[:-1], whole + b"\0", whole * 2, rng.randbytes(rng.randrange(300)))
        )


def fewer_or_more_bytes(rng: random.Random, request: Request) -> None:
    contents = request.raw_input_contents
    if contents and rng.random() < 0.5:
        del contents[rng.randrange(len(contents))]
    else:
        contents.append(rng.randbytes(rng.choice((0, 1, 4))))


def inputs_lost_doubled_unknown(rng: random.Random, request: Request) -> None:
    how = rng.randrange(4)
    if how == 0 and request.inputs:
        del request.inputs[rng.randrange(len(request.inputs))]
    elif how == 1 and request.inputs:
        request.inputs.append(rng.choice(request.inputs))
    elif how == 2:
        add(request, rng.choice(("image", "frame", "raw_frame")), FRAME)
    else:
        name = rng.choice(("", "treshold", "image ", "IMAGE", "boxes", "canvas", "\0", "é" * 999))
        add(request, name, np.zeros(3, np.float32))


def outputs_doubled_unknown(rng: random.Random, request: Request) -> None:
    for _ in range(rng.randint(1, 4)):
        output = request.outputs.add(name=rng.choice((*OUTPUTS, "", "canvas", "nope", "x" * 5000)))
        if rng.random() < 0.2:
            output.parameters["classification"].int64_param = rng.choice(SIZES)


def typed_contents(rng: random.Random, request: Request) -> None:
    if request.inputs:
        contents = rng.choice(request.inputs).contents
        field = rng.choice(
            ("uint_contents", "int_contents", "fp32_contents", "bytes_contents", "bool_contents")
        )
        values = {"bytes_contents": [b"abc"], "fp32_contents": [0.5], "bool_contents": [True]}.get(
            field, [7]
        )
        getattr(contents, field).extend(values * rng.choice((1, 3, 500)))
        if rng.random() < 0.7:
            del request.raw_input_contents[:]


def other_names(rng: random.Random, request: Request) -> None:
    how = rng.randrange(3)
    if how == 0:
        request.model_name = rng.choice(
            ("", "nope", "DOTS", "dots/1", "../dots", "dots\0", "x" * 10_000, "dots_info")
        )
    elif how == 1:
        request.model_version = rng.choice(
            ("0", "1", "2", "-1", "abc", "1.5", " 1", "9" * 30, "\0")
        )
    else:
        request.id = rng.choice(("", "\0", "x" * 50_000, "é"))


def parameters(rng: random.Random, request: Request) -> None:
    owner = rng.choice((request, *request.inputs, *request.outputs))
    name = rng.choice(
        (
            "sequence_id",
            "sequence_start",
            "sequence_end",
            "priority",
            "timeout",
            "binary_data",
            "headers",
            "x" * 3000,
            "shared_memory_region",
            "shared_memory_byte_size",
            "shared_memory_offset",
            "triton_enable_empty_final_response",
        )
    )
    value = owner.parameters[name]
    kind = rng.randrange(5)
    if kind == 0:
        value.bool_param = rng.random() < 0.5
    elif kind == 1:
        value.int64_param = rng.choice(SIZES)
    elif kind == 2:
        value.string_param = rng.choice(("", "x", "../../etc/passwd", "boxwise-8000", "1" * 1000))
    elif kind == 3:
        value.double_param = rng.choice(NUMBERS)
    else:
        value.uint64_param = rng.choice((0, 1, 2**64 - 1))


MUTATIONS: tuple[Callable[[random.Random, Request], None], ...] = (
    other_type,
    other_shape,
    other_bytes,
    fewer_or_more_bytes,
    inputs_lost_doubled_unknown,
    outputs_doubled_unknown,
    typed_contents,
    other_names,
    parameters,
)


@pytest.mark.timeout(0)
def test_requests_with_anything_wrong_in_them(
    trial: Trial, target: Attacked, tmp_path: Path
) -> None:
    def make(rng: random.Random) -> tuple[bytes, object]:
        request = good_request(rng)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            rng.choice(MUTATIONS)(rng, request)
        return request.SerializeToString(), None

    def send(channel: grpc.Channel, message: bytes, about: object) -> str:
        request = Request.FromString(message)
        if wraps_around(request):
            return "left out"
        reply = call(channel, message)
        if reply.status == "OK":
            classified = any("classification" in output.parameters for output in request.outputs)
            if request.model_name.removesuffix("_raw") in PIPELINES and not request.outputs:
                assert_a_reply_of_the_contract(reply.answer())
            elif not classified and request.outputs:
                assert set(reply.answer()) == {output.name for output in request.outputs}
            return "answered"
        return refused(reply)

    run = fuzz(trial, target, tmp_path, trial.of(short=6_000, long=300_000), make, send)
    assert min(run.statuses["answered"], run.statuses["refused"]) > run.done // 20, run.statuses


@pytest.mark.timeout(0)
def test_steps_that_are_called_by_themselves(
    trial: Trial, target: Attacked, tmp_path: Path
) -> None:
    """A step trusts the step before it, and says INTERNAL where that was no step of ours; it lives
    on.
    """
    configs = {step: _inputs_of(target, f"dots_{step}") for step in STEPS}

    def make(rng: random.Random) -> tuple[bytes, object]:
        step = rng.choice(STEPS)
        request = Request(model_name=f"dots_{step}")
        for tensor in configs[step]:
            shape = [rng.choice((0, 1, 2, 5)) if side < 0 else side for side in tensor.dims]
            if step in ("detector", "classifier_shade"):
                shape.insert(0, rng.choice((1, 1, 2)))
            kind = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            size = int(np.prod(shape)) * {"UINT8": 1}.get(kind, 4)
            request.inputs.add(name=tensor.name, datatype=kind, shape=shape)
            request.raw_input_contents.append(_any_bytes(rng, kind, size))
        return request.SerializeToString(), step

    def send(channel: grpc.Channel, message: bytes, about: object) -> str:
        reply = call(channel, message)
        assert reply.status in ("OK", "INVALID_ARGUMENT", "INTERNAL"), reply
        return reply.status

    fuzz(trial, target, tmp_path, trial.of(short=1_000, long=50_000), make, send)


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [("class_filter", "INT32", [2**62]), ("frame", "UINT8", [2**32, 2**32, 3])],
)
def test_a_shape_that_wraps_around_ends_a_stage_and_the_server_is_restarted(
    tmp_path: Path, name: str, kind: str, shape: list[int]
) -> None:
    """A bound of Triton 2.51: where this fails, a newer one refuses the shape, and `wraps_around`
    can go.
    """
    options = ServerOptions.on_free_ports(export_dots(tmp_path))
    ready, stop, events = threading.Semaphore(0), threading.Event(), list[str]()
    watch = threading.Thread(
        target=Supervisor().run,
        args=(options,),
        kwargs={
            "restart": True,
            "on_ready": lambda _: ready.release(),
            "on_event": events.append,
            "stop": stop,
        },
    )
    watch.start()
    try:
        assert ready.acquire(timeout=60)
        request = (
            image_request("fused", GOOD)
            if name == "class_filter"
            else Request(model_name="fused_raw")
        )
        request.inputs.add(name=name, datatype=kind, shape=shape)
        request.raw_input_contents.append(b"")
        assert wraps_around(request)
        with grpc.insecure_channel(options.grpc_url) as channel:
            assert call(channel, request.SerializeToString()).status in ("INTERNAL", "UNAVAILABLE")
            assert ready.acquire(timeout=60)
        assert "the stage 'fused' died" in events[0]
        with grpc.insecure_channel(options.grpc_url) as channel:
            assert_a_reply_of_the_contract(
                call(channel, image_request("fused", GOOD).SerializeToString()).answer()
            )
    finally:
        stop.set()
        watch.join()


def _any_bytes(rng: random.Random, kind: str, size: int) -> bytes:
    if rng.random() < 0.3 or kind == "UINT8":
        return rng.randbytes(size)
    if kind == "FP32":
        values = [rng.choice((*NUMBERS, rng.uniform(-600, 600))) for _ in range(min(size // 4, 64))]
        packed = struct.pack(
            f"<{len(values)}f",
            *(max(-3e38, min(3e38, value)) if value == value else value for value in values),
        )
    else:
        packed = struct.pack(
            "<8i", *(rng.choice((-(2**31), -1, 0, 1, 2, 3, 100, 2**31 - 1)) for _ in range(8))
        )
    return (packed * (size // max(1, len(packed)) + 1))[:size]


def _inputs_of(target: Attacked, model: str) -> list[model_config_pb2.ModelInput]:
    return list(target.triton.client.get_model_config(model).config.input)

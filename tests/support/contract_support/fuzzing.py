"""Many cases against one server, several in flight; each is made from a seed and its number alone.

What holds for all of them: the server's processes live on, no request outlives its deadline, and a
good request is answered as before, to the last bit, among all the others.
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import psutil
from tritonclient.grpc import service_pb2 as pb

from boxwise._protocol import INFER
from boxwise_perf.memory import held_mib
from contract_support.attacked import GOOD, PIPELINES, Attacked
from contract_support.calls import Answer, assert_well_formed
from contract_support.trials import Trial

DEADLINE_S = 30
IN_FLIGHT = 6
GOOD_EVERY = 100  # cases of a thread
MEMORY_MIB = (
    300  # more than requests of 2 megapixels take of the server's processes, however many come
)
LATE_MIB = 100  # of these, in the second half of many: heaps settle, what leaks goes on
_BYTES = {"FP32": 4, "INT32": 4, "FP16": 2, "BF16": 2, "FP64": 8, "INT64": 8, "UINT64": 8}
OF_TRITON = {
    # Another name or version; no such region.
    "NOT_FOUND": (
        "unknown model",
        "Unable to find shared memory region",
    ),
    # A `sequence_id` of text.
    "UNIMPLEMENTED": ("string correlation ID cannot be longer than 128 characters",),
    "INTERNAL": ("Unable to parse request",),  # bytes that are no message
}
# A connection of its own, and room for sentences that say a caller's long names back.
_CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.absolute_max_metadata_size", 1 << 20)]
_TYPES = {"FP32": np.float32, "INT32": np.int32, "UINT8": np.uint8}


@dataclass(frozen=True)
class Reply:
    """What came of a case: a status of gRPC, its sentence, and the message where it is OK."""

    status: str
    sentence: str
    message: bytes = b""

    def answer(self) -> Answer:
        """Every output by its name."""
        reply = pb.ModelInferResponse.FromString(self.message)
        return {
            output.name: np.frombuffer(raw, _TYPES[output.datatype]).reshape(tuple(output.shape))
            for output, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
        }


@dataclass
class Run:
    """What is known of a run so far."""

    seed: int
    statuses: Counter[str] = field(default_factory=Counter)
    good: int = 0
    done: int = 0
    failure: str = ""


def image_request(model: str, file: bytes) -> pb.ModelInferRequest:
    """An image, and nothing else."""
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[file])
    request.inputs.add(name="image", datatype="UINT8", shape=[len(file)])
    return request


def wraps_around(request: pb.ModelInferRequest) -> bool:
    """Whether a shape is so large that Triton 2.51, which counts in 64 bits, takes it for the bytes
    that were sent.

    The stage that gets it dies: numpy says that the array is too big, and the Python backend does
    not catch it.
    """
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=False):
        size = math.prod(tensor.shape) * _BYTES.get(tensor.datatype, 1)
        if size != len(raw) and size % 2**64 == len(raw):
            return True
    return False


def refused(reply: Reply) -> str:
    """How it was refused, in a word; it is INVALID_ARGUMENT, or one of `OF_TRITON`.

    Raises:
        AssertionError: it is neither.
    """
    if any(words in reply.sentence for words in OF_TRITON.get(reply.status, ())):
        return f"refused by Triton, {reply.status}"
    assert reply.status == "INVALID_ARGUMENT", reply
    return "refused"


def assert_a_reply_of_the_contract(answer: Answer) -> None:
    height, width = answer["image_size"].tolist()
    assert min(height, width) >= 1
    assert_well_formed(answer, len(answer["boxes"]), {"shade": 3}, height=height, width=width)


def call(channel: grpc.Channel, message: bytes, method: str = INFER) -> Reply:
    """Send the bytes of a message as they are."""
    try:
        return Reply("OK", "", channel.unary_unary(method)(message, timeout=DEADLINE_S))
    except grpc.RpcError as error:
        return Reply(error.code().name, str(error.details()))


def _good(channel: grpc.Channel) -> list[pb.ModelInferResponse]:
    """The answers to a good request, as messages: their bytes hold maps, in whatever order."""
    replies = [call(channel, image_request(each, GOOD).SerializeToString()) for each in PIPELINES]
    assert all(reply.status == "OK" for reply in replies), replies
    return [pb.ModelInferResponse.FromString(reply.message) for reply in replies]


def fuzz(
    trial: Trial,
    target: Attacked,
    folder: Path,
    cases: int,
    make: Callable[[random.Random], tuple[bytes, object]],
    send: Callable[[grpc.Channel, bytes, object], str],
) -> Run:
    """Make so many cases, send each, and look after the server meanwhile.

    Args:
        trial: gets the figures.
        target: the server.
        folder: for the bytes of a case that fails.
        cases: how many.
        make: the bytes of a case, and what `send` needs to know of it.
        send: returns what came of it, in a word to count it by; an AssertionError is a failure.
    """
    seed = int(
        os.environ.get(
            "BOXWISE_FUZZ_SEED", random.SystemRandom().randrange(2**31) if trial.long else 1
        )
    )

    def held() -> float:
        return held_mib(target.server.pid) if psutil.pid_exists(target.server.pid) else 0.0

    run, lock, before = Run(seed), threading.Lock(), held()
    halfway = before
    only = os.environ.get("BOXWISE_FUZZ_CASE")
    numbers = iter([int(only)] if only else range(cases))

    under_way: dict[int, tuple[int, bytes]] = {}  # thread -> its case

    def fail(number: int, why: str) -> None:
        """Say what failed, and write down all that was under way: what killed a stage is not what
        says so.
        """
        for other, case in (*under_way.values(),):
            (folder / f"case-{seed}-{other}").write_bytes(case)
        run.failure = run.failure or (
            f"case {number} of seed {seed}: {why}\n"
            f"Alone: BOXWISE_FUZZ_SEED={seed} BOXWISE_FUZZ_CASE={number}. What was under "
            f"way: {folder}/case-*\n" + "\n".join(target.server.log[-5:])
        )

    def work() -> None:
        nonlocal halfway
        with grpc.insecure_channel(target.triton.grpc_url, _CHANNEL) as channel:
            expected, own = _good(channel), 0
            while not run.failure:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return None
                case, about = make(random.Random(f"{seed}-{number}"))
                under_way[threading.get_ident()] = (number, case)
                try:
                    what = send(channel, case, about)
                except Exception as error:  # noqa: BLE001 - said with the case
                    return fail(number, f"{about}: {type(error).__name__}: {error}")
                own += 1
                with lock:
                    run.statuses[what] += 1
                    run.done += 1
                    trial.progress(run.done, cases, "cases")
                    if run.done == cases // 2:
                        halfway = held()
                if own % GOOD_EVERY == 0:
                    try:
                        replies = _good(channel)
                    except AssertionError as error:
                        return fail(number, f"a good request after it: {error}")
                    if replies != expected:
                        return fail(number, "a good request after it was answered otherwise")
                    with lock:
                        run.good += len(replies)
            return None

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for future in [pool.submit(work) for _ in range(IN_FLIGHT)]:
            future.result()
    after = held()
    trial.measured(
        cases=run.done,
        good_requests=run.good,
        seed=seed,
        mib_before=before,
        mib_halfway=halfway,
        mib_after=after,
        **run.statuses,
    )
    assert not run.failure, run.failure
    assert after - before < MEMORY_MIB, (before, halfway, after)
    assert not trial.long or after - halfway < LATE_MIB, (before, halfway, after)
    target.assert_unharmed()
    return run

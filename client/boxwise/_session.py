"""What a client does, without doing it: each call is a generator that yields the I/O it wants and is sent the outcome.

`Client` drives these generators with blocking sockets, `AsyncClient` with asyncio. Encoding, decoding, retries,
balancing, hedging and errors are here, once.
"""

from __future__ import annotations

import logging
import os
import secrets
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias, TypedDict, TypeVar, cast

from boxwise._balance import Balancer
from boxwise._endpoint import Endpoint, parse
from boxwise._errors import (
    BoxwiseError,
    ContractMismatch,
    DeadlineExceeded,
    InvalidArgument,
    StageFailed,
    Unavailable,
    UnknownPipeline,
    from_status,
)
from boxwise._grpc import Status, framed, header, header_block
from boxwise._http2 import Buffer
from boxwise._image import ImageLike, Transfer, to_tensor
from boxwise._info import PipelineInfo
from boxwise._policy import Budget, Hedge, Latencies, Retry
from boxwise._protocol import INFER, LIVE, READY, SHM_REGISTER, SHM_UNREGISTER, messages
from boxwise._request import Slot as SlotInput
from boxwise._request import Tensor, info_request, predict_request
from boxwise._response import arrays, text
from boxwise._result import Result, Timings
from boxwise._security import TLS, Credentials, Token, require_tls
from boxwise._shm import Slot, Slots, orphans
from boxwise._telemetry import Observed, observed, wanted
from boxwise._transport import Call, Wire

_LOG = logging.getLogger("boxwise")
T = TypeVar("T")

# Ten times the slowest picture of the demo's pair on a busy laptop core.
DEFAULT_TIMEOUT_S = 5.0


class Options(TypedDict, total=False):
    """What a request may ask for; what is left out is the pipeline's own."""

    score_threshold: float | None
    iou_threshold: float | None
    max_detections: int | None
    class_filter: Sequence[int] | None


@dataclass(slots=True)
class Send:
    """Make a call, and answer with its reply and the server that gave it; a failure is a `Status`.

    `other`, after `after_s` seconds without a reply, is asked too, if `allowed` says so.
    """

    server: Endpoint
    call: Call
    deadline: float
    after_s: float = 0.0
    other: Endpoint | None = None
    allowed: Callable[[], bool] | None = None


@dataclass(slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look a name up, and tell the balancer; wait for it, or do it on the side."""

    name: Endpoint
    wait: bool
    deadline: float


@dataclass(frozen=True, slots=True)
class Work:
    """Run a function that may take milliseconds of CPU or a disk's."""

    function: Callable[[], Any]


Effect: TypeAlias = "Send | Pause | Resolve | Work"
Steps: TypeAlias = "Generator[Effect, Any, T]"
Reply: TypeAlias = "tuple[memoryview, Endpoint]"
Body: TypeAlias = "Sequence[Buffer]"


class Session:
    """What a client knows of its servers, and how each of its calls goes. Opens nothing; thread-safe."""

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        pipeline: str,
        timeout_s: float,
        transfer: Transfer,
        retry: Retry | None,
        hedge: Hedge | None,
        tls: TLS | bool,
        token: Token | None,
        metadata: Mapping[str, str] | None,
        connections: int,
        keepalive_s: float,
    ) -> None:
        if timeout_s <= 0:
            raise InvalidArgument(f"timeout_s: expected seconds above 0, got {timeout_s}")
        if transfer not in ("auto", "encoded", "raw", "shm"):
            raise InvalidArgument(f"transfer: expected auto, encoded, raw or shm, got {transfer!r}")
        if connections < 1:
            raise InvalidArgument(f"connections: expected 1 or more, got {connections}")
        self.targets = parse(target)
        self.pipeline = pipeline
        self.timeout_s = timeout_s
        self.transfer: Transfer = transfer
        self.retry = retry or Retry(attempts=1)
        self.hedge = hedge
        security = TLS() if tls is True else tls or None
        context: ssl.SSLContext | None = security.context() if security else None
        require_tls(token, context, self.targets)
        self.wire = Wire(context, security.server_name if security else None, connections, keepalive_s=keepalive_s)
        self.info: PipelineInfo | None = None
        self._credentials = Credentials(metadata or {}, token)
        self._latencies = Latencies(hedge.percentile) if hedge else None
        self.forget()

    def forget(self) -> None:
        """Start anew in a process that was forked: nobody else's connections, locks or slots."""
        self.balancer = Balancer(self.targets)
        self._budget = Budget(self.retry.budget)
        self._blocks: dict[tuple[Endpoint, str], bytes] = {}
        self._slots: dict[Endpoint, Slots] = {}
        self._slots_lock = threading.Lock()
        self._id_prefix, self._ids = secrets.token_hex(4), count(1)

    def __str__(self) -> str:
        return ", ".join(map(str, self.targets))

    def predict(
        self, image: ImageLike, options: Options, timeout_s: float | None, transfer: Transfer | None
    ) -> Steps[Result]:
        """Ask about one picture."""
        request_id = f"{self._id_prefix}-{next(self._ids)}"
        call = Observed()
        steps = self._predict(image, options, self._timeout(timeout_s), transfer or self.transfer, request_id, call)
        return self._observe(steps, request_id, call) if wanted() else steps

    def _observe(self, steps: Steps[Result], request_id: str, call: Observed) -> Steps[Result]:
        with observed(self.pipeline, request_id, call):
            result = yield from steps
            call.attributes["boxwise.detections"] = len(result)
            return result

    def _predict(
        self,
        image: ImageLike,
        options: Options,
        timeout_s: float,
        transfer: Transfer,
        request_id: str,
        call: Observed,
    ) -> Steps[Result]:
        started = time.perf_counter()
        deadline = time.monotonic() + timeout_s
        picture = yield from self._picture(image, transfer)

        def ask(slot: SlotInput | None = None) -> list[Buffer]:
            return predict_request(self.pipeline, picture, **options, request_id=request_id, slot=slot)

        shared = transfer == "shm" and picture.name == "frame" and len(picture.payload) > 0
        body = _Shared(self, picture, ask) if shared else ask()
        info = self.info or (yield from self.describe(timeout_s, deadline))
        sending = time.perf_counter()
        reply = yield from self._exchange(INFER, body, deadline, timeout_s, request_id, call)
        received = time.perf_counter()
        columns = arrays(_parse("ModelInferResponse", reply))
        timings = Timings(
            encode_s=sending - started + call.encode_s,
            wait_s=received - sending - call.encode_s,
            decode_s=time.perf_counter() - received,
            attempts=call.attempts,
        )
        return Result.from_arrays(columns, info, picture, timings)

    def describe(self, timeout_s: float | None = None, deadline: float | None = None) -> Steps[PipelineInfo]:
        """What the pipeline says of itself; callers that start together may each ask, and then wait for no one."""
        timeout_s = self._timeout(timeout_s)
        deadline = time.monotonic() + timeout_s if deadline is None else deadline
        reply = yield from self._exchange(INFER, info_request(self.pipeline), deadline, timeout_s)
        self.info = PipelineInfo.from_json(text(_parse("ModelInferResponse", reply), "info"))
        return self.info

    def ready(self, timeout_s: float | None) -> Steps[bool]:
        """Whether a server says that the pipeline is loaded."""
        request = messages().ModelReadyRequest(name=self.pipeline)
        return self._says(READY, "ModelReadyResponse", "ready", request, timeout_s)

    def live(self, timeout_s: float | None) -> Steps[bool]:
        """Whether a server is there at all."""
        return self._says(LIVE, "ServerLiveResponse", "live", messages().ServerLiveRequest(), timeout_s)

    def farewell(self) -> Steps[None]:
        """Tell the servers to forget our shared memory; what can not be told now is found by whoever comes next."""
        with self._slots_lock:
            slots, self._slots = self._slots, {}
        for server, each in slots.items():
            for slot in each.close():
                try:
                    yield self._unregister(server, slot.name)
                except Status:
                    break

    def _says(self, path: str, reply_type: str, field: str, request: Any, timeout_s: float | None) -> Steps[bool]:
        timeout_s = self._timeout(timeout_s)
        try:
            reply = yield from self._exchange(
                path, [request.SerializeToString()], time.monotonic() + timeout_s, timeout_s
            )
        except BoxwiseError as error:
            if error.retryable or isinstance(error, UnknownPipeline):
                return False
            raise
        return bool(getattr(_parse(reply_type, reply), field))

    def _timeout(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            return self.timeout_s
        if timeout_s <= 0:
            raise InvalidArgument(f"timeout_s: expected seconds above 0, got {timeout_s}")
        return timeout_s

    def _picture(self, image: ImageLike, transfer: Transfer) -> Steps[Tensor]:
        if isinstance(image, (bytes, bytearray)):
            return to_tensor(image)
        near = all(each.local for each in self.targets)
        encode = transfer == "encoded" or (transfer == "auto" and not near)
        if not encode and not isinstance(image, (str, os.PathLike)) and not callable(getattr(image, "read", None)):
            return to_tensor(image)
        picture: Tensor = yield Work(lambda: to_tensor(image, encode=encode))
        return picture

    def _exchange(
        self,
        path: str,
        body: Body | _Shared,
        deadline: float,
        timeout_s: float,
        request_id: str | None = None,
        call: Observed | None = None,
    ) -> Steps[memoryview]:
        """One request and its reply, with all that is tried in between.

        Raises:
            BoxwiseError: as the last server had it.
        """
        call = call or Observed()
        last: Endpoint | None = None
        url = str(self)
        try:
            if self.balancer.names:
                yield from self._look_up(deadline)
            self._budget.earn()
            while True:
                now = time.monotonic()
                server = self.balancer.pick(now, avoid=last)
                url = str(server)
                call.attempts += 1
                try:
                    if isinstance(body, _Shared):
                        encoding = time.perf_counter()
                        pieces = yield from body.pieces(server)
                        call.encode_s += time.perf_counter() - encoding
                    else:
                        pieces = body
                    started = time.monotonic()
                    hedged = path == INFER and pieces is body
                    payload, answered = yield self._send(server, path, pieces, deadline, call, hedged=hedged)
                    self.balancer.answered(answered)
                    if self._latencies and path == INFER:
                        self._latencies.add(time.monotonic() - started)
                    return cast("memoryview", payload)
                except Status as status:
                    if isinstance(body, _Shared) and body.mended(status):
                        continue
                    pause = self._again(server, status, call.attempts, deadline)
                    if pause is None:
                        raise
                    last = server
                    _LOG.debug("%s: %s; sent again in %.3f s", self.pipeline, status, pause)
                    if pause:
                        yield Pause(pause)
        except Status as status:
            call.attributes["server.address"] = url
            raise from_status(
                status.code,
                status.details.removeprefix(f"{url}: "),
                pipeline=self.pipeline,
                url=url,
                timeout_s=timeout_s,
                request_id=request_id,
            ) from status
        finally:
            if isinstance(body, _Shared):
                body.release()

    def _look_up(self, deadline: float) -> Steps[None]:
        for name in self.balancer.unresolved():
            yield Resolve(name, True, deadline)
        for name in self.balancer.due(time.monotonic()):
            yield Resolve(name, False, deadline)
        if not self.balancer.servers:
            raise Status("UNAVAILABLE", "the name has no address", local=True, processed=False)

    def _send(
        self, server: Endpoint, path: str, body: Body, deadline: float, call: Observed, *, hedged: bool = False
    ) -> Send:
        block = self._blocks.get((server, path))
        if block is None:
            scheme = "https" if self.wire.tls else "http"
            block = header_block(path, server.authority, scheme) + self._credentials.headers
            self._blocks[server, path] = block
        extra = self._credentials.bearer()
        if call.metadata:
            extra += b"".join(header(name, value) for name, value in call.metadata.items())
        grpc_call = Call(block, extra, framed(body))
        after = self._latencies.high if self._latencies and hedged else None
        if after is None or self.hedge is None:
            return Send(server, grpc_call, deadline)
        other = self.balancer.other(time.monotonic(), than=server)

        def allowed() -> bool:
            if not self._budget.spend():
                return False
            call.attempts += 1
            return True

        return Send(server, grpc_call, deadline, max(after, self.hedge.min_s), other, allowed)

    def _again(self, server: Endpoint, status: Status, tried: int, deadline: float) -> float | None:
        """Seconds until this request may be sent again; None where it may not."""
        now = time.monotonic()
        error = from_status(status.code, status.details, pipeline="", url="", timeout_s=0.0)
        if isinstance(error, DeadlineExceeded):
            self.balancer.failed(server, now, silent=True)
            return None
        if not isinstance(error, (Unavailable, StageFailed)):
            self.balancer.answered(server)
            return None
        self.balancer.failed(server, now, silent=False)
        elsewhere = self.balancer.other(now, than=server) is not None
        if isinstance(error, StageFailed) and not elsewhere:
            return None  # it stays dead until its server is restarted
        pause = 0.0 if elsewhere else self.retry.pause(tried)
        if tried >= self.retry.attempts or now + pause >= deadline:
            return None
        if (status.processed or not elsewhere) and not self._budget.spend():
            return None
        return pause

    def _register(self, server: Endpoint, slot: Slot) -> Send:
        message = messages().SystemSharedMemoryRegisterRequest(name=slot.name, key=slot.key, byte_size=slot.size)
        return self._send(server, SHM_REGISTER, [message.SerializeToString()], time.monotonic() + 1.0, Observed())

    def _unregister(self, server: Endpoint, name: str) -> Send:
        message = messages().SystemSharedMemoryUnregisterRequest(name=name)
        return self._send(server, SHM_UNREGISTER, [message.SerializeToString()], time.monotonic() + 1.0, Observed())

    def slot(self, server: Endpoint, size: int) -> Steps[Slot | None]:
        """A slot that this server knows, or None where it has no use for any.

        Raises:
            Status: the server does not answer.
        """
        with self._slots_lock:
            slots = self._slots.setdefault(server, Slots())
        if slots.refused or not server.local:
            self._no_shm(slots, server, "it is not on this machine")
            return None
        try:
            if not slots.swept:
                slots.swept = True
                yield from self._sweep(server)
            slot, replaced = slots.take(size)
        except OSError as error:
            self._no_shm(slots, server, f"no room in /dev/shm ({error.strerror})")
            return None
        try:
            if replaced is not None and replaced.registered:
                yield self._unregister(server, replaced.name)
            if not slot.registered:
                yield self._register(server, slot)
                slot.registered = True
        except Status as status:
            slots.give(slot)
            if status.local:
                raise
            self._no_shm(slots, server, f"the server refuses ({status.details})")
            return None
        return slot

    def give(self, server: Endpoint, slot: Slot) -> None:
        """Take a slot back."""
        with self._slots_lock:
            slots = self._slots.get(server)
        if slots is None:  # the client was closed meanwhile
            slot.close()
        else:
            slots.give(slot)

    def _sweep(self, server: Endpoint) -> Steps[None]:
        """Remove the slots of processes that are dead, and let the server forget them."""
        with orphans() as names:
            for name in names:
                try:
                    yield self._unregister(server, name)
                except Status as status:
                    if status.local:
                        raise

    def _no_shm(self, slots: Slots, server: Endpoint, why: str) -> None:
        if not slots.refused:
            slots.refused = True
            warnings.warn(f"transfer='shm': {server}: {why}; frames are sent over the wire", stacklevel=2)
            _LOG.warning("%s: no shared memory: %s", server, why)


class _Shared:
    """A frame's request, in shared memory with servers that can read it there."""

    def __init__(self, session: Session, picture: Tensor, ask: Callable[[SlotInput | None], list[Buffer]]) -> None:
        self._session = session
        self._frame = memoryview(picture.payload)
        self._ask = ask
        self._held: tuple[Endpoint, Slot] | None = None
        self._mended = False

    def pieces(self, server: Endpoint) -> Steps[Body]:
        """The request as this server can read it."""
        self.release()
        slot = yield from self._session.slot(server, self._frame.nbytes)
        if slot is None:
            return self._ask(None)
        self._held = (server, slot)
        slot.write(self._frame)
        return self._ask(SlotInput(slot.name, 0, self._frame.nbytes))

    def mended(self, status: Status) -> bool:
        """A server that was restarted does not know the slot any more: it is told once more."""
        if self._held is None or self._mended or status.local or "shared memory region" not in status.details:
            return False
        self._mended = True
        self._held[1].registered = False
        return True

    def release(self) -> None:
        """Give the slot back."""
        if self._held is not None:
            self._session.give(*self._held)
            self._held = None


def _parse(kind: str, payload: memoryview) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return getattr(messages(), kind).FromString(payload)
    except DecodeError as error:
        raise ContractMismatch(f"the reply is no {kind} ({error}): is this Triton's gRPC port?") from error

"""The logic of calls without I/O: each call is a generator that yields steps (_steps.py).

    predict() ─▶ Work: to_tensor ─▶ describe(), once ─▶ _exchange() ─▶ Result
    _exchange() ─▶ Balancer.pick ─▶ Send ─▶ response
                        ▲             └─▶ Status ─▶ _retry_pause() ─▶ BoxwiseError
                        └──────── Pause ◀──────────────┘

`Client` runs these steps with blocking sockets, `AsyncClient` with asyncio. Each sends the outcome
of a step back into the generator, or throws its exception there.
"""

from __future__ import annotations

import copy
import logging
import secrets
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any, TypeVar, cast

from boxwise._balance import Balancer
from boxwise._endpoint import Endpoint, parse
from boxwise._errors import (
    BoxwiseError,
    Cancelled,
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
from boxwise._image import ImageLike, Transfer, is_cheap, to_tensor
from boxwise._info import PipelineInfo
from boxwise._options import CallOptions, split
from boxwise._policy import Budget, Hedge, Latencies, Retry
from boxwise._protocol import INFER, LIVE, READY, messages
from boxwise._request import Slot as SlotInput
from boxwise._request import Tensor, info_request, predict_request
from boxwise._response import arrays, text
from boxwise._result import Result, Timings
from boxwise._security import TLS, Credentials, Token, require_tls
from boxwise._shm_pool import SharedFrames, SharedRequest
from boxwise._steps import Body, Join, Pause, Resolve, Send, Steps, Work
from boxwise._telemetry import Observed, observed, wanted
from boxwise._transport import Call, Wire
from boxwise_contract.options import RequestOptions

_LOG = logging.getLogger("boxwise")
T = TypeVar("T")

# Ten times the slowest image of the demo on a busy laptop core.
DEFAULT_TIMEOUT_S = 5.0


class Session:
    """The state of a client, and the steps of its calls. Thread-safe; opens no connection."""

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
        self.wire = Wire(
            context,
            security.server_name if security else None,
            connections,
            keepalive_s=keepalive_s,
        )
        self.info: PipelineInfo | None = None
        self._infos: dict[tuple[str, str], PipelineInfo] = {}  # by model and version of a response
        self._credentials = Credentials(metadata or {}, token)
        self._latencies = Latencies(hedge.percentile) if hedge else None
        self.forget()

    def forget(self) -> None:
        """Drop the state that a forked process must not share: connections, locks and slots."""
        self.balancer = Balancer(self.targets)
        self._budget = Budget(self.retry.budget)
        self._blocks: dict[tuple[Endpoint, str], bytes] = {}
        self.frames = SharedFrames(self._send_alone)
        self._id_prefix, self._ids = secrets.token_hex(4), count(1)
        # Of the `info` request in flight.
        self._describing: Future[BoxwiseError | None] | None = None
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return ", ".join(map(str, self.targets))

    def predict(self, image: ImageLike, options: CallOptions) -> Steps[Result]:
        """Return the steps of a prediction."""
        request, timeout_s, transfer = split(options)
        request_id = f"{self._id_prefix}-{next(self._ids)}"
        call = Observed()
        steps = self._predict(
            image, request, self._timeout(timeout_s), transfer or self.transfer, request_id, call
        )
        return self._observe(steps, request_id, call) if wanted() else steps

    def _observe(self, steps: Steps[Result], request_id: str, call: Observed) -> Steps[Result]:
        with observed(self.pipeline, request_id, call):
            result = yield from steps
            call.attributes["boxwise.detections"] = len(result)
            return result

    def _predict(
        self,
        image: ImageLike,
        options: RequestOptions,
        timeout_s: float,
        transfer: Transfer,
        request_id: str,
        call: Observed,
    ) -> Steps[Result]:
        started = time.perf_counter()
        deadline = time.monotonic() + timeout_s
        tensor = yield from self._tensor(image, transfer)

        def request(slot: SlotInput | None = None) -> list[Buffer]:
            return predict_request(self.pipeline, tensor, options, request_id=request_id, slot=slot)

        shared = transfer == "shm" and tensor.name == "frame" and len(tensor.payload) > 0
        body = SharedRequest(self.frames, tensor, request) if shared else request()
        info = self.info or (yield from self.describe(timeout_s, deadline))
        sending = time.perf_counter()
        reply = yield from self._exchange(INFER, body, deadline, timeout_s, request_id, call)
        received = time.perf_counter()
        response = _parse("ModelInferResponse", reply)
        columns = arrays(response)
        timings = Timings(
            encode_s=sending - started + call.encode_s,
            wait_s=received - sending - call.encode_s,
            decode_s=time.perf_counter() - received,
            attempts=call.attempts,
        )
        # A new version may have other labels; its `info` is loaded before it responds.
        version = response.model_name, response.model_version
        if version not in self._infos:
            if any(model == response.model_name for model, _ in self._infos):
                info = yield from self.describe(timeout_s, deadline, known=info)
            self._infos[version] = info
        self.info = info = self._infos[version]
        return Result.from_arrays(columns, info, tensor, timings)

    def describe(
        self,
        timeout_s: float | None = None,
        deadline: float | None = None,
        known: PipelineInfo | None = None,
    ) -> Steps[PipelineInfo]:
        """Return the pipeline's description; request it unless there is one other than `known`.

        Of concurrent calls, one sends the request and the others wait for it.
        """
        timeout_s = self._timeout(timeout_s)
        deadline = time.monotonic() + timeout_s if deadline is None else deadline
        while (info := self.info) is None or info is known:
            with self._lock:
                describing = self._describing
                if describing is None:
                    self._describing = Future()
                    # so that a waiting call that is cancelled does not cancel the request
                    self._describing.set_running_or_notify_cancel()
            if describing is None:
                return (yield from self._request_info(timeout_s, deadline))
            try:
                failure = yield Join(describing, deadline)
            except Status as status:
                raise self._error(status, str(self), timeout_s) from status
            if failure is not None:
                raise copy.copy(failure)  # so that each raise has its own traceback
        return info

    def _request_info(self, timeout_s: float, deadline: float) -> Steps[PipelineInfo]:
        failure: BoxwiseError | None = None
        try:
            reply = yield from self._exchange(
                INFER, info_request(self.pipeline), deadline, timeout_s
            )
            self.info = PipelineInfo.from_json(text(_parse("ModelInferResponse", reply), "info"))
            return self.info
        except BoxwiseError as error:
            # Cancelled or too short a deadline: not the server's failure, so the next call
            # requests.
            failure = None if isinstance(error, (Cancelled, DeadlineExceeded)) else error
            raise
        finally:
            describing, self._describing = self._describing, None
            if describing is not None:  # None in a process forked meanwhile
                describing.set_result(failure)

    def ready(self, timeout_s: float | None) -> Steps[bool]:
        """Return whether a server reports the pipeline as loaded."""
        request = messages().ModelReadyRequest(name=self.pipeline)
        return self._health(READY, "ModelReadyResponse", "ready", request, timeout_s)

    def live(self, timeout_s: float | None) -> Steps[bool]:
        """Return whether a server responds at all."""
        return self._health(
            LIVE, "ServerLiveResponse", "live", messages().ServerLiveRequest(), timeout_s
        )

    def _health(
        self, path: str, reply_type: str, field: str, request: Any, timeout_s: float | None
    ) -> Steps[bool]:
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

    def _tensor(self, image: ImageLike, transfer: Transfer) -> Steps[Tensor]:
        local = all(each.local for each in self.targets)
        encode = transfer == "encoded" or (transfer == "auto" and not local)
        if is_cheap(image, encode=encode):
            return to_tensor(image)
        limit: int | None = self.info.limits.get("max_pixels") if self.info else None
        tensor: Tensor = yield Work(lambda: to_tensor(image, encode=encode, max_pixels=limit))
        return tensor

    def _exchange(
        self,
        path: str,
        body: Body | SharedRequest,
        deadline: float,
        timeout_s: float,
        request_id: str | None = None,
        call: Observed | None = None,
    ) -> Steps[memoryview]:
        """Send one request, with retries, and return its response.

        Raises:
            BoxwiseError: of the last attempt.
        """
        call = call or Observed()
        server: Endpoint | None = None
        last: Endpoint | None = None
        resent = False
        pause: float | None
        try:
            if self.balancer.names:
                yield from self._look_up(deadline)
            self._budget.earn()
            while True:
                now = time.monotonic()
                server = self.balancer.pick(now, avoid=last)
                call.attempts += 1
                try:
                    if isinstance(body, SharedRequest):
                        encoding = time.perf_counter()
                        pieces = yield from body.pieces(server)
                        call.encode_s += time.perf_counter() - encoding
                    else:
                        pieces = body
                    started = time.monotonic()
                    hedged = path == INFER and pieces is body
                    payload, responder = yield self._send(
                        server, path, pieces, deadline, call, hedged=hedged
                    )
                    self.balancer.responded(responder)
                    if self._latencies and path == INFER:
                        self._latencies.add(time.monotonic() - started)
                    return cast("memoryview", payload)
                except Status as status:
                    if isinstance(body, SharedRequest) and body.forgotten(status):
                        continue
                    # gRPC's transparent retry, once:
                    # https://github.com/grpc/proposal/blob/master/A6-client-retries.md
                    if status.refused and not resent:
                        resent, pause = True, 0.0
                    else:
                        pause = self._retry_pause(server, status, call.attempts - resent, deadline)
                    if pause is None:
                        raise
                    last = server
                    _LOG.debug("%s: %s; sent again in %.3f s", self.pipeline, status, pause)
                    if pause:
                        yield Pause(pause)
        except Status as status:
            url = str(server or self)
            call.attributes["server.address"] = url
            raise self._error(status, url, timeout_s, request_id) from status
        finally:
            if isinstance(body, SharedRequest):
                body.release()

    def _error(
        self, status: Status, url: str, timeout_s: float, request_id: str | None = None
    ) -> BoxwiseError:
        return from_status(
            status.code,
            status.details.removeprefix(f"{url}: "),
            pipeline=self.pipeline,
            url=url,
            timeout_s=timeout_s,
            request_id=request_id,
        )

    def _look_up(self, deadline: float) -> Steps[None]:
        for name in self.balancer.unresolved():
            yield Resolve(name, True, deadline)
        for name in self.balancer.due(time.monotonic()):
            yield Resolve(name, False, deadline)
        if not self.balancer.servers:
            raise Status("UNAVAILABLE", "the name has no address", local=True, processed=False)

    def _send(
        self,
        server: Endpoint,
        path: str,
        body: Body,
        deadline: float,
        call: Observed,
        *,
        hedged: bool = False,
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

    def _send_alone(self, server: Endpoint, path: str, message: bytes) -> Send:
        """Return a short call to this server only."""
        return self._send(server, path, [message], time.monotonic() + 1.0, Observed())

    def _retry_pause(
        self, server: Endpoint, status: Status, tried: int, deadline: float
    ) -> float | None:
        """Return the seconds until the request may be sent again; None if it may not."""
        now = time.monotonic()
        error = from_status(status.code, status.details, pipeline="", url="", timeout_s=0.0)
        if isinstance(error, DeadlineExceeded):
            self.balancer.failed(server, now, silent=True)
            return None
        if not isinstance(error, (Unavailable, StageFailed)):
            self.balancer.responded(server)
            return None
        self.balancer.failed(server, now, silent=False)
        elsewhere = self.balancer.other(now, than=server) is not None
        if isinstance(error, StageFailed) and not elsewhere:
            return None  # the stage stays dead until its server restarts
        pause = 0.0 if elsewhere else self.retry.pause(tried)
        if tried >= self.retry.attempts or now + pause >= deadline:
            return None
        if (status.processed or not elsewhere) and not self._budget.spend():
            return None
        return pause


def _parse(kind: str, payload: memoryview) -> Any:
    try:
        return getattr(messages(), kind).FromString(payload)
    except messages().DecodeError as error:
        raise ContractMismatch(
            f"the response is not a {kind} ({error}): is this Triton's gRPC port?"
        ) from error

"""What a client does, without doing it: each call is a generator that yields the I/O it wants and
is sent the outcome.

`Client` drives these generators with blocking sockets, `AsyncClient` with asyncio. Encoding,
decoding, retries, balancing, hedging and errors are here, once.
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
from boxwise_contract import RequestOptions

_LOG = logging.getLogger("boxwise")
T = TypeVar("T")

# Ten times the slowest image of the demo's pair on a busy laptop core.
DEFAULT_TIMEOUT_S = 5.0


class Session:
    """What a client knows of its servers, and how each of its calls goes. Opens nothing;
    thread-safe.
    """

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
        self._infos: dict[tuple[str, str], PipelineInfo] = {}  # by the model and version of a reply
        self._credentials = Credentials(metadata or {}, token)
        self._latencies = Latencies(hedge.percentile) if hedge else None
        self.forget()

    def forget(self) -> None:
        """Start anew in a process that was forked: nobody else's connections, locks or slots."""
        self.balancer = Balancer(self.targets)
        self._budget = Budget(self.retry.budget)
        self._blocks: dict[tuple[Endpoint, str], bytes] = {}
        self.frames = SharedFrames(self._tell)
        self._id_prefix, self._ids = secrets.token_hex(4), count(1)
        self._asked: Future[BoxwiseError | None] | None = (
            None  # of the call that asks for `info` now
        )
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return ", ".join(map(str, self.targets))

    def predict(self, image: ImageLike, options: CallOptions) -> Steps[Result]:
        """Ask about one image."""
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

        def ask(slot: SlotInput | None = None) -> list[Buffer]:
            return predict_request(self.pipeline, tensor, options, request_id=request_id, slot=slot)

        shared = transfer == "shm" and tensor.name == "frame" and len(tensor.payload) > 0
        body = SharedRequest(self.frames, tensor, ask) if shared else ask()
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
        # A version that was not met before may have other labels, and its pipeline has told them by
        # then.
        answered_by = response.model_name, response.model_version
        if answered_by not in self._infos:
            if any(model == response.model_name for model, _ in self._infos):
                info = yield from self.describe(timeout_s, deadline, known=info)
            self._infos[answered_by] = info
        self.info = info = self._infos[answered_by]
        return Result.from_arrays(columns, info, tensor, timings)

    def describe(
        self,
        timeout_s: float | None = None,
        deadline: float | None = None,
        known: PipelineInfo | None = None,
    ) -> Steps[PipelineInfo]:
        """What the pipeline says of itself, if that is not what is `known`: one call asks, the
        others wait for it.
        """
        timeout_s = self._timeout(timeout_s)
        deadline = time.monotonic() + timeout_s if deadline is None else deadline
        while (info := self.info) is None or info is known:
            with self._lock:
                asked = self._asked
                if asked is None:
                    self._asked = Future()
                    # one who waits and is cancelled does not end it
                    self._asked.set_running_or_notify_cancel()
            if asked is None:
                return (yield from self._ask(timeout_s, deadline))
            try:
                failure = yield Join(asked, deadline)
            except Status as status:
                raise self._error(status, str(self), timeout_s) from status
            if failure is not None:
                raise copy.copy(failure)  # an exception has one traceback
        return info

    def _ask(self, timeout_s: float, deadline: float) -> Steps[PipelineInfo]:
        failure: BoxwiseError | None = None
        try:
            reply = yield from self._exchange(
                INFER, info_request(self.pipeline), deadline, timeout_s
            )
            self.info = PipelineInfo.from_json(text(_parse("ModelInferResponse", reply), "info"))
            return self.info
        except BoxwiseError as error:
            # One that was cancelled or had little time says nothing of the server: then the next
            # one asks.
            failure = None if isinstance(error, (Cancelled, DeadlineExceeded)) else error
            raise
        finally:
            asked, self._asked = self._asked, None
            if asked is not None:  # None in a process that was forked meanwhile
                asked.set_result(failure)

    def ready(self, timeout_s: float | None) -> Steps[bool]:
        """Whether a server says that the pipeline is loaded."""
        request = messages().ModelReadyRequest(name=self.pipeline)
        return self._says(READY, "ModelReadyResponse", "ready", request, timeout_s)

    def live(self, timeout_s: float | None) -> Steps[bool]:
        """Whether a server is there at all."""
        return self._says(
            LIVE, "ServerLiveResponse", "live", messages().ServerLiveRequest(), timeout_s
        )

    def _says(
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
        near = all(each.local for each in self.targets)
        encode = transfer == "encoded" or (transfer == "auto" and not near)
        if is_cheap(image, encode=encode):
            return to_tensor(image)
        most: int | None = self.info.limits.get("max_pixels") if self.info else None
        tensor: Tensor = yield Work(lambda: to_tensor(image, encode=encode, max_pixels=most))
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
        """One request and its reply, with all that is tried in between.

        Raises:
            BoxwiseError: as the last server had it.
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
                    payload, answered = yield self._send(
                        server, path, pieces, deadline, call, hedged=hedged
                    )
                    self.balancer.answered(answered)
                    if self._latencies and path == INFER:
                        self._latencies.add(time.monotonic() - started)
                    return cast("memoryview", payload)
                except Status as status:
                    if isinstance(body, SharedRequest) and body.fixed(status):
                        continue
                    # Transparently, once:
                    # https://github.com/grpc/proposal/blob/master/A6-client-retries.md
                    if status.refused and not resent:
                        resent, pause = True, 0.0
                    else:
                        pause = self._again(server, status, call.attempts - resent, deadline)
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

    def _tell(self, server: Endpoint, path: str, message: bytes) -> Send:
        """A short call on the side, to this server alone."""
        return self._send(server, path, [message], time.monotonic() + 1.0, Observed())

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


def _parse(kind: str, payload: memoryview) -> Any:
    try:
        return getattr(messages(), kind).FromString(payload)
    except messages().DecodeError as error:
        raise ContractMismatch(
            f"the reply is no {kind} ({error}): is this Triton's gRPC port?"
        ) from error

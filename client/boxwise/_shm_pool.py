"""Frames in shared memory: which slot a request has with which server, and what the server is told
of it.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future

from boxwise._endpoint import Endpoint
from boxwise._errors import BoxwiseError
from boxwise._grpc import Status
from boxwise._http2 import Buffer
from boxwise._protocol import SHM_REGISTER, SHM_UNREGISTER, messages
from boxwise._request import Slot as SlotInput
from boxwise._request import Tensor
from boxwise._shm import Slot, Slots, orphans
from boxwise._steps import Body, Join, Send, Steps
from boxwise._transport import cancelled

_LOG = logging.getLogger("boxwise")
_IN_USE = "currently in use"  # Triton's words for a region that a request still reads
_FAREWELL_S = 1.0  # for the response to a registration, which takes a millisecond


class SharedFrames:
    """The slots of one client, by server; `send` makes a call of a path and a message."""

    def __init__(self, send: Callable[[Endpoint, str, bytes], Send]) -> None:
        self._send = send
        self._of: dict[Endpoint, Slots] = {}
        self._closed = False
        self._lock = threading.Lock()

    def take(self, server: Endpoint, size: int) -> Steps[Slot | None]:
        """A slot that this server knows, or None where it has no use for any.

        Raises:
            Status: the server does not answer.
        """
        with self._lock:
            slots = self._of.setdefault(server, Slots())
        if slots.refused or not server.local:
            self._refuse(slots, server, "it is not on this machine")
            return None
        try:
            if not slots.swept:
                slots.swept = True
                yield from self._sweep(server)
            slot, replaced = slots.take(size)
        except OSError as error:
            self._refuse(slots, server, f"no room in /dev/shm ({error.strerror})")
            return None
        try:
            if replaced is not None:
                yield from self._forget(server, replaced)
            if not slot.registered:
                yield from self._introduce(server, slot)
        except Status as status:
            slots.give(slot)
            if status.local or status.refused:
                raise
            slot.told = None
            fix = (
                ": `boxwise serve --client-shm` allows it"
                if "is restricted" in status.details
                else ""
            )
            self._refuse(slots, server, f"the server refuses ({status.details}){fix}")
            return None
        except BaseException:  # the caller was cancelled
            slots.give(slot)
            raise
        return slot

    def give(self, server: Endpoint, slot: Slot) -> None:
        """Take a slot back."""
        self._of[server].give(slot)

    def farewell(self) -> Steps[None]:
        """Tell the servers to forget our shared memory, and take no more of it.

        A slot of a call that the server is still working on, or of a server that cannot be reached,
        is found by whoever sweeps next.
        """
        with self._lock:
            self._closed = True  # from here on, no server is told of a slot
        for server, slots in self._of.items():
            try:
                for slot in slots.known():
                    if slot.told is not None:  # what is told later than that it is over would stay
                        yield Join(slot.told, time.monotonic() + _FAREWELL_S)
                    yield from self._forgotten(server, slot)
            except Status as status:
                _LOG.debug("%s: no farewell: %s", server, status)
            finally:
                slots.close()

    def _sweep(self, server: Endpoint) -> Steps[None]:
        """Remove the slots that nobody owns, and let the server forget them."""
        with orphans() as names:
            for name in tuple(names):
                try:
                    yield self._unregister(server, name)
                except Status as status:
                    if status.local or status.refused:
                        raise
                    if _IN_USE in status.details:
                        names.remove(name)

    def _introduce(self, server: Endpoint, slot: Slot) -> Steps[None]:
        """Tell the server of a slot."""
        if slot.told is not None:  # by a call that was cancelled, or before the server restarted
            yield self._unregister(server, slot.name)
        told: Future[BoxwiseError | None] = Future()
        told.set_running_or_notify_cancel()  # one who waits and is cancelled does not end it
        with self._lock:
            if self._closed:
                raise cancelled()
            slot.told = told
        try:
            yield self._register(server, slot)
        finally:
            told.set_result(None)
        slot.registered = True

    def _forget(self, server: Endpoint, slot: Slot) -> Steps[None]:
        """Let the server forget a slot, and close it."""
        try:
            yield from self._forgotten(server, slot)
        finally:
            slot.close()

    def _forgotten(self, server: Endpoint, slot: Slot) -> Steps[None]:
        """Let the server forget a slot that it may have, unless a call there uses it."""
        if slot.told is None:
            return
        try:
            yield self._unregister(server, slot.name)
        except Status as status:
            if status.local or status.refused or _IN_USE not in status.details:
                raise
        else:
            slot.told, slot.registered = None, False

    def _refuse(self, slots: Slots, server: Endpoint, why: str) -> None:
        if not slots.refused:
            slots.refused = True
            warnings.warn(
                f"transfer='shm': {server}: {why}; frames are sent over the wire", stacklevel=2
            )
            _LOG.warning("%s: no shared memory: %s", server, why)

    def _register(self, server: Endpoint, slot: Slot) -> Send:
        message = messages().SystemSharedMemoryRegisterRequest(
            name=slot.name, key=slot.key, byte_size=slot.size
        )
        return self._send(server, SHM_REGISTER, message.SerializeToString())

    def _unregister(self, server: Endpoint, name: str) -> Send:
        message = messages().SystemSharedMemoryUnregisterRequest(name=name)
        return self._send(server, SHM_UNREGISTER, message.SerializeToString())


class SharedRequest:
    """A frame's request, in shared memory with servers that can read it there."""

    def __init__(
        self, frames: SharedFrames, image: Tensor, ask: Callable[[SlotInput | None], list[Buffer]]
    ) -> None:
        self._frames = frames
        self._frame = memoryview(image.payload)
        self._ask = ask
        self._held: tuple[Endpoint, Slot] | None = None
        self._mended = False

    def pieces(self, server: Endpoint) -> Steps[Body]:
        """The request as this server can read it."""
        self.release()
        slot = yield from self._frames.take(server, self._frame.nbytes)
        if slot is None:
            return self._ask(None)
        self._held = (server, slot)
        slot.write(self._frame)
        return self._ask(SlotInput(slot.name, 0, self._frame.nbytes))

    def fixed(self, status: Status) -> bool:
        """A server that was restarted does not know the slot any more: it is told once more."""
        if (
            self._held is None
            or self._mended
            or status.local
            or "shared memory region" not in status.details
        ):
            return False
        self._mended = True
        self._held[1].registered = False
        return True

    def release(self) -> None:
        """Give the slot back."""
        if self._held is not None:
            self._frames.give(*self._held)
            self._held = None

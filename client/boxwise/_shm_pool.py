"""The slots of a client: taken per request, registered with the server, removed at the end.

SharedRequest.pieces(server) ─▶ SharedFrames.take ─▶ Slot: write the frame, register it
    ─▶ a request that names the slot, or one with the frame if the server refuses slots
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
_IN_USE = "currently in use"  # in Triton's message on a region that a request still reads
_CLOSE_S = 1.0  # for the response to a registration, which takes a millisecond


class SharedFrames:
    """The slots of one client, by server; `send` returns the call of a path with a message."""

    def __init__(self, send: Callable[[Endpoint, str, bytes], Send]) -> None:
        self._send = send
        self._slots: dict[Endpoint, Slots] = {}
        self._closed = False
        self._lock = threading.Lock()

    def take(self, server: Endpoint, size: int) -> Steps[Slot | None]:
        """Return a slot registered with this server, or None if it cannot use slots.

        Raises:
            Status: the server does not respond.
        """
        with self._lock:
            slots = self._slots.setdefault(server, Slots(server.port))
        if slots.refused or not server.local:
            self._refuse(slots, server, "it is not on this machine")
            return None
        try:
            if not slots.swept:
                slots.swept = True
                yield from self._sweep(server)
            slot, replaced = slots.take(size)
        except OSError as error:
            self._refuse(slots, server, f"no space in /dev/shm ({error.strerror})")
            return None
        try:
            if replaced is not None:
                yield from self._discard(server, replaced)
            if not slot.registered:
                yield from self._register_slot(server, slot)
        except Status as status:
            slots.give(slot)
            if status.local or status.refused:
                raise
            slot.registration = None
            restricted = "is restricted" in status.details
            fix = ": `boxwise serve --client-shm` allows it" if restricted else ""
            self._refuse(slots, server, f"the server refuses ({status.details}){fix}")
            return None
        except BaseException:  # cancelled
            slots.give(slot)
            raise
        return slot

    def give(self, server: Endpoint, slot: Slot) -> None:
        """Return a slot."""
        self._slots[server].give(slot)

    def close(self) -> Steps[None]:
        """Unregister and remove the slots, and register no more.

        A later sweep finds the slots of calls that are still in flight on a server, and of servers
        that cannot be reached.
        """
        with self._lock:
            self._closed = True  # from here on, no slot is registered
        for server, slots in self._slots.items():
            try:
                for slot in slots.known():
                    if slot.registration is not None:  # unregistering must follow registering
                        yield Join(slot.registration, time.monotonic() + _CLOSE_S)
                    yield from self._unregister_slot(server, slot)
            except Status as status:
                _LOG.debug("%s: slots stay registered: %s", server, status)
            finally:
                slots.close()

    def _sweep(self, server: Endpoint) -> Steps[None]:
        """Remove and unregister the slots without an owner."""
        with orphans(server.port) as names:
            for name in tuple(names):
                try:
                    yield self._unregister(server, name)
                except Status as status:
                    if status.local or status.refused:
                        raise
                    if _IN_USE in status.details:
                        names.remove(name)

    def _register_slot(self, server: Endpoint, slot: Slot) -> Steps[None]:
        """Register a slot, anew after a cancelled call or a restart of the server."""
        if slot.registration is not None:
            yield self._unregister(server, slot.name)
        registration: Future[BoxwiseError | None] = Future()
        registration.set_running_or_notify_cancel()  # a cancelled waiter must not cancel it
        with self._lock:
            if self._closed:
                raise cancelled()
            slot.registration = registration
        try:
            yield self._register(server, slot)
        finally:
            registration.set_result(None)
        slot.registered = True

    def _discard(self, server: Endpoint, slot: Slot) -> Steps[None]:
        """Unregister a slot and close it."""
        try:
            yield from self._unregister_slot(server, slot)
        finally:
            slot.close()

    def _unregister_slot(self, server: Endpoint, slot: Slot) -> Steps[None]:
        """Unregister a slot that the server may have registered, unless a call there uses it."""
        if slot.registration is None:
            return
        try:
            yield self._unregister(server, slot.name)
        except Status as status:
            if status.local or status.refused or _IN_USE not in status.details:
                raise
        else:
            slot.registration, slot.registered = None, False

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
    """The request of a frame, which is in shared memory for servers that can read it there."""

    def __init__(
        self,
        frames: SharedFrames,
        image: Tensor,
        request: Callable[[SlotInput | None], list[Buffer]],
    ) -> None:
        self._frames = frames
        self._frame = memoryview(image.payload)
        self._request = request
        self._held: tuple[Endpoint, Slot] | None = None
        self._registered_again = False

    def pieces(self, server: Endpoint) -> Steps[Body]:
        """Return the request in a form that this server can read."""
        self.release()
        slot = yield from self._frames.take(server, self._frame.nbytes)
        if slot is None:
            return self._request(None)
        self._held = (server, slot)
        slot.write(self._frame)
        return self._request(SlotInput(slot.name, 0, self._frame.nbytes))

    def forgotten(self, status: Status) -> bool:
        """Return whether a restarted server has lost the slot; it is then registered once more."""
        if (
            self._held is None
            or self._registered_again
            or status.local
            or "shared memory region" not in status.details
        ):
            return False
        self._registered_again = True
        self._held[1].registered = False
        return True

    def release(self) -> None:
        """Return the slot, if there is one."""
        if self._held is not None:
            self._frames.give(*self._held)
            self._held = None

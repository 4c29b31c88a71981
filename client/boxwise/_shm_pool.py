"""The slots of a client: taken per request, registered with the server, removed at the end.

SharedRequest.pieces(server) ─▶ SharedFrames.take ─▶ Slot: write the frame, register it
─▶ a request that names the slot, or one with the frame if the server refuses slots
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable

from boxwise._endpoint import Endpoint
from boxwise._grpc import Status
from boxwise._http2 import Buffer
from boxwise._protocol import SHM_REGISTER, SHM_UNREGISTER, messages
from boxwise._request import Slot as SlotInput
from boxwise._request import Tensor
from boxwise._shm import Slot, Slots, orphans
from boxwise._steps import Body, Send, Steps

_LOG = logging.getLogger("boxwise")


class SharedFrames:
    """The slots of one client, by server; `send` returns the call of a path with a message."""

    def __init__(self, send: Callable[[Endpoint, str, bytes], Send]) -> None:
        self._send = send
        self._slots: dict[Endpoint, Slots] = {}
        self._lock = threading.Lock()

    def take(self, server: Endpoint, size: int) -> Steps[Slot | None]:
        """Return a slot registered with this server, or None if it cannot use slots.

        Raises:
            Status: the server does not respond.
        """
        with self._lock:
            slots = self._slots.setdefault(server, Slots())
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
            if replaced is not None and replaced.registered:
                yield self._unregister(server, replaced.name)
            if not slot.registered:
                yield self._register(server, slot)
                slot.registered = True
        except Status as status:
            slots.give(slot)
            if status.local or status.refused:
                raise
            restricted = "is restricted" in status.details
            fix = ": `boxwise serve --client-shm` allows it" if restricted else ""
            self._refuse(slots, server, f"the server refuses ({status.details}){fix}")
            return None
        return slot

    def give(self, server: Endpoint, slot: Slot) -> None:
        """Return a slot."""
        with self._lock:
            slots = self._slots.get(server)
        if slots is None:  # the client was closed meanwhile
            slot.close()
        else:
            slots.give(slot)

    def farewell(self) -> Steps[None]:
        """Unregister and remove the slots; a later client unregisters those that fail here."""
        with self._lock:
            slots, self._slots = self._slots, {}
        for server, each in slots.items():
            for slot in each.close():
                try:
                    yield self._unregister(server, slot.name)
                except Status:
                    break

    def _sweep(self, server: Endpoint) -> Steps[None]:
        """Remove and unregister the slots of dead processes."""
        with orphans() as names:
            for name in names:
                try:
                    yield self._unregister(server, name)
                except Status as status:
                    if status.local or status.refused:
                        raise

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

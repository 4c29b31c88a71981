"""Frames in shared memory: which slot a request has with which server, and what the server is told
of it.
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
    """The slots of one client, by server; `send` makes a call of a path and a message."""

    def __init__(self, send: Callable[[Endpoint, str, bytes], Send]) -> None:
        self._send = send
        self._of: dict[Endpoint, Slots] = {}
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
            if replaced is not None and replaced.registered:
                yield self._unregister(server, replaced.name)
            if not slot.registered:
                yield self._register(server, slot)
                slot.registered = True
        except Status as status:
            slots.give(slot)
            if status.local or status.refused:
                raise
            fix = (
                ": `boxwise serve --client-shm` allows it"
                if "is restricted" in status.details
                else ""
            )
            self._refuse(slots, server, f"the server refuses ({status.details}){fix}")
            return None
        return slot

    def give(self, server: Endpoint, slot: Slot) -> None:
        """Take a slot back."""
        with self._lock:
            slots = self._of.get(server)
        if slots is None:  # the client was closed meanwhile
            slot.close()
        else:
            slots.give(slot)

    def farewell(self) -> Steps[None]:
        """Tell the servers to forget our shared memory; what cannot be told now is found by whoever
        comes next.
        """
        with self._lock:
            slots, self._of = self._of, {}
        for server, each in slots.items():
            for slot in each.close():
                try:
                    yield self._unregister(server, slot.name)
                except Status:
                    break

    def _sweep(self, server: Endpoint) -> Steps[None]:
        """Remove the slots of processes that are dead, and let the server forget them."""
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

"""What a server is told of shared memory, step by step; a real one is in tests/e2e."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from boxwise._endpoint import parse
from boxwise._grpc import Status
from boxwise._protocol import SHM_REGISTER, messages
from boxwise._shm import FOLDER, PREFIX, Slot
from boxwise._shm_pool import SharedFrames
from boxwise._steps import Join

(SERVER,) = parse("127.0.0.1:1")
IN_USE = "Cannot unregister shared memory region 'x', it is currently in use."


class Server:
    """Keeps regions as Triton does, and answers what `SharedFrames` asks of it."""

    def __init__(self) -> None:
        self.regions: set[str] = set()
        self.in_use: set[str] = set()
        self.frames = SharedFrames(lambda server, path, message: (path, message))  # type: ignore[arg-type,return-value]

    def answer(self, path: str, message: bytes) -> None:
        kind = "Register" if path == SHM_REGISTER else "Unregister"
        request = getattr(messages(), f"SystemSharedMemory{kind}Request").FromString(message)
        if path == SHM_REGISTER:
            if request.name in self.regions:
                raise Status("ALREADY_EXISTS", "already in manager")
            self.regions.add(request.name)
        elif request.name in self.in_use:
            raise Status("INTERNAL", IN_USE)
        else:
            self.regions.discard(request.name)

    def drive(self, steps: Generator[Any, Any, Any]) -> Any:
        """Do all that it asks for."""
        effect, failure = None, None
        while True:
            try:
                effect = steps.throw(failure) if failure else steps.send(None)
                failure = None
            except StopIteration as end:
                return end.value
            try:
                if isinstance(effect, Join):
                    assert effect.future.done()
                else:
                    self.answer(*effect)
            except Status as status:
                failure = status

    def take(self, size: int = 1) -> Slot:
        slot = self.drive(self.frames.take(SERVER, size))
        assert isinstance(slot, Slot)
        return slot


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.in_use.clear()
    server.drive(server.frames.close())
    for name in names():
        (FOLDER / name).unlink()


def names() -> set[str]:
    return {path.name for path in FOLDER.glob(f"{PREFIX}*-{os.getpid()}-*")}


def test_closing_leaves_nothing(server: Server) -> None:
    one, other = server.take(), server.take()
    server.frames.give(SERVER, one)
    assert server.regions == names() == {one.name, other.name}
    server.drive(server.frames.close())
    assert server.regions == set()
    server.frames.give(SERVER, other)
    assert names() == set()


@pytest.mark.parametrize("heard", [True, False])
def test_a_registration_that_is_cancelled_is_taken_back(server: Server, heard: bool) -> None:
    """Whether the server heard of the region or not, the next call registers it."""
    steps = server.frames.take(SERVER, 1)
    registration: Any = next(steps)
    if heard:
        server.answer(*registration)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())
    (name,) = names()
    slot = server.take()
    assert slot.name == name
    assert server.regions == {name}
    server.frames.give(SERVER, slot)
    server.drive(server.frames.close())
    assert server.regions == names() == set()


def test_a_registration_that_is_cancelled_is_forgotten_by_closing(server: Server) -> None:
    steps = server.frames.take(SERVER, 1)
    registration: Any = next(steps)
    server.answer(*registration)
    with pytest.raises(Status):
        steps.throw(Status("CANCELLED", "", local=True))
    assert server.regions
    server.drive(server.frames.close())
    assert server.regions == names() == set()


def test_closing_waits_for_a_registration_and_none_begins_after_it(server: Server) -> None:
    late, registering = server.frames.take(SERVER, 1), server.frames.take(SERVER, 1)
    registration: Any = next(registering)
    closing = server.frames.close()
    join = next(closing)
    assert isinstance(join, Join)
    assert not join.future.done()
    server.answer(*registration)
    with pytest.raises(StopIteration) as end:
        registering.send(None)
    assert join.future.done()
    server.drive(closing)
    assert server.regions == set()
    server.frames.give(SERVER, end.value.value)
    with pytest.raises(Status, match="CANCELLED"):
        server.drive(late)
    assert names() == set()


def test_what_the_server_reads_while_closing_keeps_its_name_until_it_is_forgotten(
    server: Server,
) -> None:
    slot = server.take()
    server.frames.give(SERVER, slot)
    server.in_use.add(slot.name)
    server.drive(server.frames.close())
    assert names() == server.regions == {slot.name}

    early = Server()  # of another client, before the call there ends
    early.regions, early.in_use = server.regions, server.in_use
    own = early.take()
    assert names() == server.regions == {slot.name, own.name}
    server.in_use.clear()
    later = Server()
    later.regions = server.regions
    last = later.take()
    assert names() == server.regions == {own.name, last.name}
    for client, each in ((early, own), (later, last)):
        client.frames.give(SERVER, each)
        client.drive(client.frames.close())
    assert names() == server.regions == set()


def test_a_larger_frame_is_shared_though_the_server_still_reads_the_smaller(server: Server) -> None:
    small = server.take()
    server.frames.give(SERVER, small)
    server.in_use.add(small.name)
    large = server.take(small.size + 1)
    assert names() == server.regions == {small.name, large.name}
    server.frames.give(SERVER, large)


def test_a_server_that_cannot_be_told_is_left_to_the_next_client(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = [server.take(), server.take()]
    for slot in slots:
        server.frames.give(SERVER, slot)

    def gone(path: str, message: bytes) -> None:
        raise Status("UNAVAILABLE", "it is gone", local=True)

    with monkeypatch.context() as patch:
        patch.setattr(server, "answer", gone)
        server.drive(server.frames.close())
    assert names() == {slot.name for slot in slots}


def test_what_another_server_may_have_keeps_its_name_while_that_listens(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        slot = Slot(1, listening.getsockname()[1])
        slot.registration = Future()
        slot.close()
        server.frames.give(SERVER, server.take())
        assert slot.name in names()
    odd = [FOLDER / f"{PREFIX}{name}-{os.getpid()}-" for name in ("x", "123456")]
    for path in odd:
        path.touch()
    later = Server()
    later.frames.give(SERVER, later.take())
    assert [path.exists() for path in odd] == [True, False]  # no port at all, and nobody's
    assert slot.name not in names()
    later.drive(later.frames.close())

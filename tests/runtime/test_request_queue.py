"""The line: who waits, who is answered in what order, and who is refused for what."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from boxwise_contract.refusals import OVERLOADED, is_queue_refusal
from boxwise_runtime.load_board import Load, LoadBoard
from boxwise_runtime.request_queue import MAX_BYTES, Overload, QueueLimits, RequestQueue


@dataclass
class Counter:
    """A line whose worker answers one for each release.

    Attributes:
        answered: in their order.
        refused: and why.
    """

    limits: QueueLimits
    workers: int
    board: LoadBoard
    answered: list[str] = field(default_factory=list)
    refused: list[tuple[str, Overload]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun, self.gate, self.ahead_busy = (
            threading.Semaphore(0),
            threading.Semaphore(0),
            threading.Event(),
        )
        self.queue = RequestQueue(
            self._work,
            lambda one, why: self.refused.append((one, why)),
            self.limits,
            self.workers,
            self.board,
            self.ahead_busy.is_set,
        )

    def _work(self, one: str) -> None:
        self.begun.release()
        self.gate.acquire()
        self.answered.append(one)

    def join(self, *names: str, size: int = 1) -> None:
        for name in names:
            self.queue.join(name, size)

    def begin(self, *names: str) -> None:
        """Let these be worked for."""
        for name in names:
            self.join(name)
            assert self.begun.acquire(timeout=5)

    def end(self) -> None:
        self.gate.release(1000)
        self.queue.close()


@pytest.fixture
def open_line(tmp_path: Path) -> Iterator[Callable[..., Counter]]:
    queues: list[Counter] = []

    def make(workers: int = 1, place: int = 0, count: int = 1, **limits: int) -> Counter:
        queues.append(
            Counter(QueueLimits(**limits), workers, LoadBoard(tmp_path / "turns", place, count))
        )
        return queues[-1]

    yield make
    for each in queues:
        each.end()


def test_nobody_in_it(open_line: Callable[..., Counter]) -> None:
    counter = open_line()
    assert counter.board.mine
    counter.end()
    assert (counter.answered, counter.refused) == ([], [])


def test_first_come_first_served_and_the_rest_is_refused_at_once(
    open_line: Callable[..., Counter],
) -> None:
    counter = open_line(max_queue=2)
    counter.begin("a")
    counter.join("b", "c", "d", "e")
    assert counter.refused == [("d", "queue"), ("e", "queue")]
    assert counter.queue.waiting == 2
    counter.end()
    assert counter.answered == ["a", "b", "c"]
    assert counter.queue.waiting == 0
    assert counter.queue.waited_s > 0


def test_nobody_may_wait_and_each_worker_is_found(open_line: Callable[..., Counter]) -> None:
    counter = open_line(workers=2, max_queue=0)
    counter.begin("a", "b")
    counter.join("c")
    assert counter.refused == [("c", "queue")]


def test_who_would_wait_too_long_is_refused_by_what_requests_took(
    open_line: Callable[..., Counter],
) -> None:
    counter = open_line(max_wait_ms=100)
    counter.begin("slow")
    time.sleep(0.3)  # of which a fifth counts
    counter.gate.release()
    counter.queue.wait_for_turn()
    while not counter.answered:
        time.sleep(0.001)
    counter.begin("a")
    counter.join("b", "c")
    assert counter.refused == [("c", "wait")]


def test_who_has_waited_too_long_is_refused_late(open_line: Callable[..., Counter]) -> None:
    counter = open_line(max_wait_ms=20)
    counter.begin("a")
    counter.join("b")
    time.sleep(0.1)
    counter.end()
    assert (counter.answered, counter.refused) == (["a"], [("b", "wait")])


def test_large_ones_fill_it_sooner_but_one_always_may_wait(
    open_line: Callable[..., Counter],
) -> None:
    counter = open_line()
    counter.begin("a")
    counter.join("huge", size=MAX_BYTES + 1)
    counter.join("small")
    assert counter.refused == [("small", "queue")]


def test_a_worker_survives_what_its_work_raises(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answered = threading.Event()

    def work(one: str) -> None:
        if one == "bad":
            raise ValueError("of a bad one")
        answered.set()

    queue = RequestQueue(
        work, lambda *_: None, QueueLimits(), 1, LoadBoard(tmp_path / "turns", 0, 1)
    )
    queue.join("bad", 1)
    queue.join("good", 1)
    assert answered.wait(5)
    queue.close()
    assert "ValueError: of a bad one" in capfd.readouterr().err


def test_this_thread_answers_while_another_process_is_idle_and_nobody_waits(
    tmp_path: Path, open_line: Callable[..., Counter]
) -> None:
    counter, other = open_line(count=2), LoadBoard(tmp_path / "turns", 1, 2)
    with counter.queue.here() as here:
        assert here
        assert not counter.board.mine
    assert counter.board.mine
    assert counter.queue.worked_s > 0
    other.publish(Load(1))
    with counter.queue.here() as here:
        assert not here
    other.publish(Load())
    counter.begin("a")
    with counter.queue.here() as here:
        assert not here


def test_a_busy_process_waits_for_its_turn_while_another_is_idle(
    tmp_path: Path, open_line: Callable[..., Counter]
) -> None:
    other = LoadBoard(tmp_path / "turns", 1, 2)
    other.publish(Load(1))
    counter = open_line(place=0, count=2)
    counter.begin("a")
    assert not counter.board.mine  # the other began before
    other.publish(Load(2**62))
    counter.queue.wait_for_turn()  # now it is this one that is likely to be done first
    other.publish(Load())
    waits = threading.Thread(target=counter.queue.wait_for_turn)
    waits.start()
    waits.join(0.05)
    assert waits.is_alive()
    counter.gate.release()
    waits.join(5)
    assert not waits.is_alive()
    assert counter.answered == ["a"]


def test_nobody_is_worked_on_while_those_who_work_next_have_no_time(
    open_line: Callable[..., Counter],
) -> None:
    counter = open_line(count=2, max_queue=1)
    counter.ahead_busy.set()
    with counter.queue.here() as here:
        assert not here  # although the other process is idle
    counter.join("a")
    assert not counter.begun.acquire(timeout=0.05)
    counter.join("b", "c")
    assert counter.refused == [("c", "queue")]
    counter.ahead_busy.clear()
    assert counter.begun.acquire(timeout=5)
    counter.end()
    assert counter.answered == ["a", "b"]
    assert counter.queue.waited_s > 0.05
    assert counter.queue.worked_s < counter.queue.waited_s


def test_who_waits_for_those_who_work_next_counts_in_what_requests_take(
    open_line: Callable[..., Counter],
) -> None:
    counter = open_line(max_wait_ms=100)
    counter.ahead_busy.set()
    counter.join("slow")
    time.sleep(0.15)
    counter.ahead_busy.clear()
    counter.gate.release()
    while not counter.answered:
        time.sleep(0.001)
    counter.begin("a")
    counter.join(*"bcdefg")
    assert {why for _, why in counter.refused} == {"wait"}


def test_who_has_waited_too_long_for_those_who_work_next_is_refused(
    open_line: Callable[..., Counter],
) -> None:
    counter = open_line(max_wait_ms=20)
    counter.ahead_busy.set()
    counter.join("a")
    while not counter.refused:
        time.sleep(0.001)
    assert counter.refused == [("a", "wait")]


def test_a_line_that_closes_answers_all_the_same(open_line: Callable[..., Counter]) -> None:
    counter = open_line()
    counter.ahead_busy.set()
    counter.join("a", "b")
    counter.end()
    assert counter.answered == ["a", "b"]


@pytest.mark.parametrize(("why", "key"), [("queue", "max_queue 64"), ("wait", "max_wait_ms 10000")])
def test_a_refusal_names_its_limit_and_is_recognised(why: Overload, key: str) -> None:
    message = QueueLimits().message(why)
    assert key in message
    assert is_queue_refusal(message)
    assert OVERLOADED.search(message)
    assert not is_queue_refusal(f"another thing: {message}")

"""The watch, once around a real server and for its limits around one that fails on demand."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from boxwise_runtime.launcher import LaunchError, ServerOptions, Supervisor, TritonProcess
from boxwise_runtime.stub_processes import stubs_of


@dataclass
class Watched:
    """A supervisor that runs in a thread, and what it said."""

    stop: threading.Event = field(default_factory=threading.Event)
    ready: list[TritonProcess] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    error: LaunchError | None = None

    def wait_for_ready(self, count: int, within_s: float = 30) -> TritonProcess:
        deadline = time.monotonic() + within_s
        while len(self.ready) < count:
            assert time.monotonic() < deadline, self.events
            assert self.error is None, self.error
            time.sleep(0.02)
        return self.ready[-1]


@contextmanager
def watching(options: ServerOptions, *, restart: bool) -> Iterator[Watched]:
    watched = Watched()

    def run() -> None:
        try:
            Supervisor().run(
                options,
                restart=restart,
                on_ready=watched.ready.append,
                on_event=watched.events.append,
                stop=watched.stop,
            )
        except LaunchError as error:
            watched.error = error

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield watched
    finally:
        watched.stop.set()
        thread.join(15)
        assert not thread.is_alive()


def test_a_killed_stage_is_served_again(echo_options, infer, nothing_left) -> None:
    with watching(echo_options, restart=True) as watched:
        first = watched.wait_for_ready(1)
        (segment,) = Path("/dev/shm").glob(f"boxwise-{echo_options.http_port}-*")
        segment.chmod(0o644)  # as Triton leaves those of models that are loaded later
        deadline = time.monotonic() + 5
        while segment.stat().st_mode & 0o077:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (stub,) = stubs_of(first.pid)
        os.kill(stub.pid, signal.SIGKILL)
        second = watched.wait_for_ready(2)
        assert infer(echo_options, 0, 4) == [0, 4]
        assert second.pid != first.pid
        os.kill(second.pid, signal.SIGKILL)
        watched.wait_for_ready(3)
        assert infer(echo_options, 0, 5) == [0, 5]
    assert watched.error is None
    assert len(watched.events) == 2
    assert "the stage 'echo' died" in watched.events[0]
    assert "tritonserver ended by itself" in watched.events[1]
    nothing_left(echo_options)


def test_without_restart_it_ends_and_names_the_stage(echo_options, nothing_left) -> None:
    with watching(echo_options, restart=False) as watched:
        (stub,) = stubs_of(watched.wait_for_ready(1).pid)
        os.kill(stub.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while watched.error is None and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "the stage 'echo' died" in str(watched.error)
    nothing_left(echo_options)


class Dying:
    """Stands in for TritonProcess: each start takes the next entry of `starts`, an error or a
    failure to come.
    """

    starts: list[LaunchError | str | None]

    def __init__(self, fate: str | None) -> None:
        self._fate = fate

    @classmethod
    def start(cls, *_: object, **__: object) -> "Dying":
        fate = cls.starts.pop(0)
        if isinstance(fate, LaunchError):
            raise fate
        return cls(fate)

    def failure(self) -> str | None:
        return self._fate

    def close_segments(self) -> None: ...

    def stop(self, timeout_s: float = 10) -> None: ...

    def __enter__(self) -> "Dying":
        return self

    def __exit__(self, *_: object) -> None: ...


def run_with(
    monkeypatch: pytest.MonkeyPatch, starts: list[LaunchError | str | None], supervisor: Supervisor
) -> list[str]:
    """Run a supervisor over these starts, until one stays well; return what it said."""
    stop, events = threading.Event(), []

    def on_ready(server: Dying) -> None:
        if server.failure() is None:
            stop.set()

    monkeypatch.setattr(Dying, "starts", list(starts), raising=False)
    monkeypatch.setattr("boxwise_runtime.launcher.supervisor.TritonProcess", Dying)
    supervisor.run(
        ServerOptions(Path()), restart=True, on_ready=on_ready, on_event=events.append, stop=stop
    )  # type: ignore[arg-type]
    return events


QUICK = Supervisor(poll_s=0.001, backoff_s=0.01)


def test_it_gives_up_after_too_many_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaunchError, match=r"^it died; given up after 5 restarts within 120 s$"):
        run_with(monkeypatch, ["it died"] * 6, QUICK)
    assert len(run_with(monkeypatch, [*["it died"] * 5, None], QUICK)) == 5


def test_restarts_long_ago_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    forgetful = Supervisor(poll_s=0.02, within_s=0.05, restarts=3, backoff_s=0)
    assert len(run_with(monkeypatch, [*["it died"] * 12, None], forgetful)) == 12


def test_the_pauses_double(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    run_with(monkeypatch, [*["it died"] * 5, None], Supervisor(poll_s=0.001, backoff_s=0.02))
    assert time.monotonic() - began >= 0.02 * (1 + 2 + 4 + 8)


def test_a_first_start_that_fails_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaunchError, match=r"^no such model$"):
        run_with(monkeypatch, [LaunchError("no such model"), None], QUICK)


def test_a_restart_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    events = run_with(monkeypatch, ["it died", LaunchError("port taken"), None], QUICK)
    assert events == ["it died; restarting the server", "port taken; restarting the server"]

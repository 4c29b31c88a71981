"""One server process: started, ready, watched, stopped with nothing left behind."""

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from boxwise_runtime.fitting import NotEnoughMemory, fitted
from boxwise_runtime.launcher import guard, log
from boxwise_runtime.launcher.binary import locate
from boxwise_runtime.launcher.command import ALLOCATOR, arguments
from boxwise_runtime.launcher.files import check_open_files, raise_open_files
from boxwise_runtime.launcher.options import (
    LaunchError,
    ServerOptions,
    check_endpoints,
    check_exposure,
    check_repository,
    check_target,
)
from boxwise_runtime.launcher.paths import plain
from boxwise_runtime.resources import available
from boxwise_runtime.stub_processes import group_runs, stubs_of

READY_POLL_S = 0.05
LOG_LINES = 2000  # kept in memory; a start of a dozen models writes some hundred
REAPED_S = (
    0.5  # what Triton gets to reap a stage that it unloads itself; one that died stays a zombie
)
DEAD_STAGE_S = (
    2  # what Triton gets to say why a stage died while it loaded; it does not always notice
)
# what a stop gives after Triton says it has drained: it counts ensembles, not a model at work on
# its own
FLUSH_S = 1
_DRAINED = "All models are stopped, unloading models"


class TritonProcess:
    """A running tritonserver. As a context manager it stops the server at the end.

    The server has a process group of its own, so Ctrl-C in a terminal reaches only the launcher,
    and it dies with the launcher, kill -9 included.
    """

    def __init__(self, options: ServerOptions, on_log: Callable[[str], None] | None = None) -> None:
        """Start the program without waiting for it: use `start`, which does."""
        self.options = options
        self._on_log = on_log
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        # Its port and a number nobody else has: a person finds the server of a segment, and we find
        # all of ours.
        self._shm_prefix = f"boxwise-{options.http_port}-{secrets.token_hex(4)}-"
        # Where a repository lies that was exported for other cores; removed when the server has
        # stopped.
        self._folder = Path(tempfile.gettempdir(), f"{self._shm_prefix}models")
        self.fitted: str | None = None  # what was changed for this machine, in a sentence
        self._models: dict[int, str] = {}  # of the stubs seen alive, by process id
        self._read = self._read_at_start = 0  # lines of its log, and those before it was ready
        self._drained = threading.Event()
        self._stopped = False
        self._process = self._spawn()
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(self.pid), self._shm_prefix],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            guard.end(self.pid, self._shm_prefix)
            raise
        self._pump = threading.Thread(target=self._read_log, name="triton-log", daemon=True)
        self._pump.start()

    @classmethod
    def start(
        cls,
        options: ServerOptions,
        *,
        timeout_s: float = 120,
        on_log: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Self:
        """Start a server and return when it is ready, all its models loaded.

        Args:
            options: what to serve and where.
            timeout_s: how long the models may take to load.
            on_log: called with each line of the server's log, from a thread of its own.
            stop: when set by another thread or a signal handler, the start is given up.

        Raises:
            LaunchError: it cannot be started, a model did not load, or it was not ready in time;
                nothing is left running.
        """
        check_repository(options.repository)
        check_target(options)
        check_exposure(options)
        check_endpoints(options)
        check_open_files()
        server = cls(options, on_log)
        try:
            server._wait_until_ready(timeout_s, stop or threading.Event())
            _hide(server.pid, options.admin_key)
            server.close_segments()
            server._read_at_start = server._read
        except BaseException:  # Ctrl-C too
            server.stop(timeout_s=0)
            raise
        return server

    @property
    def pid(self) -> int:
        """The process id of tritonserver, which is its process group's too."""
        return self._process.pid

    @property
    def log(self) -> list[str]:
        """The last lines of the server's log."""
        return list(self._lines)

    def failure(self) -> str | None:
        """A sentence when the server or one of its Python stages has died, None while all is well.

        A dead stage must be looked for: Triton neither restarts it nor reports it, and stays ready.
        """
        if (code := self._process.poll()) is not None:
            self._pump.join(timeout=FLUSH_S)
            words = log.last_words(
                self.log[-(self._read - self._read_at_start) :]
                if self._read > self._read_at_start
                else []
            )
            return f"tritonserver ended by itself ({_exit(code)}), and its last words were: {words}"
        stubs = stubs_of(self.pid)
        self._models |= {stub.pid: stub.model for stub in stubs if stub.model}
        if any(stub.dead for stub in stubs):
            time.sleep(REAPED_S)
            for stub in stubs_of(self.pid):
                if stub.dead:
                    model = self._models.get(stub.pid)
                    stage = f"the stage '{model}'" if model else "a Python stage"
                    return (
                        f"{stage} died (its process {stub.pid} crashed or was killed; out of "
                        "memory?)"
                    )
        return None

    def close_segments(self) -> None:
        """Let only our user read what stages hand on in /dev/shm: Triton makes it readable for all,
        umask or not.

        `start` does it, and a Supervisor for models that are loaded later.
        """
        for segment in Path("/dev/shm").glob(f"{self._shm_prefix}*"):  # noqa: S108
            with suppress(FileNotFoundError):
                segment.chmod(0o600)

    def stop(self, timeout_s: float = 10) -> None:
        """End the server and its stages, and remove what they hold in /dev/shm. Stopping twice is
        fine.

        Requests that a model is working on get a second to be answered. A request that is between
        two steps of an ensemble is refused with UNAVAILABLE, as Triton does once it stops. Models'
        finalize() is not waited for (each Python instance takes over a second to end by itself).

        Args:
            timeout_s: after this, whatever still runs is killed; 0 kills at once.
        """
        if self._stopped:
            return
        try:
            if self._process.poll() is None and timeout_s > 0:
                self._process.terminate()
                self._wait_for_drain(timeout_s)
        finally:  # Ctrl-C while it waits kills at once
            self._kill()

    def _kill(self) -> None:
        """End what still runs, and wait until nothing does."""
        guard.end(self.pid, self._shm_prefix)
        self._process.wait()
        self._wait_for_group()
        self._pump.join(timeout=1)
        with suppress(BrokenPipeError):  # it was killed
            self._guard.communicate(guard.DONE)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._stopped = True

    def __enter__(self) -> Self:
        """Return the server itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def _spawn(self) -> subprocess.Popen[str]:
        binary = locate(self.options)
        options = replace(self.options, repository=plain(self._fitted()))
        try:
            process = subprocess.Popen(
                [binary.program, *binary.arguments, *arguments(options, self._shm_prefix)],
                env=ALLOCATOR | dict(binary.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(f"{binary.program} cannot be run: {error.strerror}") from error
        with suppress(OSError):  # it has ended already, and its log says why
            raise_open_files(process.pid)
        return process

    def _fitted(self) -> Path:
        """The repository as this machine can serve it; one that is changed while it is served is
        fitted by who does.
        """
        if self.options.reload:
            return self.options.repository
        try:
            repository, self.fitted = fitted(self.options.repository, self._folder, available())
        except NotEnoughMemory as error:
            raise LaunchError(f"{self.options.repository}: {error}") from error
        return repository

    def _read_log(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 (PIPE)
        with self._process.stdout as lines:
            for text in log.without_repeats(line.rstrip("\n") for line in lines):
                self._lines.append(text)
                self._read += 1
                if _DRAINED in text:
                    self._drained.set()
                if self._on_log:
                    # Nobody reads it any more: the server must not wait for that.
                    with suppress(OSError):
                        self._on_log(text)

    def _wait_until_ready(self, timeout_s: float, stop: threading.Event) -> None:
        deadline = time.monotonic() + timeout_s
        dead_since: float | None = None
        while not self._answers():
            if self._process.poll() is not None:
                raise LaunchError(self._why_it_ended())
            # Triton ends as well, but only when it has unloaded the models that did load: seconds
            # later.
            if failure := log.load_failure(self.log):
                raise LaunchError(failure)
            now = time.monotonic()
            if (failure := self.failure()) is None:
                dead_since = None
            elif now - (dead_since := dead_since or now) > DEAD_STAGE_S:
                raise LaunchError(failure)
            if stop.wait(READY_POLL_S):
                raise LaunchError("the start was interrupted")
            if now > deadline:
                loading = ", ".join(log.still_loading(self.log))
                raise LaunchError(
                    f"the server was not ready after {timeout_s:g} s"
                    + (f" (still loading: {loading})" if loading else "")
                    + ": allow more with --load-timeout"
                )
        if failure := self.failure():
            raise LaunchError(failure)

    def _answers(self) -> bool:
        """Whether GET /v2/health/ready says yes, and metrics, which Triton opens last, are there
        too.
        """
        options = self.options
        host = options.local_host
        connection = http.client.HTTPConnection(host, options.http_port, timeout=2)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status != 200:
                return False
            if not any(each.startswith("--allow-metrics") for each in options.extra_args):
                socket.create_connection((host, options.metrics_port), timeout=2).close()
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _why_it_ended(self) -> str:
        self._pump.join(timeout=2)  # its last words
        lines = self.log
        if failure := log.load_failure(lines):
            return failure
        if reason := log.last_error(lines):
            return f"tritonserver did not start: {reason}"
        last = next((line for line in reversed(lines) if line.strip()), "its log is empty")
        reason = log.lost_stage(lines) or last.strip()
        return f"tritonserver did not start ({_exit(self._process.returncode)}): {reason}"

    def _wait_for_drain(self, timeout_s: float) -> None:
        """Wait for the server to end or to have drained."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._drained.wait(READY_POLL_S):
                deadline = min(deadline, time.monotonic() + FLUSH_S)
                self._drained.clear()

    def _wait_for_group(self, timeout_s: float = 2) -> None:
        """Wait until no stage runs any more, and reap those that became our children (as in a
        container).
        """
        deadline = time.monotonic() + timeout_s
        while group_runs(self.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        with suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass


def _hide(pid: int, secret: str) -> None:
    """Blot a secret out of the arguments that everybody on the machine sees of a process, which has
    read them by now.

    Triton takes it in no other way. A hardened kernel does not let us: SECURITY.md says what then
    remains.
    """
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            shown = memory.read(end - start)
            memory.seek(start)
            memory.write(shown.replace(secret.encode(), b"*" * len(secret)))


def _exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

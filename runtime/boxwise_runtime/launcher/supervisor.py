"""Keeps a server running: watches it, restarts it when it or a stage dies, gives up when that does
not help.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from boxwise_runtime.launcher.options import LaunchError, ServerOptions
from boxwise_runtime.launcher.process import TritonProcess


@dataclass(frozen=True)
class Supervisor:
    """The limits of the watch.

    Attributes:
        load_timeout_s: how long the models may take to load, at the first start and at each
            restart.
        poll_s: how often the server and its stages are looked at.
        restarts: so many restarts within `within_s` are tried, then it gives up.
        backoff_s: the pause before the second restart in a row, doubled for each further one; the
            first comes at once.
        on_log: called with each line of the server's log, from a thread of its own.
    """

    load_timeout_s: float = 120
    poll_s: float = 0.25
    restarts: int = 5
    within_s: float = 120
    backoff_s: float = 0.5
    on_log: Callable[[str], None] | None = None

    def run(
        self,
        options: ServerOptions,
        *,
        restart: bool,
        on_ready: Callable[[TritonProcess], None],
        on_event: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        """Serve until `stop` is set.

        Args:
            options: what to serve and where.
            restart: whether to restart the server when it or one of its stages dies.
            on_ready: called with the server each time it is ready.
            on_event: called with a sentence for each death and each restart.
            stop: ends the watch, within `poll_s` and the time that the server takes to stop.

        Raises:
            LaunchError: the server did not start, or died and was not (or not again) restarted.
        """
        recent: deque[float] = deque()  # when the last restarts were
        failure = self._serve(options, on_ready, stop)
        while failure is not None:
            if not restart:
                raise LaunchError(f"{failure}; not restarted, as --no-restart asks")
            now = time.monotonic()
            while recent and now - recent[0] > self.within_s:
                recent.popleft()
            if len(recent) >= self.restarts:
                raise LaunchError(
                    f"{failure}; given up after {len(recent)} restarts within {self.within_s:g} s"
                )
            on_event(f"{failure}; restarting the server")
            pause = self.backoff_s * 2 ** (len(recent) - 1) if recent else 0
            recent.append(now)
            if stop.wait(pause):
                return
            try:
                failure = self._serve(options, on_ready, stop)
            except (
                LaunchError
            ) as error:  # what started once may start again: a port not yet free, memory short
                failure = str(error)

    def _serve(
        self,
        options: ServerOptions,
        on_ready: Callable[[TritonProcess], None],
        stop: threading.Event,
    ) -> str | None:
        """Run one server until it fails (the sentence) or is told to stop (None)."""
        try:
            server = TritonProcess.start(
                options, timeout_s=self.load_timeout_s, on_log=self.on_log, stop=stop
            )
        except LaunchError:
            if stop.is_set():
                return None
            raise
        with server:
            on_ready(server)
            while not stop.wait(self.poll_s):
                server.close_segments()
                if failure := server.failure():
                    # Requests are lost already, and a dead stage's would be waited for: stop at
                    # once.
                    server.stop(timeout_s=0)
                    return failure
        return None

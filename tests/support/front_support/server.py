"""The real Triton behind the fronts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from contract_support.synthetic import make_dots, png

from boxwise_runtime.launcher import ServerOptions, TritonProcess

IMAGES = {
    "no dots": png(make_dots(0).draw()),
    "one pixel": png(np.zeros((1, 1, 3), np.uint8)),
    "12 dots": png(make_dots(12).draw()),
}
IMAGE = IMAGES["12 dots"]
ADMIN_KEY = ("triton-grpc-protocol-admin-key", "open sesame")


@dataclass(frozen=True)
class Server:
    """One that runs."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It answers nothing until the block ends."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            while any("\tT (" not in (each / "status").read_text() for each in self._threads()):
                time.sleep(0.01)  # they stop one after the other
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _threads(self) -> list[Path]:
        return list(Path(f"/proc/{self.pid}/task").iterdir())


@contextmanager
def serving(repository: Path, port: int | None = None) -> Iterator[Server]:
    """It tells its metadata only to those who have ADMIN_KEY."""
    options = ServerOptions.on_free_ports(repository)
    restricted = f"--grpc-restricted-protocol=metadata:admin-key={ADMIN_KEY[1]}"
    options = replace(options, grpc_port=port or options.grpc_port, extra_args=(restricted,))
    with TritonProcess.start(options) as process:
        yield Server(options.grpc_port, process.pid)
        process.stop(timeout_s=0)  # nobody waits for an answer

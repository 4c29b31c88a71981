"""Starting, watching and stopping a real Triton server.

    with TritonProcess.start(ServerOptions(Path("repository"))) as server:
        ...

`Supervisor` keeps one running; `boxwise serve` is a thin shell around it.
"""

from boxwise_runtime.launcher.options import (
    LaunchError,
    ServerOptions,
    ServerTLS,
    free_ports,
    pipelines,
)
from boxwise_runtime.launcher.process import TritonProcess
from boxwise_runtime.launcher.supervisor import Supervisor

__all__ = [
    "LaunchError",
    "ServerOptions",
    "ServerTLS",
    "Supervisor",
    "TritonProcess",
    "free_ports",
    "pipelines",
]

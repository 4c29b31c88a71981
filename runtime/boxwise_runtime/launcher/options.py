"""What to serve and where, and the checks that need no server."""

import errno
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

Target = Literal["embedded", "onnxruntime", "tensorrt"]
TARGETS: tuple[Target, ...] = get_args(Target)


class LaunchError(RuntimeError):
    """The server cannot be started, or did not stay up; the message is one sentence with its mend."""


@dataclass(frozen=True)
class ServerOptions:
    """One server: a model repository, the target it is served for, and its three endpoints.

    Attributes:
        repository: a folder of models, as `boxwise export` writes it.
        target: which of each model's configurations: `embedded` is config.pbtxt, the others configs/<target>.pbtxt.
        host: the address all three endpoints listen on; the default answers this machine only.
        server: a tritonserver of your own (a path or a name on PATH), such as the container's; None: the bundled one.
        extra_args: further arguments for tritonserver, as they are.
        response_cache_mb: memory for replies to pictures that come again, of the pipelines exported with
            `serving: {response_cache: true}`; 0 for none.
    """

    repository: Path
    target: Target = "embedded"
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    server: Path | None = None
    extra_args: tuple[str, ...] = ()
    response_cache_mb: int = 0

    @classmethod
    def on_free_ports(cls, repository: Path) -> Self:
        """A server for this machine alone, on ports that nobody listens on."""
        grpc_port, http_port, metrics_port = free_ports(3)
        return cls(repository, grpc_port=grpc_port, http_port=http_port, metrics_port=metrics_port)

    @property
    def grpc_url(self) -> str:
        """HOST:PORT of its gRPC endpoint, for a client on this machine."""
        return f"{self.reachable_host}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """The address of its metrics, for a reader on this machine."""
        return f"http://{self.reachable_host}:{self.metrics_port}/metrics"

    @property
    def ports(self) -> dict[str, int]:
        """The three ports by the name of their endpoint."""
        return {"grpc": self.grpc_port, "http": self.http_port, "metrics": self.metrics_port}

    @property
    def reachable_host(self) -> str:
        """The host as a client on this machine writes it in an address: wildcards become loopback, IPv6 gets []."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"[{host}]" if ":" in host else host

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")


def check_repository(repository: Path) -> None:
    """Raise LaunchError unless `repository` is a folder with at least one model in it."""
    if not repository.is_dir():
        what = "is a file, not a folder" if repository.exists() else "does not exist"
        raise LaunchError(
            f"the model repository {repository} {what}: `boxwise export PIPELINE.yaml --out {repository}`"
        )
    if not models(repository):
        raise LaunchError(
            f"{repository} holds no model (a folder with a config.pbtxt): "
            "give the folder that `boxwise export --out` wrote"
        )


def check_target(options: ServerOptions) -> None:
    """Raise LaunchError where a pipeline has nothing for the target: fused, it runs its graphs itself, on the CPU."""
    if options.target == "embedded":
        return
    for pipeline in pipelines(options.repository):
        config = options.repository / pipeline / "config.pbtxt"
        if config.is_file() and 'key: "chunk"' in config.read_text(encoding="utf-8"):  # of what runs graphs itself
            raise LaunchError(
                f"the pipeline {pipeline} is laid out for the CPU alone (fused), and has no models for --target "
                f"{options.target}: `boxwise layout {options.repository} ensemble --pipeline {pipeline}`"
            )


def models(repository: Path) -> list[str]:
    """Names of the models in a repository, sorted."""
    return sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))


def pipelines(repository: Path) -> list[str]:
    """Names of the pipelines in a repository, sorted: a pipeline X brings a model X_info."""
    found = models(repository)
    return [name.removesuffix("_info") for name in found if name.endswith("_info") and name.removesuffix("_info")]


def check_endpoints(options: ServerOptions) -> None:
    """Raise LaunchError unless the three ports differ and can be bound on the host now."""
    taken: dict[int, str] = {}
    for name, port in options.ports.items():
        if not 0 < port < 65536:
            raise LaunchError(f"--{name}-port {port} is not a port: give one from 1 to 65535")
        if port in taken:
            raise LaunchError(f"--{taken[port]}-port and --{name}-port are both {port}: give each its own")
        taken[port] = name
        _check_port(options.host, name, port)


def _check_port(host: str, name: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise LaunchError(f"--host {host} is not an address that can be resolved: {error.strerror}") from error
    with socket.socket(family, kind) as probe:
        # As servers do, so that connections of a server that has just gone (TIME_WAIT) don't count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError as error:
            raise LaunchError(f"port {port} needs root: give another with --{name}-port") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LaunchError(
                    f"port {port} on {host} is taken by another program: stop it, or give another with --{name}-port"
                ) from error
            raise LaunchError(f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}") from error


def find_server(server: Path) -> Path:
    """The program behind --server: a path or a name on PATH. Raises LaunchError when it cannot be run."""
    found = shutil.which(server)
    if found is None:
        why = "cannot be executed" if server.exists() else "is not there, nor on PATH"
        raise LaunchError(f"--server {server} {why}: give the path of a tritonserver")
    return Path(found).absolute()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now, all different; another program may still take one before you do."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

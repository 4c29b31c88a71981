"""What to serve and where, and the checks that need no server."""

import errno
import ipaddress
import os
import secrets
import shlex
import shutil
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from boxwise_runtime.targets import EMBEDDED, Target

ADMIN_HEADER = "boxwise-admin"  # as the chart has it


class LaunchError(RuntimeError):
    """The server cannot be started, or did not stay up;
    the message is one sentence with its fix.
    """


@dataclass(frozen=True)
class ServerTLS:
    """How a server proves who it is, and whom it answers: PEM files, its certificate and that one's
    key.

    Attributes:
        client_ca: it answers only clients whose certificate is of this authority; None: all.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Those that there are, by the option of `boxwise serve` that names them."""
        own = {"--tls-cert": self.certificate, "--tls-key": self.key}
        return own | ({"--tls-client-ca": self.client_ca} if self.client_ca else {})


@dataclass(frozen=True)
class ServerOptions:
    """One server: a model repository, the target it is served for, its three endpoints, and what it
    does for whom.

    Attributes:
        repository: a folder of models, as `boxwise export` writes it.
        target: which of each model's configurations: `embedded` is config.pbtxt, the others
            configs/<target>.pbtxt.
        host: the address that gRPC listens on; the default answers this machine only, as HTTP and
            metrics always do.
        server: a tritonserver of your own (a path or a name on PATH), such as the container's;
            None: the bundled one.
        extra_args: further arguments for tritonserver, as they are.
        response_cache_mb: memory for replies to images that come again, of the pipelines exported
            with `serving: {response_cache: true}`; 0 for none.
        reload: whether models can be loaded and unloaded while it serves, by who sends
            `admin_headers`.
        client_shm: whether clients may hand over frames in shared memory.
        public: whether other machines may call it; it then needs `tls` or `without_tls`.
        tls: of gRPC.
        without_tls: that calls of other machines are to come in the clear, because something before
            it has TLS.
        admin_key: what opens the protocols that are closed to others; one of its own for each
            server.
    """

    repository: Path
    target: Target = EMBEDDED
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    server: Path | None = None
    extra_args: tuple[str, ...] = ()
    response_cache_mb: int = 0
    reload: bool = False
    client_shm: bool = False
    public: bool = False
    tls: ServerTLS | None = None
    without_tls: bool = False
    admin_key: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)

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
    def http_url(self) -> str:
        """The address of its HTTP endpoint, which only this machine reaches."""
        return f"http://{_in_url(self.local_host)}:{self.http_port}"

    @property
    def metrics_url(self) -> str:
        """The address of its metrics, which only this machine reaches."""
        return f"http://{_in_url(self.local_host)}:{self.metrics_port}/metrics"

    @property
    def admin_headers(self) -> dict[str, str]:
        """The header that opens what is closed to others, by its names in HTTP and in gRPC: send
        both.
        """
        return {
            ADMIN_HEADER: self.admin_key,
            f"triton-grpc-protocol-{ADMIN_HEADER}": self.admin_key,
        }

    @property
    def ports(self) -> dict[str, int]:
        """The three ports by the name of their endpoint."""
        return {"grpc": self.grpc_port, "http": self.http_port, "metrics": self.metrics_port}

    @property
    def hosts(self) -> dict[str, str]:
        """The addresses that they listen on."""
        return {"grpc": self.host, "http": self.local_host, "metrics": self.local_host}

    @property
    def local_host(self) -> str:
        """The address of what only this machine may reach."""
        if self.on_loopback:
            return self.host
        return "::1" if ":" in self.host else "127.0.0.1"

    @property
    def reachable_host(self) -> str:
        """The host as a client on this machine writes it in an address: wildcards become loopback,
        IPv6 gets [].
        """
        return _in_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host))  # noqa: S104

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def check_repository(repository: Path) -> None:
    """Raise LaunchError unless `repository` is a folder with at least one model in it."""
    if not repository.is_dir():
        what = "is a file, not a folder" if repository.exists() else "does not exist"
        raise LaunchError(
            f"the model repository {repository} {what}: `boxwise export PIPELINE.yaml --out "
            f"{shlex.quote(str(repository))}`"
        )
    if not models(repository):
        raise LaunchError(
            f"{repository} holds no model (a folder with a config.pbtxt): "
            "give the folder that `boxwise export --out` wrote"
        )


def check_target(options: ServerOptions) -> None:
    """Raise LaunchError where a pipeline has nothing for the target: fused, it runs its graphs
    itself, on the CPU.
    """
    if options.target.joins_networks:
        return
    for pipeline in pipelines(options.repository):
        config = options.repository / pipeline / "config.pbtxt"
        # Of what runs graphs itself.
        if config.is_file() and 'key: "chunk"' in config.read_text(encoding="utf-8"):
            raise LaunchError(
                f"the pipeline {pipeline} is laid out for the CPU alone (fused), and has no models "
                f"for --target {options.target}: `boxwise layout "
                f"{shlex.quote(str(options.repository))} ensemble --pipeline {pipeline}`"
            )


def models(repository: Path) -> list[str]:
    """Names of the models in a repository, sorted."""
    return sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))


def pipelines(repository: Path) -> list[str]:
    """Names of the pipelines in a repository, sorted: a pipeline X brings a model X_info."""
    found = models(repository)
    return [
        name.removesuffix("_info")
        for name in found
        if name.endswith("_info") and name.removesuffix("_info")
    ]


def check_exposure(options: ServerOptions) -> None:
    """Raise LaunchError where other machines could call the server, and that was not asked for or
    is not encrypted.
    """
    if not options.on_loopback and not options.public:
        raise LaunchError(
            f"--host {options.host} can be reached from other machines: give --public, with "
            "--tls-cert and --tls-key, or leave --host out and put a front before it "
            "(docs/how-to/front.md)"
        )
    if options.public and options.tls is None and not options.without_tls:
        raise LaunchError(
            "--public needs --tls-cert and --tls-key, since images would cross the network in the "
            "clear; where something before this server has TLS already, such as a front or a mesh, "
            "say so with --without-tls"
        )
    if options.tls:
        _check_tls(options.tls)


def _check_tls(tls: ServerTLS) -> None:
    """Triton says of files that it cannot use that its port is in use."""
    for option, file in tls.files.items():
        if not os.access(file, os.R_OK):
            why = "may not be read by this user" if file.exists() else "does not exist"
            raise LaunchError(f"{option} {file} {why}: give a PEM file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except ssl.SSLError as error:
        raise LaunchError(
            f"--tls-cert {tls.certificate} and --tls-key {tls.key} are not a certificate and its "
            "own key: give two PEM files, the key without a password"
        ) from error
    if tls.client_ca:
        try:
            context.load_verify_locations(tls.client_ca)
        except ssl.SSLError as error:
            raise LaunchError(
                f"--tls-client-ca {tls.client_ca} holds no certificate: give a PEM file"
            ) from error


def check_endpoints(options: ServerOptions) -> None:
    """Raise LaunchError unless the three ports differ and can be bound on their hosts now."""
    taken: dict[int, str] = {}
    for name, port in options.ports.items():
        if not 0 < port < 65536:
            raise LaunchError(f"--{name}-port {port} is not a port: give one from 1 to 65535")
        if port in taken:
            raise LaunchError(
                f"--{taken[port]}-port and --{name}-port are both {port}: give each its own"
            )
        taken[port] = name
        _check_port(options.hosts[name], name, port)


def _check_port(host: str, name: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise LaunchError(
            f"--host {host} is not an address that can be resolved: {error.strerror}"
        ) from error
    with socket.socket(family, kind) as probe:
        # As servers do, so that connections of a server that has just gone (TIME_WAIT) don't count
        # as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError as error:
            raise LaunchError(f"port {port} needs root: give another with --{name}-port") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LaunchError(
                    f"port {port} on {host} is taken by another program: stop it, or give "
                    f"another with --{name}-port"
                ) from error
            raise LaunchError(
                f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}"
            ) from error


def find_server(server: Path) -> Path:
    """The program behind --server: a path or a name on PATH. Raises LaunchError when it cannot be
    run.
    """
    found = shutil.which(server)
    if found is None:
        why = "cannot be executed" if server.exists() else "is not there, nor on PATH"
        raise LaunchError(f"--server {server} {why}: give the path of a tritonserver")
    return Path(found).absolute()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now, all different; another program may still take
    one before you do.
    """
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

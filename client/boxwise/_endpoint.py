"""Server addresses: parsed from what users write, and resolved."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import NamedTuple

from boxwise._errors import InvalidArgument
from boxwise._words import shortened

DEFAULT_PORT = 8001
_EXPECTED = (
    "expected HOST:PORT of the gRPC port, such as localhost:8001, dns:///HOST:PORT or unix:PATH"
)


class Endpoint(NamedTuple):
    """One server, or a DNS name of several.

    Attributes:
        host: a name or an address; empty for a Unix socket.
        port: of TCP.
        path: of a Unix socket; empty for TCP.
        many: whether each address of this name is a server of its own (`dns:///`); otherwise the
            first address that accepts a connection is used.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    many: bool = False

    @property
    def authority(self) -> str:
        """The server's name in requests."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine, so that requests do not cross a network."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else self.authority


def parse(targets: str | Sequence[str]) -> tuple[Endpoint, ...]:
    """Return the endpoints of one or several targets.

    Args:
        targets: `HOST:PORT`, `HOST` (port 8001), `[IPV6]:PORT`, `dns:///HOST:PORT`, `unix:PATH`, or
            a list of them.

    Raises:
        InvalidArgument: a target has another form, or there is none.
    """
    names = [targets] if isinstance(targets, str) else list(targets)
    if not names:
        raise InvalidArgument(f"target: an empty list; {_EXPECTED}")
    return tuple(map(_parse_one, names))


def resolve(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """Return the servers behind `dns:///NAME`, one per address; blocks until the name is resolved.

    Raises:
        OSError: the name cannot be resolved.
    """
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(Endpoint(str(address[0]), endpoint.port) for *_, address in found))


def _parse_one(target: str) -> Endpoint:
    scheme, colon, rest = target.partition(":")
    if scheme == "unix" and colon:
        path = "/" + rest.lstrip("/") if rest.startswith("//") else rest
        if not path.strip("/"):
            raise InvalidArgument(f"target: {shortened(repr(target))} names no socket; {_EXPECTED}")
        return Endpoint(path=path)
    many = scheme == "dns" and rest.startswith("//")
    # dns://AUTHORITY/HOST names a DNS server to use, which is not supported.
    if "://" in target and not target.startswith("dns:///"):
        raise InvalidArgument(f"target: {_EXPECTED}, got {shortened(repr(target))}")
    host, port = _host_and_port(target.removeprefix("dns:///"))
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise InvalidArgument(f"target: {_EXPECTED}, got {shortened(repr(target))}")
    return Endpoint(host, int(port), many=many)


def _host_and_port(target: str) -> tuple[str, str]:
    if target.startswith("["):
        host, _, rest = target[1:].partition("]")
        return host, rest.removeprefix(":") or str(DEFAULT_PORT)
    if target.count(":") > 1:  # an IPv6 address without brackets, or invalid
        return (target if set(target) <= set("0123456789abcdefABCDEF:.") else "", str(DEFAULT_PORT))
    host, colon, port = target.partition(":")
    return host, port if colon else str(DEFAULT_PORT)

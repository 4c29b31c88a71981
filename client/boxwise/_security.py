"""TLS, tokens and metadata. None of them appears in a repr, a log or an error."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from boxwise._endpoint import Endpoint
from boxwise._errors import InvalidArgument
from boxwise._grpc import header

Path: TypeAlias = "str | os.PathLike[str]"
Token: TypeAlias = "str | Callable[[], str]"  # noqa: S105 - a type


@dataclass(frozen=True, slots=True)
class TLS:
    """TLS settings of a client.

    Attributes:
        ca: PEM file of trusted authorities; None for the system's.
        certificate: PEM file of the client's certificate, for mutual TLS.
        key: PEM file of its key; None if it is in `certificate`.
        server_name: name in the server's certificate, if it is not the host.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = field(default=None, repr=False)
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return the SSL context of connections: TLS 1.2 or later, HTTP/2.

        Raises:
            InvalidArgument: a file cannot be read or is not PEM.
        """
        file: object = self.ca
        try:
            context = ssl.create_default_context(
                cafile=None if self.ca is None else os.fspath(self.ca)
            )
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["h2"])
            if self.certificate is not None:
                file = self.certificate
                context.load_cert_chain(self.certificate, self.key)
            elif self.key is not None:
                raise InvalidArgument(
                    "tls: a key without a certificate: expected both for mutual TLS"
                )
        except OSError as error:  # ssl.SSLError is one
            reason = (
                error.strerror
                if not isinstance(error, ssl.SSLError)
                else "it is not PEM, or the key does not match"
            )
            raise InvalidArgument(f"tls: cannot use {file}: {reason}") from error
        return context


class Credentials:
    """The headers of every call; a token may come from a function, called each time."""

    def __init__(self, metadata: Mapping[str, str], token: Token | None) -> None:
        for name, value in metadata.items():
            if (
                name != name.lower()
                or not name.isascii()
                or name.startswith((":", "grpc-"))
                or not value.isprintable()
            ):
                raise InvalidArgument(
                    f"metadata: {name!r}: expected lower case, not grpc-*, with a printable value"
                )
        self.headers = b"".join(header(name, value) for name, value in metadata.items())
        self._token = token

    def bearer(self) -> bytes:
        """Return the header with the current token."""
        if self._token is None:
            return b""
        token = self._token if isinstance(self._token, str) else self._token()
        return header("authorization", f"Bearer {token}")

    def __repr__(self) -> str:
        return "Credentials(...)"


def require_tls(
    token: Token | None, tls: ssl.SSLContext | None, targets: tuple[Endpoint, ...]
) -> None:
    """Check that a token does not cross a network unencrypted.

    Raises:
        InvalidArgument: it would.
    """
    if token is None or tls is not None:
        return
    for target in targets:
        if not target.local:
            raise InvalidArgument(
                f"token: the connection to {target} has no TLS, so others could read it: add "
                "tls=True. If something else encrypts the connection (a mesh), pass "
                "metadata={'authorization': 'Bearer ...'}"
            )

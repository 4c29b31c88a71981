"""Keys to try the front with: a certificate for localhost, the keys of tokens, and a token.

    python deploy/envoy/trial_keys.py FOLDER

writes tls/tls.crt, tls/tls.key, ca.pem, jwks.json and token.

For a trial only: in production, cert-manager or your authority has certificates, and your identity
provider tokens. It needs `cryptography` and `trustme`, which the environment of the tests has.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def token(key: Ed25519PrivateKey, **claims: object) -> str:
    """A JWT (RFC 7519): for boxwise, of `trial`, for an hour, unless `claims` say otherwise; None
    leaves one out.
    """
    usual = {
        "iss": "https://issuer.example",
        "aud": "boxwise",
        "sub": "trial",
        "exp": int(time.time()) + 3600,
    }
    head = {"alg": "EdDSA", "typ": "JWT", "kid": "trial"}
    said = {name: value for name, value in (usual | claims).items() if value is not None}
    signed = b".".join(_base64(json.dumps(part).encode()) for part in (head, said))
    return (signed + b"." + _base64(key.sign(signed))).decode()


def write(folder: Path) -> Ed25519PrivateKey:
    """Write all that envoy.yaml reads, the authority that clients trust, and a token; returns the
    key of tokens.
    """
    (folder / "tls").mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_pem.write_to_path(folder / "tls" / "tls.key")
    (folder / "tls" / "tls.crt").write_bytes(
        b"".join(blob.bytes() for blob in server.cert_chain_pems)
    )
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "kid": "trial",
        "x": _base64(public).decode(),
    }
    (folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    (folder / "token").write_text(token(key))
    return key


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

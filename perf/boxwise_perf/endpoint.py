"""A server to measure: a running one, or a Triton that serves a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boxwise_runtime.launcher import LaunchError, ServerOptions, TritonProcess, pipelines

DEFAULT_PIPELINE = "boxwise"
_LOAD_TIMEOUT_S = 600  # for slow machines and large networks; a failed start ends sooner


@dataclass(frozen=True)
class Endpoint:
    """A pipeline of a server.

    Attributes:
        url: HOST:PORT of gRPC.
        pipeline: its name.
        pid: the server's process id; None if we did not start it.
        metrics: URL of its metrics; None if we did not start it.
    """

    url: str
    pipeline: str
    pid: int | None = None
    metrics: str | None = None


class AmbiguousPipeline(ValueError):
    """A repository holds several pipelines, and none was named."""


@contextmanager
def served(
    repository: Path | None,
    url: str | None,
    pipeline: str | None,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Endpoint]:
    """Yield the running server at `url`, or serve the repository until the block ends.

    Args:
        repository: as `boxwise export` wrote it; None to use `url`.
        url: HOST:PORT of gRPC, if `repository` is None.
        pipeline: its name; None for the only one of the repository.
        report: called before Triton starts.

    Raises:
        LaunchError: the repository holds no pipeline, or Triton does not start.
        AmbiguousPipeline: it holds several, and `pipeline` is None.
    """
    if repository is None:
        yield Endpoint(url or "", pipeline or DEFAULT_PIPELINE)
        return
    options = ServerOptions.on_free_ports(repository)
    names = pipelines(repository)
    if not names:
        raise LaunchError(
            f"{repository}: holds no pipeline; expected a repository that `boxwise export` wrote"
        )
    if pipeline is None and len(names) > 1:
        raise AmbiguousPipeline(
            f"{repository}: holds {', '.join(names)}; say which with --pipeline"
        )
    report(f"starting Triton on {repository}")
    with TritonProcess.start(options, timeout_s=_LOAD_TIMEOUT_S) as server:
        yield Endpoint(options.grpc_url, pipeline or names[0], server.pid, options.metrics_url)

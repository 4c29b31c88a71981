"""A small server for trials that attack it: one pipeline in two layouts, and what tells that it
took no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boxwise_runtime.launcher import ServerOptions, TritonProcess
from boxwise_runtime.stub_processes import stubs_of
from contract_support.calls import Answer, Triton, assert_same
from contract_support.servers import write_repository
from contract_support.synthetic import make_dots, png

PIPELINES = ("dots", "fused")
"""The dots detector and the classifier of shades, as an ensemble and as one model."""
GOOD = png(make_dots(20).draw())


def export_dots(folder: Path, max_megapixels: int = 25) -> Path:
    """A new repository of `PIPELINES`."""
    for name, layout in zip(PIPELINES, ("ensemble", "fused"), strict=True):
        repository = write_repository(
            folder, name, cores=2, layout=layout, max_megapixels=max_megapixels
        )
    return repository


@dataclass(frozen=True)
class Attacked:
    """A server, its processes and its answers to a good image, as they were before."""

    server: TritonProcess
    triton: Triton
    stubs: frozenset[int]
    answers: dict[str, Answer]

    def assert_unharmed(self) -> None:
        """The same processes run, and a good request is answered as before, to the last bit."""
        assert self.server.failure() is None
        assert living_stubs(self.server.pid) == self.stubs
        for pipeline, answer in self.answers.items():
            assert_same(self.triton.predict(pipeline, GOOD), answer)


@contextmanager
def attacked(repository: Path) -> Iterator[Attacked]:
    """Serve what `export_dots` wrote."""
    options = ServerOptions.on_free_ports(repository)
    with TritonProcess.start(options) as server:
        triton = Triton(options.grpc_url, f"http://{options.reachable_host}:{options.http_port}")
        answers = {pipeline: triton.predict(pipeline, GOOD) for pipeline in PIPELINES}
        assert all(len(answer["boxes"]) == 20 for answer in answers.values())
        yield Attacked(server, triton, living_stubs(server.pid), answers)


def living_stubs(server: int) -> frozenset[int]:
    """The process ids of a tritonserver's stages."""
    return frozenset(stub.pid for stub in stubs_of(server) if not stub.dead)

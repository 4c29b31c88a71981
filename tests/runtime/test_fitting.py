"""A repository is served with an instance a core of the machine that serves, as far as its memory
goes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from contract_support.servers import write_repository
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from boxwise_runtime.fitting import DECODING_BYTES, NotEnoughMemory, fitted
from boxwise_runtime.resources import Resources

GIB = 1 << 30


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines: of one the instances are left open, of the other they are given."""
    folder = tmp_path_factory.mktemp("fitting")
    write_repository(folder, "open", cores=None, layout="fused")
    write_repository(
        folder, "given", cores=None, layout="ensemble", serving={"instances": {"preprocess": 3}}
    )
    return folder / "repository"


def counts(repository: Path) -> dict[str, int]:
    found = {}
    for path in repository.glob("*/config.pbtxt"):
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        found[path.parent.name] = config.instance_group[0].count if config.instance_group else 0
    return found


@pytest.mark.parametrize(
    ("cores", "expected", "threads"), [(1, 1, "1"), (3, 3, "1"), (8, 8, "1"), (32, 8, "4")]
)
def test_instances_follow_the_cores(
    exported: Path, tmp_path: Path, cores: int, expected: int, threads: str
) -> None:
    served, said = fitted(exported, tmp_path / "served", Resources(cores, None))
    assert counts(served) == {**counts(exported), "open": expected}
    assert said is not None
    assert (
        said
        == f"fitted to this machine (cores: {cores}); instances of each heavy stage: {expected}"
    )
    config = text_format.Parse(
        (served / "open" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig()
    )
    assert config.parameters["threads"].string_value == threads
    # All else is the repository's.
    for path in exported.glob("*/*/*"):
        if path.is_file() and path.suffix != ".pbtxt":
            assert (served / path.relative_to(exported)).read_bytes() == path.read_bytes()


def test_what_fits_is_served_as_it_is(exported: Path, tmp_path: Path) -> None:
    cores = counts(exported)["open"]
    assert fitted(exported, tmp_path / "served", Resources(cores, None)) == (exported, None)
    assert not (tmp_path / "served").exists()


def test_less_memory_is_fewer_in_flight(exported: Path, tmp_path: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    for model in exported.glob("open*"):
        (shutil.copytree if model.is_dir() else shutil.copy)(model, only / model.name)
    image = DECODING_BYTES * 25_000_000  # the largest of 25 megapixels
    for memory, expected in (
        (10 * GIB, 4),
        (2.2 * image + GIB // 2, 2),
        (1.1 * image + GIB // 2, 1),
    ):
        served, _ = fitted(only, tmp_path / f"served-{expected}", Resources(4, int(memory)))
        assert counts(served)["open"] == expected
    with pytest.raises(
        NotEnoughMemory, match=r"images of 25 megapixels can take .* lower `max_megapixels`"
    ):
        fitted(only, tmp_path / "no", Resources(4, image))

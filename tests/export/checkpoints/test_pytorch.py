"""State dicts and the architectures that they belong to; a convolution of the whole image is the
classifier.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from boxwise_export.checkpoints import SourceError, read_source
from boxwise_export.pipeline import Weights
from boxwise_runtime.session import OnnxGraph

SIZE = (8, 8)
CONVOLUTION: dict[str, Any] = {"architecture": "torch.nn:Conv2d", "arguments": [3, 5, 8]}
IMAGES = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 5, 8)


def read(file: Path, **keys: Any) -> Any:
    return read_source(Weights(file=file, **CONVOLUTION | keys), "model.weights", SIZE)


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_ema"])
def test_a_state_dict_wherever_it_is_kept(
    tmp_path: Path, module: torch.nn.Module, wrap: str | None
) -> None:
    state = module.state_dict()
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "weights.pth")
    source = read(tmp_path / "weights.pth")
    with torch.no_grad():
        expected = module(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_array_equal(source.run(IMAGES)["logits"], expected)
    (exported,) = OnnxGraph(source.model.SerializeToString())({"images": IMAGES}).values()
    np.testing.assert_allclose(exported, expected, rtol=1e-4, atol=1e-5)
    assert source.origin == f"PyTorch {torch.__version__} torch.nn:Conv2d"


def test_names_that_data_parallel_training_prefixed(
    tmp_path: Path, module: torch.nn.Module
) -> None:
    torch.save(
        {f"module.{name}": value for name, value in module.state_dict().items()},
        tmp_path / "weights.pth",
    )
    assert read(tmp_path / "weights.pth").labels is None


class Evil:
    """Runs code when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"weight": torch.zeros(5, 3, 8, 8)}, "not the weights of torch.nn:Conv2d: .*Missing key"),
        (
            {"weight": torch.zeros(5, 3, 4, 4), "bias": torch.zeros(5)},
            "not the weights of .*size mismatch",
        ),
        ({}, "holds no weights by name"),
        ([1, 2], "holds no weights by name, but a list"),
        (Evil(), "not a file of PyTorch weights"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(SourceError, match=sentence):
        read(tmp_path / "weights.pth")
    assert not Path("evil").exists()


def test_a_plain_pickle_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SourceError, match="not a file of PyTorch weights"):
        read(tmp_path / "weights.pth")
    assert not Path("evil").exists()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"architecture": "torch.nn:Conv9d"},
            "architecture 'torch.nn:Conv9d': .*Conv9d.*correct the name",
        ),
        (
            {"architecture": "nowhere.at.all:Net"},
            "architecture 'nowhere.at.all:Net': .*install the package",
        ),
        ({"arguments": ["a"]}, r"architecture 'torch.nn:Conv2d' called with \['a'\] failed"),
        ({"architecture": None}, r"name the architecture \(package.module:factory\) as well"),
    ],
)
def test_an_architecture_that_is_none(
    tmp_path: Path, module: torch.nn.Module, keys: dict[str, Any], sentence: str
) -> None:
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(SourceError, match=sentence):
        read(tmp_path / "weights.pth", **keys)


def test_all_that_is_missing_is_named(tmp_path: Path, module: torch.nn.Module) -> None:
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(
        SourceError, match=r"name the architecture .* and the size of its input as well"
    ):
        read_source(Weights(file=tmp_path / "weights.pth"), "model.weights", None)

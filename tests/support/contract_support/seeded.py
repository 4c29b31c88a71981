"""Models of PyTorch with seeded random weights, made to find dozens of things in a photo.

Fresh weights say nearly the same of every place. Here batch norms take their statistics from the
photos, and the last layers are scaled so that their outputs have a mean and a spread that is asked
for: what is compared then follows the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from boxwise_export.plan import ClassifierPlan
from boxwise_runtime.crop import crop
from boxwise_runtime.pipeline_runner import PipelineRunner

Spread = tuple[float, float]  # mean and standard deviation


def waken(
    module: nn.Module, run: Callable[[], Any], last: Mapping[nn.Module, Spread | Sequence[Spread]]
) -> None:
    """Set statistics and last layers, in place; leaves the module in eval mode.

    Args:
        module: with seeded weights.
        run: a forward pass over photos.
        last: layers -> mean and spread of their outputs, or one for each part of the channels, of
            one length.
    """
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    module.eval()
    with torch.no_grad():
        for norm in norms:
            norm.train()
            norm.momentum = None  # the mean of all that comes
            norm.reset_running_stats()
        run()
        for norm in norms:
            norm.eval()
        for layer, spreads in last.items():
            _scale(layer, run, [spreads] if isinstance(spreads[0], float) else list(spreads))


def _scale(layer: Any, run: Callable[[], Any], spreads: Sequence[Spread]) -> None:
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.detach())
    )
    run()
    hook.remove()
    if not seen:  # a layer of the training alone
        return
    axis = 1 if seen[0].ndim == 4 else -1
    columns = torch.cat([each.movedim(axis, -1).reshape(-1, each.shape[axis]) for each in seen])
    means, stds = columns.mean(0), columns.std(0) + 1e-6
    rows = len(means) // len(spreads)
    assert layer.bias is not None, f"{layer} has no bias"
    for part, (mean, std) in enumerate(spreads):
        own = slice(part * rows, (part + 1) * rows)
        factor = std / stds[own]
        layer.weight[own] *= factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
        layer.bias[own] = layer.bias[own] * factor - means[own] * factor + mean


def as_batch(images: Sequence[NDArray[np.uint8]], side: int) -> torch.Tensor:
    """The top left of each image, float32 [n, 3, side, side], 0 to 1."""
    squares = [each[: min(each.shape[:2]), : min(each.shape[:2])] for each in images]
    return torch.stack(
        [
            torch.from_numpy(cv2.resize(each, (side, side))).permute(2, 0, 1).float() / 255
            for each in squares
        ]
    )


def assert_classifies(
    plan: ClassifierPlan,
    runner: PipelineRunner,
    images: Sequence[NDArray[np.uint8]],
    scores_of: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """The exported graph's labels and scores are the framework's, and differ from image to image.

    Args:
        plan: exported.
        runner: the exported stages.
        images: RGB uint8 [H, W, 3].
        scores_of: the framework's model, from normalised pixels [1, 3, h, w] to the scores of all
            classes [1, C].
    """
    mean, std = (
        torch.tensor(each, dtype=torch.float32)[:, None, None]
        for each in vars(plan.normalize).values()
    )
    seen = []
    for image in images:
        pixels = crop(image, np.float32([[0, 0, image.shape[1], image.shape[0]]]), plan.crop)
        answer = runner.classifiers[plan.spec.name]({"crops": pixels})
        with torch.no_grad():
            scores = scores_of((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std)[
                0
            ].numpy()
        best = np.argsort(-scores, kind="stable")[: plan.top_k]
        assert answer["label_scores"][0] == pytest.approx(scores[best], abs=1e-3)
        assert answer["label_ids"][0, 0] == best[0]
        seen.append(best[0])
    assert len(set(seen)) > 1, "every image has the same label: nothing was compared"

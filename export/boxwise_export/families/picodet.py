"""PicoDet: a head of distributions on grids of four strides, with centres in the middle of a cell.

Yu et al., "PP-PicoDet" (arXiv:2111.00902) and PaddleDetection's `PicoHeadV2`: strides 8 to 64, a
cell's centre is (x + 0.5) s, class scores after the sigmoid, exported level by level without its
own post-processing (`export.post_process=False`). Images are stretched, RGB, cubic (`interp: 2`),
by ImageNet's statistics.

NanoDet-Plus gives the same outputs with centres half a stride away: see nanodet.
"""

from __future__ import annotations

import re

from boxwise_export.families.base import IMAGENET, CanvasDefaults, Family, Head, Mismatch, Result
from boxwise_export.families.distributions import find_distributions

# How Paddle2ONNX names tensors: transpose_0.tmp_0, sigmoid_3.tmp_0, p2o.Concat.1.
PADDLE = re.compile(r"(\.tmp_\d+$)|(^p2o\.)|(^save_infer_model/)")


def _read(head: Head) -> Result:
    """Four strides level by level."""
    found = find_distributions(head)
    if isinstance(found, Mismatch):
        return found
    if len(found.strides) != 4 or found.joined:
        return Mismatch(
            "class scores and distributions level by level, of the strides 8, 16, 32 and 64", 0.8
        )
    assumed = f"family: picodet, since PaddlePaddle named the outputs ({found.levels[0][0]})"
    return found.read(head, 0.5, "PicoDet", (assumed,) if is_paddle(head) else ())


def is_paddle(head: Head) -> bool:
    """Whether PaddlePaddle named the outputs."""
    return all(PADDLE.search(name) for name in head.outputs)


FAMILY = Family(
    "picodet", CanvasDefaults(resize="stretch", interpolation="cubic", normalize=IMAGENET), _read
)

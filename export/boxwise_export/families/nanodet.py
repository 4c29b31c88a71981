"""NanoDet and NanoDet-Plus: heads of distributions on grids of three and of four strides.

RangiLyu/nanodet (`NanoDetHead`, `NanoDetPlusHead`, `distance2bbox`): a cell's centre is (x + 0.5) s
in NanoDet and x s in NanoDet-Plus (`get_single_level_center_priors`). Class scores are after the
sigmoid. Boxes are clipped to the canvas before NMS.

NanoDet-Plus and PicoDet both have four strides, and centres half a stride apart. The authors export
NanoDet-Plus as one joined output, and PaddleDetection exports PicoDet level by level; four strides
level by level are a question.
"""

from __future__ import annotations

from boxwise_export.families.base import CanvasDefaults, Family, Head, Mismatch, Result
from boxwise_export.families.distributions import find_distributions
from boxwise_export.families.picodet import is_paddle
from boxwise_export.pipeline import Normalize

# BGR with ImageNet's statistics, centred on black, as in the authors' nanodet-m
# (`keep_ratio: True`). Its mAP on 64 COCO photos: 0.285 so, 0.270 stretched (the way of
# NanoDet-Plus, to be said in the pipeline file), 0.236 as RGB.
_CANVAS = CanvasDefaults(
    resize="letterbox",
    pad_value=0,
    color_order="bgr",
    normalize=Normalize(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
)


def _read(head: Head) -> Result:
    """Three strides, or four."""
    found = find_distributions(head)
    if isinstance(found, Mismatch):
        return found
    if len(found.strides) == 4 and is_paddle(head):
        return Mismatch("outputs that PaddlePaddle did not name: these are PicoDet's", 0.8)
    if len(found.strides) == 3:
        return found.read(head, 0.5, "NanoDet")
    assumed = (
        "family: nanodet (Plus, centres at x), since all four levels are joined, as its authors "
        "export them"
    )
    return found.read(head, 0.0, "NanoDet-Plus", (assumed,) if found.joined else ())


FAMILY = Family("nanodet", _CANVAS, _read)

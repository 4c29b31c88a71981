"""Networks that find something else than upright boxes: named, with the way forward."""

from __future__ import annotations

from boxwise_export.families.base import Head
from boxwise_export.families.columns import is_distribution

# Tasks of a checkpoint's metadata that give boxes; what else they give is left out by the families.
_BOXES = ("detect", "segment", "pose")
_TASKS = {
    "obb": "oriented boxes (task: obb), which are not served: the upright box around one would be "
    "another box. Train "
    "or export the detect model of the family",
    "classify": "a classifier (task: classify): list it under `classifiers:`",
    "semantic": "a segmentation map (task: semantic), and no boxes; segmentation is not served",
    "depth": "a depth map (task: depth), and no boxes; depth is not served",
}
_MAP = (
    "a map {shape} with a value for each place of the image, as segmentation, depth and text "
    "detectors give: no boxes. boxwise serves boxes and what classifiers say of them; a detector "
    "with a box head is needed"
)
_SEQUENCE = (
    "a sequence {shape} with a distribution at each step, as text recognisers (CTC) give: no boxes "
    "and no classes of an image. Reading text is not served yet"
)


def describe(head: Head) -> str | None:
    """What a network is that no family can read, as "oriented boxes ...", or None where it may be a
    detector.
    """
    if head.task and head.task not in _BOXES:
        return _TASKS.get(
            head.task,
            f"for the task {head.task!r} by its metadata; boxwise serves detect and classify",
        )
    if len(head.outputs) != 1:
        return None
    (values,) = head.outputs.values()
    if values.ndim == 4 and min(values.shape[2:]) >= min(head.height, head.width) // 8 > 1:
        return _MAP.format(shape=list(values.shape))
    # A distribution over many characters at each of several steps, [1, T, C] or [T, 1, C].
    several = values.ndim == 3 and 1 in values.shape[:2] and max(values.shape[:2]) > 1
    if several and values.shape[2] > 10 and is_distribution(values):
        return _SEQUENCE.format(shape=list(values.shape))
    return None

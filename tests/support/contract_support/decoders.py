"""Heads decoded in numpy from their papers or authors' descriptions, cell by cell, sharing no code
with boxwise.

Each takes a source's outputs for one image, and the height and width of the canvas, and gives every
(box, class) that scores at least 0.01, on the canvas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from contract_support.reference import Detections

Outputs = Mapping[str, NDArray[np.float32]]
_LEAST = 0.01


def found(rows: Iterable[tuple[Iterable[float], Iterable[float]]]) -> Detections:
    """(box xyxy, score of each class) of every cell -> detections, the best 1,000."""
    boxes, scores, classes = [], [], []
    for box, of_classes in rows:
        of_cell = np.asarray(of_classes)
        for class_id in np.flatnonzero(of_cell >= _LEAST):
            boxes.append(list(box))
            scores.append(of_cell[class_id])
            classes.append(class_id)
    placed = np.array(boxes, np.float32).reshape(-1, 4)
    best = np.argsort(-np.array(scores), kind="stable")[:1000]
    return Detections(
        placed[best], placed[best], np.array(scores, np.float32)[best], np.array(classes, int)[best]
    )


def best_class(
    decode: Callable[[Outputs, int, int], Detections],
) -> Callable[[Outputs, int, int], Detections]:
    """The decoder given, with the best class of each box alone, as ultralytics' and YOLOX' predict
    have it.

    Boxes of one cell are known by their equal corners.
    """

    def decode_best(outputs: Outputs, height: int, width: int) -> Detections:
        every = decode(outputs, height, width)
        seen: dict[tuple[float, ...], int] = {}
        for row in np.argsort(-every.scores, kind="stable"):
            seen.setdefault(tuple(every.boxes[row].tolist()), int(row))
        return every[list(seen.values())]

    return decode_best


def centred(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def places(height: int, width: int, strides: Iterable[int]) -> list[tuple[int, int, int]]:
    """x, y, stride of every cell: largest grid first, row by row."""
    return [
        (x, y, s) for s in strides for y in range(-(-height // s)) for x in range(-(-width // s))
    ]


def yolov5(outputs: Outputs, height: int, width: int) -> Detections:
    """ultralytics/yolov5, `non_max_suppression`: conf = obj * cls, `xywh2xyxy`; YOLOv7
    (arXiv:2207.02696) alike.
    """
    (rows,) = outputs.values()
    return found((centred(*row[:4]), row[4] * row[5:]) for row in rows[0])


def yolov8(outputs: Outputs, height: int, width: int) -> Detections:
    """ultralytics `non_max_suppression`: columns are predictions; no objectness."""
    (columns,) = outputs.values()
    return found((centred(*column[:4]), column[4:]) for column in columns[0].T)


def yolov10(outputs: Outputs, height: int, width: int) -> Detections:
    """Wang et al., arXiv:2405.14458, and ultralytics `v10postprocess`: x1 y1 x2 y2 score class,
    nothing to suppress.
    """
    (rows,) = outputs.values()
    return found(
        (row[:4], [row[4] if k == int(row[5]) else 0 for k in range(80)]) for row in rows[0]
    )


def yolox(outputs: Outputs, height: int, width: int) -> Detections:
    """Ge et al., arXiv:2107.08430, `demo_postprocess`: outputs are still on three grids."""
    (rows,) = outputs.values()
    return found(
        (
            centred((row[0] + x) * s, (row[1] + y) * s, np.exp(row[2]) * s, np.exp(row[3]) * s),
            row[4] * row[5:],
        )
        for row, (x, y, s) in zip(rows[0], places(height, width, (8, 16, 32)), strict=True)
    )


def yolox_decoded(outputs: Outputs, height: int, width: int) -> Detections:
    """The same, exported with `--decode_in_inference`."""
    (rows,) = outputs.values()
    return found((centred(*row[:4]), row[4] * row[5:]) for row in rows[0])


def _distances(logits: NDArray[np.float32]) -> list[float]:
    """Li et al., arXiv:2006.04388, eq. 5: the mean of a side's distribution, for each of four sides
    of 8 bins.
    """
    means = []
    for side in logits.reshape(4, 8):
        shares = np.exp(side - side.max())
        means.append(float((np.arange(8) * shares).sum() / shares.sum()))
    return means


def _nanodet(
    scores: NDArray[np.float32],
    sides: NDArray[np.float32],
    cells: list[tuple[int, int, int]],
    middle: float,
    limit: int,
) -> Detections:
    rows = []
    for of_classes, logits, (x, y, s) in zip(scores, sides, cells, strict=True):
        if of_classes.max() >= _LEAST:
            left, top, right, bottom = (d * s for d in _distances(logits))
            cx, cy = (x + middle) * s, (y + middle) * s
            box = np.clip([cx - left, cy - top, cx + right, cy + bottom], 0, limit)
            rows.append((box.tolist(), of_classes))
    return found(rows)


def nanodet(
    outputs: Outputs, height: int, width: int, strides: Iterable[int] = (8, 16, 32)
) -> Detections:
    """RangiLyu/nanodet, `NanoDetHead.get_bboxes`: cells' middles, strides 8, 16, 32, boxes cut at
    the edges.

    With strides 8 to 64 it is PaddleDetection's `PicoHeadV2`.
    """
    assert height == width
    scores = sorted((v[0] for v in outputs.values() if v.shape[2] != 32), key=len, reverse=True)
    sides = sorted((v[0] for v in outputs.values() if v.shape[2] == 32), key=len, reverse=True)
    cells = places(height, width, strides)
    return _nanodet(np.concatenate(scores), np.concatenate(sides), cells, 0.5, width)


def nanodet_plus(outputs: Outputs, height: int, width: int) -> Detections:
    """RangiLyu/nanodet, `NanoDetPlusHead.get_bboxes`: cells' corners, strides 8 to 64."""
    assert height == width
    (rows,) = (v[0] for v in outputs.values())
    cells = places(height, width, (8, 16, 32, 64))
    return _nanodet(rows[:, :-32], rows[:, -32:], cells, 0.0, width)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return 1 / (1 + np.exp(-logits))


def _moved(anchor: Iterable[float], delta: Iterable[float], limit: int) -> list[float]:
    """Girshick et al., arXiv:1311.2524, appendix C, in the other direction; cut at the edges."""
    x1, y1, x2, y2 = anchor
    dx, dy, dw, dh = delta
    w, h = x2 - x1, y2 - y1
    box = centred(x1 + w / 2 + dx * w, y1 + h / 2 + dy * h, w * np.exp(dw), h * np.exp(dh))
    return np.clip(box, 0, limit).tolist()


def _anchors(x: int, y: int, stride: int) -> list[tuple[float, float, float, float]]:
    """Lin et al., arXiv:1708.02002, section 4, as torchvision numbers and rounds them: ratios, in
    each the sizes.
    """
    boxes = []
    for ratio in (0.5, 1.0, 2.0):  # height to width
        for size in (4 * stride, int(4 * stride * 2 ** (1 / 3)), int(4 * stride * 2 ** (2 / 3))):
            half_w, half_h = round(size / ratio**0.5 / 2), round(size * ratio**0.5 / 2)
            boxes.append(
                (x * stride - half_w, y * stride - half_h, x * stride + half_w, y * stride + half_h)
            )
    return boxes


def retinanet(outputs: Outputs, height: int, width: int) -> Detections:
    """Detectron2's `RetinaNet.inference_single_image`: channels are anchors, in each the classes or
    the four deltas.
    """
    rows = []
    for level, stride in enumerate((8, 16, 32, 64, 128)):
        scores, deltas = _sigmoid(outputs[f"cls_{level}"][0]), outputs[f"box_{level}"][0]
        classes = len(scores) // 9
        for x, y, _ in places(height, width, [stride]):
            for k, anchor in enumerate(_anchors(x, y, stride)):
                of_classes = scores[k * classes : (k + 1) * classes, y, x]
                if of_classes.max() >= _LEAST:
                    rows.append(
                        (_moved(anchor, deltas[4 * k : 4 * k + 4, y, x], width), of_classes)
                    )
    return found(rows)


def fcos(outputs: Outputs, height: int, width: int) -> Detections:
    """Tian et al., arXiv:1904.01355, section 3.1: points in the middle of cells, distances in
    strides.
    """
    rows = []
    for level, stride in enumerate((8, 16, 32, 64, 128)):
        scores, sides, central = (outputs[f"{role}_{level}"][0] for role in ("cls", "reg", "ctr"))
        for x, y, _ in places(height, width, [stride]):
            left, top, right, bottom = sides[:, y, x] * stride
            cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
            box = np.clip([cx - left, cy - top, cx + right, cy + bottom], 0, width).tolist()
            rows.append((box, np.sqrt(_sigmoid(scores[:, y, x]) * _sigmoid(central[0, y, x]))))
    return found(rows)


def ssd(
    anchors: NDArray[np.float32], *, softmax: bool = False
) -> Callable[[Outputs, int, int], Detections]:
    """Liu et al., arXiv:1512.02325, with the variances 0.1 and 0.2 of the authors' code."""

    def decode(outputs: Outputs, height: int, width: int) -> Detections:
        rows = []
        for anchor, delta, of_classes in zip(
            anchors, outputs["boxes"][0], outputs["scores"][0], strict=True
        ):
            shares = of_classes if softmax else np.exp(of_classes) / np.exp(of_classes).sum()
            rows.append((_moved(anchor, delta * [0.1, 0.1, 0.2, 0.2], width), shares[1:]))
        return found(rows)

    return decode


def detr(outputs: Outputs, height: int, width: int) -> Detections:
    """facebookresearch/detr, `PostProcess`: a query is its best class other than the last, "no
    object".
    """
    rows = []
    for logits, box in zip(outputs["logits"][0], outputs["pred_boxes"][0], strict=True):
        shares = (np.exp(logits) / np.exp(logits).sum())[:-1]
        rows.append(
            (
                centred(*(box * np.tile([width, height], 2))),
                np.where(shares == shares.max(), shares, 0),
            )
        )
    return found(rows)


def rt_detr(outputs: Outputs, height: int, width: int) -> Detections:
    """lyuwenyu/RT-DETR, `RTDETRPostProcessor` with its focal loss: a sigmoid for every (query,
    class).
    """
    pairs = zip(outputs["logits"][0], outputs["pred_boxes"][0], strict=True)
    return found(
        (centred(*(box * np.tile([width, height], 2))), _sigmoid(logits)) for logits, box in pairs
    )


def faster_rcnn(outputs: Outputs, height: int, width: int) -> Detections:
    """torchvision's `RoIHeads.postprocess_detections`: labels count from 1."""
    rows = zip(outputs["boxes"], outputs["labels"], outputs["scores"], strict=True)
    return found(
        (box, [score if k + 1 == label else 0 for k in range(80)]) for box, label, score in rows
    )

"""A labelled set goes through a served pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwise import Client, InvalidInput
from boxwise_eval.datasets.base import Picture
from boxwise_eval.errors import EvalError


@dataclass(frozen=True)
class Thresholds:
    """What is asked for with each request: the evaluation's own, whatever the pipeline's defaults are.

    mAP counts what is found with little confidence too, so nearly everything is asked for.
    """

    score: float = 0.01
    iou: float = 0.65
    max_detections: int = 100


@dataclass(frozen=True, eq=False)
class Found:
    """What the pipeline says of one picture.

    Attributes:
        boxes: float32 [n, 4], xyxy in pixels of the picture as shown, best score first.
        scores: float32 [n].
        class_ids: int64 [n].
        label_ids: classifier -> int64 [n, k], best first; -1 where it was not asked.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    label_ids: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


# A picture's file and what to ask of it -> what is on it.
Predict = Callable[[Path, Thresholds], Found]


def served(client: Client) -> Predict:
    """Ask a running server."""

    def predict(path: Path, thresholds: Thresholds) -> Found:
        try:
            result = client.predict(
                path,
                score_threshold=thresholds.score,
                iou_threshold=thresholds.iou,
                max_detections=thresholds.max_detections,
            )
        except InvalidInput as error:
            raise EvalError(f"{path}: the pipeline refuses it: {error}") from error
        labels = {name: ids.astype(np.int64) for name, ids in result.label_ids.items()}
        return Found(result.xyxy, result.confidence, result.class_id.astype(np.int64), labels)

    return predict


def predict_all(
    predict: Predict,
    pictures: Sequence[Picture],
    thresholds: Thresholds,
    *,
    concurrency: int = 1,
    done: Callable[[], None] = lambda: None,
) -> list[Found]:
    """Ask about every picture, a few at a time.

    Args:
        predict: from `served`, or a pipeline in this process.
        pictures: of the set.
        thresholds: of each request.
        concurrency: requests under way.
        done: called after each picture.

    Raises:
        EvalError: a picture is refused: figures over the rest would not be those of the set.
        BoxwiseError: the server does not answer.
    """

    def ask(picture: Picture) -> Found:
        found = predict(picture.path, thresholds)
        done()
        return found

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, picture) for picture in pictures]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise

"""A labelled set goes through a served pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwise import BoxwiseError, Client, InvalidInput
from boxwise_eval.datasets.base import LabelledImage
from boxwise_eval.errors import EvalError

_LONGEST_PAUSE_S = 10.0


@dataclass(frozen=True)
class Thresholds:
    """What is asked for with each request: the evaluation's own, whatever the pipeline's defaults
    are.

    mAP counts what is found with little confidence too, so nearly everything is asked for.
    """

    score: float = 0.01
    iou: float = 0.65
    max_detections: int = 100


@dataclass(frozen=True, eq=False)
class Detections:
    """What the pipeline says of one image.

    Attributes:
        boxes: float32 [n, 4], xyxy in pixels of the image as shown, best score first.
        scores: float32 [n].
        class_ids: int64 [n].
        label_ids: classifier -> int64 [n, k], best first; -1 where it was not asked.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    label_ids: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


# An image's file and what to ask of it -> what is on it.
Predict = Callable[[Path, Thresholds], Detections]


def predictor(
    client: Client, *, retries: int = 2, pause: Callable[[float], None] = time.sleep
) -> Predict:
    """Ask a running server.

    Args:
        client: of the pipeline; its `timeout_s` is the deadline of each request.
        retries: how often a request that failed is sent again, where it may succeed then: an
            overload, a deadline.
        pause: waits for seconds between two of them.
    """

    def predict(path: Path, thresholds: Thresholds) -> Detections:
        for tried in count(1):
            try:
                result = client.predict(
                    path,
                    score_threshold=thresholds.score,
                    iou_threshold=thresholds.iou,
                    max_detections=thresholds.max_detections,
                )
                break
            except InvalidInput as error:
                raise EvalError(f"{path}: the pipeline refuses it: {error}") from error
            except BoxwiseError as error:
                if not error.retryable:
                    raise
                if tried > retries:
                    raise EvalError(
                        f"{path}: {error}, {tried} times over; allow more with --timeout, "
                        "or send fewer at once with "
                        "--concurrency"
                    ) from error
                pause(min(2.0 ** (tried - 1), _LONGEST_PAUSE_S))
        labels = {name: ids.astype(np.int64) for name, ids in result.label_ids.items()}
        return Detections(result.xyxy, result.confidence, result.class_id.astype(np.int64), labels)

    return predict


def predict_all(
    predict: Predict,
    images: Sequence[LabelledImage],
    thresholds: Thresholds,
    *,
    concurrency: int = 1,
    done: Callable[[], None] = lambda: None,
) -> list[Detections]:
    """Ask about every image, a few at a time.

    Args:
        predict: from `predictor`, or a pipeline in this process.
        images: of the set.
        thresholds: of each request.
        concurrency: requests under way.
        done: called after each image.

    Raises:
        EvalError: an image is refused: figures over the rest would not be those of the set.
        BoxwiseError: the server does not answer, or not as a pipeline.
    """

    def ask(image: LabelledImage) -> Detections:
        found = predict(image.path, thresholds)
        done()
        return found

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, image) for image in images]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise

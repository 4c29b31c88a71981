"""The predictions of a pipeline on a labelled set."""

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
    """The thresholds of each request, independent of the pipeline's defaults.

    mAP counts detections of low scores too, so the score threshold is low.
    """

    score: float = 0.01
    iou: float = 0.65
    max_detections: int = 100


@dataclass(frozen=True, eq=False)
class Detections:
    """The pipeline's detections in one image.

    Attributes:
        boxes: float32 [n, 4], xyxy in pixels of the image as shown, best score first.
        scores: float32 [n].
        class_ids: int64 [n].
        label_ids: classifier -> int64 [n, k], best first; -1 where it did not run.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    label_ids: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


# An image file, and the thresholds of its request -> its detections.
Predict = Callable[[Path, Thresholds], Detections]


def predictor(
    client: Client, *, retries: int = 2, pause: Callable[[float], None] = time.sleep
) -> Predict:
    """Return a function that predicts with a running server.

    Args:
        client: of the pipeline; its `timeout_s` is the deadline of each request.
        retries: how often a request is sent again after an error that may pass, such as an
            overload or an exceeded deadline.
        pause: sleeps for seconds before a retry.
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
                raise EvalError(f"{path}: the pipeline rejects it: {error}") from error
            except BoxwiseError as error:
                if not error.retryable:
                    raise
                if tried > retries:
                    raise EvalError(
                        f"{path}: {error}, {tried} times; raise --timeout, or lower --concurrency"
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
    """Predict every image, a few concurrently.

    Args:
        predict: from `predictor`, or a pipeline in this process.
        images: of the set.
        thresholds: of each request.
        concurrency: requests in flight.
        done: called after each image.

    Raises:
        EvalError: an image is rejected; figures over the others would not be those of the set.
        BoxwiseError: the server does not respond, or has no such pipeline.
    """

    def one(image: LabelledImage) -> Detections:
        found = predict(image.path, thresholds)
        done()
        return found

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(one, image) for image in images]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise

"""From logits to the best labels of each box."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from boxwise_benchmarks.baselines.tutorial_models.shared import read_settings


class TritonPythonModel:
    """Softmax and top-k."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the settings."""
        self._settings = read_settings(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Respond to each request."""
        responses = []
        for request in requests:
            logits, rows, class_ids = (
                pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in (self._settings["logits"], "rows", "class_ids")
            )
            ids, scores = best_labels(logits[: len(rows)], self._settings["top_k"])
            label_ids = np.full((len(class_ids), ids.shape[1]), -1, np.int32)
            label_scores = np.zeros(label_ids.shape, np.float32)
            label_ids[rows], label_scores[rows] = ids, scores
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor("label_ids", label_ids),
                        pb_utils.Tensor("label_scores", label_scores),
                    ]
                )
            )
        return responses


def best_labels(
    logits: NDArray[np.float32], top_k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the best label ids int32 [m, k] of logits [m, C], and their softmax float32 [m, k]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    ids = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return ids.astype(np.int32), np.take_along_axis(probabilities, ids, axis=1).astype(np.float32)

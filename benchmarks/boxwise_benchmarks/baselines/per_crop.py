"""As `two_calls`, with one call of the classifier for each box: the loop that is written first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_benchmarks.baselines.two_calls import TwoCalls
from boxwise_runtime.pipeline_runner import Graph


class PerCrop(TwoCalls):
    """One request for the detector and one for each box that the classifier is asked about."""

    name = "per_crop"

    def classifier(self, graph: Graph) -> Graph:
        """How crops are sent: one by one."""

        def each(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            crops = inputs["crops"]
            replies = [graph({"crops": crops[row : row + 1]}) for row in range(len(crops))]
            return {name: np.concatenate([reply[name] for reply in replies]) for name in replies[0]}

        return each

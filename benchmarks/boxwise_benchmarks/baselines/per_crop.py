"""As `two_calls`, but with one call of the classifier per box: the simplest client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwise_benchmarks.baselines.two_calls import TwoCalls
from boxwise_runtime.pipeline_runner import Graph


class PerCrop(TwoCalls):
    """One request for the detector, and one for each box that is classified."""

    name = "per_crop"

    def classifier(self, graph: Graph) -> Graph:
        """Return the graph that sends crops one by one."""

        def each(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            crops = inputs["crops"]
            replies = [graph({"crops": crops[row : row + 1]}) for row in range(len(crops))]
            return {name: np.concatenate([reply[name] for reply in replies]) for name in replies[0]}

        return each

"""Metrics of our own, as Prometheus reads them from the real server, in every layout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from contract_support.calls import Triton
from contract_support.servers import copy_pipeline, launched
from contract_support.synthetic import make_dots, png

from boxwise_export.repository.publish import change_layout
from boxwise_export.repository.serving_config import LAYOUTS, Layout, ServingConfig
from boxwise_perf.prometheus import scrape
from boxwise_runtime.launcher import ServerOptions

Values = dict[tuple[str, ...], float]


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def options(repository: Path, layout: Layout, tmp_path: Path) -> Iterator[ServerOptions]:
    """A server of the pipeline dots alone, that nobody has asked yet."""
    own = copy_pipeline(repository, "dots", tmp_path / "repository")
    change_layout(own, "dots", ServingConfig(layout))
    options = ServerOptions.on_free_ports(own)
    with launched(options):
        yield options


def read(options: ServerOptions) -> Values:
    """(family, label values but the model's) -> value, of our own."""
    own = [each for each in scrape(options.metrics_url) if each.name.startswith("boxwise_")]
    assert all(each.labels["model"].startswith("dots") for each in own)
    return {
        (
            each.name,
            *(value for label, value in each.labels.items() if label != "model"),
        ): each.value
        for each in own
    }


def test_what_requests_were_is_counted(options: ServerOptions, layout: Layout) -> None:
    server = Triton(options.grpc_url, "")
    server.predict("dots", png(make_dots(0).draw()))
    server.predict("dots", png(make_dots(5).draw()), max_detections=2)
    server.predict_raw("dots", make_dots(3).draw())
    server.refusal("dots", {"image": np.zeros(0, np.uint8)})
    server.refusal("dots", {"image": np.frombuffer(b"no image", np.uint8)})
    server.refusal("dots", {"image": np.frombuffer(png(make_dots(1).draw())[:-50], np.uint8)})
    server.refusal("dots", {"image": np.zeros(1, np.uint8), "score_threshold": np.float32([2])})

    deadline = time.monotonic() + 10
    while not _complete(values := read(options)):
        assert time.monotonic() < deadline, values
        time.sleep(0.2)
    seconds = {key: value for key, value in values.items() if "seconds" in key[0]}
    assert {key: value for key, value in values.items() if key not in seconds} == {
        ("boxwise_images_total",): 3,
        ("boxwise_boxes_total",): 5,
        ("boxwise_boxes_dropped_total",): 3,
        ("boxwise_crops_total", "shade"): 5,
        ("boxwise_crops_total", "reds"): 2,  # every third dot is red
        ("boxwise_crops_total", "vivid"): 5,
        **{
            ("boxwise_refusals_total", reason): 1
            for reason in ("empty", "format", "corrupt", "option")
        },
        ("boxwise_refusals_total", "size"): 0,
        ("boxwise_overload_refusals_total", "queue"): 0,
        ("boxwise_overload_refusals_total", "wait"): 0,
        ("boxwise_waiting_requests",): 0,
    }
    stages = {key[1] for key in seconds if key[0] == "boxwise_stage_seconds_total"}
    ours = {
        "preprocess",
        "detector",
        "nms",
        "classifier_shade",
        "classifier_reds",
        "classifier_vivid",
        "assemble",
    }
    assert stages == (set() if layout == "ensemble" else ours)
    assert seconds.keys() - {("boxwise_stage_seconds_total", stage) for stage in ours} == {
        ("boxwise_decode_seconds_total",),
        ("boxwise_queue_seconds_total",),
        ("boxwise_work_seconds_total",),
    }
    assert all(
        value > 0 for key, value in seconds.items() if key != ("boxwise_queue_seconds_total",)
    )


def _complete(values: Values) -> bool:
    """Whether all that was asked has been handed over, by each process."""
    refused = sum(value for key, value in values.items() if key[0] == "boxwise_refusals_total")
    spent = [
        value
        for key, value in values.items()
        if "seconds" in key[0] and key != ("boxwise_queue_seconds_total",)
    ]
    decoded = ("boxwise_decode_seconds_total",) in values and all(value > 0 for value in spent)
    return (values.get(("boxwise_images_total",)), refused, decoded) == (3, 4, True)

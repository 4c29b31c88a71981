"""What is counted of a request, by the tensors of its reply."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from boxwise_contract.refusals import REASONS
from boxwise_runtime.metrics import FAMILIES, Series, Tally, counts

REPLY = {
    "boxes": np.zeros((3, 4), np.float32),
    "dropped": np.array(2),
    "vehicle_rows": np.int32([0, 2]),
    "vehicle_ids": np.zeros((3, 5), np.int32),
    "seconds.nms": np.array(0.25),
    "decode_seconds": np.array(0.5),
}


def test_what_a_runner_answers_is_counted_as_a_whole() -> None:
    assert dict(counts(REPLY)) == {
        Series("boxwise_images_total"): 1,
        Series("boxwise_boxes_total"): 3,
        Series("boxwise_boxes_dropped_total"): 2,
        Series("boxwise_crops_total", "classifier", "vehicle"): 2,
        Series("boxwise_stage_seconds_total", "stage", "nms"): 0.25,
        Series("boxwise_decode_seconds_total"): 0.5,
    }
    assert {series.family for series, _ in counts(REPLY)} < set(FAMILIES)


def test_a_stage_counts_what_it_knows() -> None:
    assert dict(counts({})) == {}
    assert dict(counts({"label_ids": np.zeros((1, 5), np.int32)})) == {}
    assert dict(counts({"boxes": np.zeros((0, 4), np.float32)})) == {
        Series("boxwise_images_total"): 1,
        Series("boxwise_boxes_total"): 0,
    }


def test_what_can_refuse_says_so_before_it_does() -> None:
    tally = Tally(refuses=True)
    assert tally.take() == {
        Series("boxwise_refusals_total", "reason", reason): 0 for reason in REASONS
    }
    assert tally.take() == {}


def test_what_is_taken_is_not_taken_again() -> None:
    tally = Tally()
    assert tally.take() == {}
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(tally.add, [REPLY] * 100):
            tally.add_refusal("size")
    taken = tally.take()
    assert taken[Series("boxwise_boxes_total")] == 300
    assert taken[Series("boxwise_refusals_total", "reason", "size")] == 100
    assert tally.take() == {}

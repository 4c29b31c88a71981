"""Whose turn it is: nobody who is busy takes a request that another is free for, or sooner."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime import load_board
from boxwise_runtime.load_board import Downstream, Load, LoadBoard, load_file, may_take

IDLE, EARLY, LATE = Load(), Load(10), Load(20)
LOADS = st.one_of(st.just(IDLE), st.builds(Load, st.integers(1, 100), st.integers(0, 64)))


@pytest.mark.parametrize(
    ("own", "others", "takes"),
    [
        (IDLE, [], True),
        (IDLE, [IDLE, EARLY], True),
        (EARLY, [], True),  # a process by itself takes all
        (Load(10, 64), [], True),
        (EARLY, [IDLE], False),
        (EARLY, [LATE], True),
        (LATE, [EARLY], False),
        (LATE, [Load(10, 1)], True),
        (EARLY, [LATE, Load(5, 3)], True),
        (Load(10, 1), [LATE], False),
        (Load(10, 2), [Load(20, 1)], True),
        (Load(10, 3), [Load(20, 1)], False),
        (Load(10, 64), [Load(20, 64)], True),  # to refuse what comes
    ],
)
def test_who_takes_the_next_one(own: Load, others: list[Load], takes: bool) -> None:
    assert may_take(own, others) == takes


@given(st.lists(LOADS, min_size=1, max_size=8))
def test_somebody_always_takes_it_and_the_idle_before_all_others(loads: list[Load]) -> None:
    taking = [
        own for place, own in enumerate(loads) if may_take(own, loads[:place] + loads[place + 1 :])
    ]
    busy = [each.since_ns for each in loads if each.since_ns and not each.waiting]
    if IDLE in loads:
        assert set(taking) == {IDLE}
    elif len(set(busy)) == len(busy):  # nanoseconds of their own
        assert taking


def test_processes_see_each_other(tmp_path: Path) -> None:
    one, other = LoadBoard(tmp_path / "turns", 0, 2), LoadBoard(tmp_path / "turns", 1, 2)
    assert one.another_is_idle
    assert one.mine
    one.publish(EARLY)
    assert not one.mine
    other.publish(LATE)
    assert one.mine
    assert not other.mine
    assert not one.another_is_idle
    other.publish(Load())
    assert not one.mine
    assert other.mine


@pytest.mark.parametrize(
    ("loads", "busy"),
    [
        ({}, False),  # not there, as a network that is Triton's own
        ({"p_detector-1": [EARLY, IDLE]}, False),
        ({"p_detector-1": [EARLY, LATE]}, True),
        ({"p_detector-1": [IDLE], "p_classifier_kind-12": [LATE]}, True),
        ({"p_detector.0f3b-1": [LATE]}, True),
        ({"p_detector.0f3b-1": [IDLE], "p_detector.77aa-2": [LATE]}, True),
        ({"other_p_detector-1": [LATE], "p_detector_x-1": [LATE], "p_nms-1": [LATE]}, False),
    ],
)
def test_those_who_work_next_are_busy(
    tmp_path: Path, loads: dict[str, list[Load]], busy: bool
) -> None:
    for name, each in loads.items():
        for place, load in enumerate(each):
            LoadBoard(load_file("s-", *name.split("-"), folder=tmp_path), place, len(each)).publish(
                load
            )
    assert Downstream("s-", ["p_detector", "p_classifier_kind"], tmp_path).busy == busy
    assert not Downstream("s-", [], tmp_path).busy
    assert not Downstream("another-", ["p_detector"], tmp_path).busy


def test_those_who_work_next_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_board, "_LIST_EVERY_S", 0)
    downstream, file = (
        Downstream("", ["p_detector"], tmp_path),
        load_file("", "p_detector", "1", tmp_path),
    )
    file.touch()  # it is made, and then as long as it is to be
    assert not downstream.busy
    one = LoadBoard(file, 0, 1)
    one.publish(LATE)
    assert downstream.busy
    one.publish(IDLE)
    assert not downstream.busy
    one.publish(LATE)
    file.unlink()
    assert not downstream.busy

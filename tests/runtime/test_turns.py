"""Whose turn it is: nobody who is busy takes a request that another is free for, or sooner."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwise_runtime.turns import Load, Turns, may_take

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
    taking = [own for place, own in enumerate(loads) if may_take(own, loads[:place] + loads[place + 1 :])]
    busy = [each.since_ns for each in loads if each.since_ns and not each.waiting]
    if IDLE in loads:
        assert set(taking) == {IDLE}
    elif len(set(busy)) == len(busy):  # nanoseconds of their own
        assert taking


def test_processes_see_each_other(tmp_path: Path) -> None:
    one, other = Turns(tmp_path / "turns", 0, 2), Turns(tmp_path / "turns", 1, 2)
    assert one.another_is_idle
    assert one.mine
    one.say(EARLY)
    assert not one.mine
    other.say(LATE)
    assert one.mine
    assert not other.mine
    assert not one.another_is_idle
    other.say(Load())
    assert not one.mine
    assert other.mine

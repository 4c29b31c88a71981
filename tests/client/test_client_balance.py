"""Which server is next: round robin, without those that are down."""

from __future__ import annotations

from collections import Counter

import pytest

from boxwise._balance import Balancer
from boxwise._endpoint import Endpoint

A, B, C = (Endpoint(name, 1) for name in "abc")
NAME = Endpoint("name", 1, many=True)


def test_each_server_has_its_turn() -> None:
    balancer = Balancer([A, B, C])
    assert Counter(balancer.pick(0.0) for _ in range(30)) == {A: 10, B: 10, C: 10}


def test_one_server_is_always_the_one_even_when_it_is_down() -> None:
    balancer = Balancer([A])
    balancer.failed(A, 0.0, silent=False)
    assert balancer.pick(0.0, avoid=A) == A
    assert balancer.other(0.0, than=A) is None


def test_a_server_that_refuses_is_left_out_for_less_than_a_second_and_taken_back() -> None:
    balancer = Balancer([A, B])
    balancer.failed(A, 0.0, silent=False)
    assert {balancer.pick(0.4) for _ in range(10)} == {B}
    assert {balancer.pick(0.6) for _ in range(10)} == {A, B}
    balancer.failed(A, 0.6, silent=False)
    balancer.responded(A)
    assert {balancer.pick(0.7) for _ in range(10)} == {A, B}


def test_a_server_is_silent_after_three_deadlines_in_a_row() -> None:
    balancer = Balancer([A, B])
    for _ in range(2):
        balancer.failed(A, 0.0, silent=True)
    balancer.responded(A)
    for _ in range(2):
        balancer.failed(A, 0.0, silent=True)
    assert {balancer.pick(0.0) for _ in range(10)} == {A, B}
    balancer.failed(A, 0.0, silent=True)
    assert {balancer.pick(4.9) for _ in range(10)} == {B}
    assert {balancer.pick(5.1) for _ in range(10)} == {A, B}


def test_a_request_goes_elsewhere_after_it_failed() -> None:
    balancer = Balancer([A, B])
    assert {balancer.pick(0.0, avoid=A) for _ in range(10)} == {B}
    balancer.failed(B, 0.0, silent=False)
    assert balancer.pick(0.0, avoid=A) == A  # the only one that is up
    balancer.failed(A, 0.1, silent=False)
    assert balancer.pick(0.2, avoid=A) == B  # both are down: the other
    assert balancer.other(0.2, than=A) is None


def test_a_name_is_looked_up_and_looked_up_again() -> None:
    balancer = Balancer([NAME])
    assert (balancer.unresolved(), balancer.servers) == ([NAME], ())
    balancer.resolved(NAME, [A, B], 100.0)
    assert (list(balancer.unresolved()), balancer.servers) == ([], (A, B))
    assert balancer.due(109.0) == []
    assert balancer.due(111.0) == [NAME]
    assert balancer.due(111.0) == []  # said once
    balancer.resolved(NAME, [], 111.0)  # nothing found: what was known stays
    assert balancer.servers == (A, B)
    balancer.failed(A, 112.0, silent=False)
    assert balancer.due(112.4) == [NAME]  # a server is gone: others may have come
    balancer.resolved(NAME, [B, C], 112.4)
    assert {balancer.pick(112.5) for _ in range(10)} == {B, C}
    balancer.failed(A, 112.6, silent=False)  # a late word of one that is not there any more
    balancer.responded(A)


def test_a_change_is_logged_once_and_only_among_several(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "boxwise")
    balancer, alone = Balancer([A, B]), Balancer([C])
    for _ in range(3):
        balancer.failed(A, 0.0, silent=False)
        alone.failed(C, 0.0, silent=False)
    balancer.responded(A)
    assert [record.getMessage() for record in caplog.records] == [
        "a:1 is left out: no connection",
        "a:1 responds again",
    ]

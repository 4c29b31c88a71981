"""`boxwise perf` on a running server, whose processes it does not know."""

from __future__ import annotations

import json

from contract_support.calls import Triton
from contract_support.command import boxwise

from boxwise_perf.trial import NOT_OURS


def test_a_server_that_is_not_ours(triton: Triton) -> None:
    load = ("--synthetic", "64x48", "--seed", 1, "--rate", 9, "--arrivals", "fixed")
    times = ("--duration", "1s", "--warm-up", "0.2s")
    done = boxwise("perf", "run", "--url", triton.grpc_url, *load, *times, "--json")
    assert done.returncode == 0, done.stderr
    (trial,) = json.loads(done.stdout)["trials"]
    assert trial["requests"] == 9
    assert trial["server"] is None
    assert trial["notes"] == [NOT_OURS]
    assert trial["send_lag_ms"]["max"] >= 0
    assert [stage["name"] for stage in trial["stages"]][:2] == ["", "preprocess"]

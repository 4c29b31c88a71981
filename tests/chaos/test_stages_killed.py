"""kill -9 of a stage's process, of every stage in turn, while requests arrive; the server is run by
`boxwise serve`.

Both forms assert the same: the watchdog names the stage that died, an image is answered again
within 30 s of the kill, and no request takes longer than its deadline and a second, which a client
on a busy machine needs to be woken. The long form kills every stage five times, as often in a row
as the command allows: it pauses longer before each restart.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contract_support.background import Background
from contract_support.null_pipeline import BOXES, flat
from contract_support.servers import Command, served
from contract_support.trials import Trial

from boxwise import Client
from boxwise_perf.load import Open, Samples
from boxwise_runtime.launcher import Supervisor
from boxwise_runtime.stub_processes import stubs_of

DEADLINE_S = 2.0
WOKEN_S = 1.0
AGAIN_S = 30.0
LOAD = Open(40)  # a second; all that arrive within a deadline are fewer than the load has senders
IMAGE = flat(640, 480)


@dataclass(frozen=True)
class Kill:
    """Seconds after the kill."""

    noticed: float
    again: float


def test_a_killed_stage_is_noticed_and_served_again(trial: Trial, repository: Path) -> None:
    with served(repository) as command:
        stages = sorted({stub.model for stub in stubs_of(command.server)})
    kills: list[Kill] = []
    runs: list[Samples] = []
    turns = stages * trial.of(short=1, long=5)
    # After five in two minutes the command gives up, as it should, and the pauses between them
    # grow.
    lot = trial.of(short=3, long=Supervisor.restarts)
    for first in range(0, len(turns), lot):
        some, samples = kill_in_turn(repository, turns[first : first + lot])
        kills += some
        runs.append(samples)
        trial.progress(len(kills), len(turns), "kills")
    longest = max(float((run.done - run.sent).max()) for run in runs)
    trial.measured(
        stages=", ".join(stages),
        kills=len(kills),
        requests=sum(len(run.sent) for run in runs),
        failed=sum(int((~run.answered).sum()) for run in runs),
        longest_request_s=longest,
        noticed_after_s=max(kill.noticed for kill in kills),
        served_again_after_s=max(kill.again for kill in kills),
    )
    assert max(kill.again for kill in kills) <= AGAIN_S
    assert longest <= DEADLINE_S + WOKEN_S
    assert all(set(run.boxes[run.answered]) == {BOXES} for run in runs)


def kill_in_turn(repository: Path, stages: Sequence[str]) -> tuple[list[Kill], Samples]:
    """Kill a process of each of these stages, the next when all is well again; every request of
    that time.
    """
    with (
        served(repository) as command,
        Client(command.options.grpc_url, timeout_s=DEADLINE_S) as client,
    ):
        with Background(lambda image: len(client.predict(image)), [IMAGE], LOAD) as load:
            moments = [kill(command, stage) for stage in stages]
        answered = load.samples.sent[load.samples.answered] + load.start
        done = load.samples.done[load.samples.answered] + load.start
    kills = []
    for killed, noticed, ready in moments:
        again = done[answered >= ready]
        assert len(again), "nothing was answered after the server was ready again"
        kills.append(Kill(noticed - killed, float(again.min()) - killed))
    return kills, load.samples


def kill(command: Command, stage: str) -> tuple[float, float, float]:
    """Moments: the kill, the watchdog's word that this stage died, and that the server is ready."""
    time.sleep(1.0)
    stub = next(stub for stub in stubs_of(command.server) if stub.model == stage)
    os.kill(stub.pid, signal.SIGKILL)
    killed = time.perf_counter()
    noticed = command.wait_for(f"the stage '{stage}' died", since=killed)
    ready = command.wait_for("ready: ", since=noticed)
    time.sleep(0.5)
    return killed, noticed, ready


def test_without_restarts_a_killed_stage_ends_the_process(trial: Trial, repository: Path) -> None:
    with served(repository, "--no-restart") as command:
        stage = max(stub.model for stub in stubs_of(command.server))
        with (
            Client(command.options.grpc_url, timeout_s=DEADLINE_S) as client,
            Background(lambda image: len(client.predict(image)), [IMAGE], LOAD) as load,
        ):
            time.sleep(1.0)
            os.kill(
                next(stub.pid for stub in stubs_of(command.server) if stub.model == stage),
                signal.SIGKILL,
            )
            killed = time.perf_counter()
            code = command.process.wait(AGAIN_S)
            ended = time.perf_counter() - killed
        command.wait_for(f"error: the stage '{stage}' died", timeout_s=2)
    longest = float((load.samples.done - load.samples.sent).max())
    trial.measured(exit_code=code, ended_after_s=ended, longest_request_s=longest)
    assert code == 1
    assert longest <= DEADLINE_S + WOKEN_S

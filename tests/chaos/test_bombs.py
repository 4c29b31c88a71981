"""Decompression bombs: small files that would take much memory or time are answered as quickly as
any, for +10 MB.

Over the limit of pixels they are refused by their header, within 5 ms. All others take at most a
twentieth of what an image takes that has as many pixels as it may (EXIF of many entries three), so
that a slow machine is no bomb.

In this process, where `decode` is timed and the most memory it ever held is the kernel's own figure
(VmHWM); and through the server, whose stages are looked at in the same way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np
import pytest
from contract_support import bombs
from contract_support.attacked import PIPELINES, Attacked, attacked, export_dots
from contract_support.calls import Refusal
from contract_support.memory import Peak
from contract_support.trials import Trial

from boxwise_contract.limits import ImageLimits
from boxwise_contract.refusals import InvalidInput
from boxwise_runtime.decode import decode

LIMIT = ImageLimits(max_pixels=25_000_000)
HEADER_MS = 5.0
MORE_MB = 10.0
MB = 1e6
BY_HEADER = bombs.over_the_limit()
REFUSED = BY_HEADER | bombs.of_too_many_parts()
SEEN = bombs.of_much_to_inflate()
# As many pixels as an image may have, and nothing wrong with it.
PLAIN = bombs.scans(5000, 5000, 1, components=3)
PLAIN_MS_TIMES = 8  # what 100 scans of 25 megapixels may take of the time of one
PLAIN_MS_SHARE = (
    0.05  # what one may that is not refused by its header; without `image_limits.py` some took 10
)


def milliseconds(file: bytes) -> tuple[str, float]:
    """What `decode` says of it ("" where it sees an image), and the best of three times."""
    best, said = float("inf"), ""
    for _ in range(3):
        start = time.perf_counter()
        try:
            decode(np.frombuffer(file, np.uint8), LIMIT)
        except InvalidInput as error:
            said = str(error)
        best = min(best, (time.perf_counter() - start) * 1e3)
    return said, best


def test_bombs_are_refused_by_their_header_or_seen_without_what_they_hide(trial: Trial) -> None:
    plain = milliseconds(PLAIN)[1]
    times, memory = {}, {}
    for what, file in (REFUSED | SEEN).items():
        peak = Peak(os.getpid())
        said, times[what] = milliseconds(file)
        memory[what] = max(peak.more()) / MB
        assert bool(said) == (what in REFUSED), (what, said)
        assert said.startswith("image: ") or what in SEEN, (what, said)
        most = HEADER_MS if what in BY_HEADER else PLAIN_MS_SHARE * plain
        # EXIF is read before an image is turned, 2,700 entries of it too
        assert times[what] < most * (3 if "EXIF of entries" in what else 1), (
            what,
            times[what],
            plain,
        )
        assert memory[what] < MORE_MB, (what, memory[what])
    slowest, largest = (
        max(times, key=lambda what: times[what]),
        max(memory, key=lambda what: memory[what]),
    )
    trial.measured(
        bombs=len(times),
        slowest_by_header_ms=max(times[what] for what in BY_HEADER),
        slowest_ms=times[slowest],
        slowest=slowest,
        plain_ms=plain,
        most_mb=memory[largest],
        largest=largest,
    )


def test_the_most_scans_that_are_decoded_take_no_second(trial: Trial) -> None:
    """The slowest of 25 megapixels that a few hundred bytes can say, beside one scan of them."""
    plain = milliseconds(PLAIN)[1]
    most = milliseconds(bombs.scans(5000, 5000, 100, components=3))[1]
    trial.measured(one_scan_ms=plain, hundred_scans_ms=most)
    assert most < PLAIN_MS_TIMES * plain


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked(export_dots(tmp_path_factory.mktemp("bombs"))) as server:
        yield server


def test_a_server_answers_bombs_for_little_memory(trial: Trial, target: Attacked) -> None:
    # What a message of 1 MB takes is not the bomb's.
    for file in (
        bombs.saved("PNG"),
        bombs.jpeg(b"\xff" * 1_000_000),
    ):
        for pipeline in PIPELINES:
            _ask(target, pipeline, file)
    most: dict[str, float] = {}
    for what, file in (REFUSED | SEEN).items():
        for pipeline in PIPELINES:
            peak = Peak(target.server.pid, *target.stubs)
            refusal = _ask(target, pipeline, file)
            most[what] = max(most.get(what, 0), max(peak.more()) / MB)
            assert (refusal is not None) == (what in REFUSED), what
            if refusal:
                assert refusal.status == "INVALID_ARGUMENT", (what, refusal)
                assert "image: " in refusal.sentence, (what, refusal)
            assert most[what] < MORE_MB, (what, most[what])
    target.assert_unharmed()
    largest = max(most, key=lambda what: most[what])
    trial.measured(requests=2 * len(most), most_mb_of_a_process=most[largest], largest=largest)


def _ask(target: Attacked, pipeline: str, file: bytes) -> Refusal | None:
    image = {"image": np.frombuffer(file, np.uint8)}
    try:
        target.triton.infer(pipeline, image)
    except Exception:  # noqa: BLE001 - asked again, for what it says
        return target.triton.refusal(pipeline, image)
    return None

"""The page needs nothing beside it, and no plot is drawn without data."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from contract_support.perf_results import COMPARISON, EMPTY, RUN, SLO, trial

from boxwise_export.repository.serving_config import ServingConfig
from boxwise_perf.load import Closed, Open
from boxwise_perf.page import render
from boxwise_perf.plots import plots
from boxwise_perf.result import Result, load, text
from boxwise_perf.stats import Estimate
from boxwise_perf.tune import Tried, Tuning

COMPARED = replace(EMPTY, target=None, comparisons=(COMPARISON,))
SWEEP = replace(EMPTY, trials=tuple(trial(Open(rate), rate) for rate in (10, 20, 40)))
BARE = replace(trial(Closed(1)), stages=(), server=None, samples=None)


@pytest.mark.parametrize(
    ("results", "names"),
    [
        ([], []),
        ([EMPTY], []),
        ([replace(EMPTY, trials=(BARE,))], []),
        ([replace(EMPTY, trials=(trial(Closed(1), void="too busy: lower it"),))], []),
        ([RUN], ["stages_0", "batches_0", "requests_0"]),
        ([SWEEP], ["latency_open", "stages_0", "batches_0", "requests_0"]),
        ([SLO], ["stages_0", "batches_0", "requests_0"]),
        ([COMPARED], ["comparison"]),
        ([SWEEP, COMPARED], ["latency_open", "stages_0", "batches_0", "requests_0", "comparison"]),
    ],
)
def test_a_plot_for_what_there_is(results: list[Result], names: list[str]) -> None:
    drawn = list(plots(results))
    assert [plot.name for plot in drawn] == names
    assert all(plot.png.startswith(b"\x89PNG") and plot.reading.endswith(".") for plot in drawn)


def test_the_page() -> None:
    results = [RUN, SLO, COMPARED]
    drawn = list(plots(results))
    page = render(results, drawn)
    assert page.count("<figure>") == len(drawn)
    assert not re.search(r'(src|href)="(?!data:)', page)
    for words in (
        "a CPU",
        "concurrency 4",
        "2 Overloaded: said so",
        "no rate was confirmed",
        "B is faster",
        "0123456789ab",
    ):
        assert words in page


def test_what_could_not_be_seen_is_said_once() -> None:
    results = [
        replace(
            EMPTY,
            trials=tuple(replace(trial(Closed(n)), notes=("no GPU & no <b>",)) for n in (1, 2)),
        )
    ]
    assert render(results, []).count('<p class="small">no GPU &amp; no &lt;b&gt;.</p>') == 1


def test_a_search_is_its_table_and_what_won() -> None:
    fused = ServingConfig("fused", {"fused": 2}, threads=1)
    tried = Tried(fused, "layout fused", 700.0, Estimate(1.55, 1.5, 1.6), taken=True)
    found = Tuning(
        "the most images/s",
        ServingConfig(),
        fused,
        Estimate(1.54, 1.51, 1.57),
        (tried,),
        complete=True,
    )
    page = render([replace(EMPTY, tuning=found)], [])
    for words in (
        "layout fused",
        "1.550\n[1.500, 1.600]",
        "taken",
        "best: fused (2 fused; 1 threads), 1.54 times",
    ):
        assert words in page
    unchanged = replace(found, best=found.first, tried=())
    assert "no configuration is better" in render([replace(EMPTY, tuning=unchanged)], [])


def test_a_search_survives_its_file(tmp_path: Path) -> None:
    found = Tuning(
        "lowest",
        ServingConfig(),
        ServingConfig("bls", {"bls": 3}),
        Estimate(2.0),
        (),
        complete=False,
    )
    result = replace(EMPTY, tuning=found)
    (tmp_path / "tuned.json").write_text(text(result))
    assert load(tmp_path / "tuned.json") == result


def test_what_comes_from_a_file_is_escaped() -> None:
    assert "<script>" not in render(
        [replace(COMPARED, comparisons=(replace(COMPARISON, verdict="<script>"),))], []
    )

"""The page needs nothing beside it, and no plot is drawn without data."""

import re
from dataclasses import replace

import pytest
from contract_support.perf_results import COMPARISON, EMPTY, RUN, SLO, trial

from boxwise_perf.load import Closed, Open
from boxwise_perf.page import render
from boxwise_perf.plots import plots
from boxwise_perf.result import Result

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


def test_what_comes_from_a_file_is_escaped() -> None:
    assert "<script>" not in render([replace(COMPARED, comparisons=(replace(COMPARISON, verdict="<script>"),))], [])

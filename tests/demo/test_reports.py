"""What a demonstration says of itself: a run whose workers could not keep up compares nothing, and says so."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream_coupons.demo.play import DAY_S, Outcomes, Played, Policy
from stream_coupons.demo.reports import add_shoppers, print_shoppers
from stream_coupons.demo.watch import Counts, Watch
from stream_coupons.evaluation.report import Report

DAYS = 10
NO_SYSTEM: Any = None
POLICIES: tuple[Policy, ...] = ("random", "learned", "oracle")
PLAYED = [Played(policy, Outcomes(0.0), 0.0, 0, [], 1000) for policy in POLICIES]


def watch_of(lags: list[float]) -> Watch:
    """A run of a hundred events a day, whose lag was so high, a worker of two having half of it."""
    series = [
        {("stream_coupons_lag_records", (("partition", str(number)),)): lag / 2 for number in (0, 1)} for lag in lags
    ]
    samples = [(DAY_S * number, each) for number, each in enumerate(series)]
    return Watch(NO_SYSTEM, Counts(published=100 * DAYS), series[-1] if series else {}, samples)


@pytest.mark.parametrize(
    ("lags", "days_behind"),
    [([], 0.0), ([0, 10, 900], 0.1), ([40, 50, 60], 0.5), ([0, 51, 60], 0.51), ([300, 250, 400], 3.0)],
)
def test_a_run_that_lagged_says_that_it_compares_nothing(tmp_path: Path, lags: list[float], days_behind: float) -> None:
    watch = watch_of(lags)
    assert watch.days_behind(DAYS) == pytest.approx(days_behind)
    console, page = Console(record=True, width=200), Report("r")
    print_shoppers(console, PLAYED, watch, DAYS, [])
    add_shoppers(page, PLAYED, watch, DAYS, [])
    page.write(tmp_path / "page.html")
    for text in (console.export_text(), (tmp_path / "page.html").read_text(encoding="utf-8")):
        assert ("The workers lagged behind the simulated time: this run compares nothing" in text) == (
            days_behind > 0.5
        )

"""The report of a search: what was tried, what matters, and what was found, for any kind of setting."""

import json
import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from stream_coupons.lab.reports.tune_report import page
from stream_coupons.lab.tuning.objective import Comparison, ObjectiveValue, Tuned
from stream_coupons.lab.tuning.search_space import Method, Metric, SearchPlan, TunedHead
from stream_coupons.lab.tuning.tuning import Tried, opened, results
from stream_coupons.models.metrics import Interval
from stream_coupons.settings import Settings
from tests.lab.tuning.test_tuning import BAD, NEIGHBOURS, PRICE, QUESTION, RATE, SPACE, valley, valley_with_bars


def searched(path: Path, trials: int, evaluate: Any = valley) -> tuple[list[Tried], dict[str, float]]:
    plan = SearchPlan(SPACE, BAD, Method.RANDOM, trials, is_maximised=False)
    with opened(path, plan, QUESTION) as study, ThreadPoolExecutor(1) as pool:
        for finished in results(study, evaluate, pool, 1):
            for trial, quality in finished:
                study.tell(trial, quality)
        return study.tried(), study.importances()


def tuned(tried: list[Tried]) -> Tuned:
    best = min((one for one in tried if not one.is_given_up), key=lambda one: one.quality)
    comparison = Comparison(100, 10, 50, 0.5, 0.4, Interval(0.1, 0.05, 0.15))
    return Tuned(
        log=Path("log.jsonl"),
        method=Method.RANDOM,
        metric=Metric.LOG_LOSS,
        head=TunedHead.REDEEM,
        seed=0,
        trials=len(tried),
        given_up=0,
        failed=0,
        best_trial=best.number,
        best_quality=best.quality,
        used_today=SPACE.values(BAD),
        found=best.values,
        split_at=0.0,
        searched=comparison,
        held_out=comparison,
        is_better=True,
        written=None,
    )


def charts(html: str) -> dict[str, dict[str, Any]]:
    """Specifications by title."""
    found = {}
    for figure in html.split('<figure class="card"')[1:]:
        if spec := re.search(r'<script type="application/json">(.*?)</script>', figure):
            title = re.search(r"<h3>(.*?)</h3>", figure)
            assert title is not None
            found[title[1]] = json.loads(spec[1])
    return found


def dots(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a chart draws."""
    rows: list[dict[str, Any]] = spec["datasets"][spec["data"]["name"]]
    return rows


def rate_alone(settings: Settings, bars: Sequence[float]) -> ObjectiveValue:  # noqa: ARG001 - it goes to the end
    return ObjectiveValue(abs(math.log10(settings.learning.prior_variance / 0.1)))


def test_what_matters_most_has_the_largest_share(tmp_path: Path) -> None:
    _, importances = searched(tmp_path / "study", 30, rate_alone)
    assert sorted(importances) == sorted([RATE, NEIGHBOURS, PRICE])
    assert importances[RATE] > 0.7
    assert sum(importances.values()) == pytest.approx(1.0)


def test_each_setting_has_a_chart_of_its_kind(tmp_path: Path) -> None:
    tried, importances = searched(tmp_path / "study", 12)
    drawn = charts(page(tuned(tried), tried, importances, SPACE).html())
    assert list(drawn) == ["Gain", "Best so far", "Trials", "Importance", RATE, NEIGHBOURS, PRICE]
    assert drawn[RATE]["layer"][0]["encoding"]["x"]["scale"] == {"type": "log"}
    assert len(dots(drawn[RATE])) == 12
    assert sum(not row["quiet"] for row in dots(drawn[RATE])) == 1


def test_a_trial_that_was_given_up_is_kept_but_not_compared(tmp_path: Path) -> None:
    tried, importances = searched(tmp_path / "study", 20, valley_with_bars)
    given_up = [one for one in tried if one.is_given_up]
    assert given_up
    assert all(one.quality == valley_with_bars_of(one) for one in given_up)
    html = page(tuned(tried), tried, importances, SPACE).html()
    assert f"{len(given_up)} were given up on the way" in html
    assert len(dots(charts(html)["Trials"])) == len(tried) - len(given_up)


def valley_with_bars_of(one: Tried) -> float:
    return valley(SPACE.settings(BAD, one.values)).value


def test_few_trials_say_nothing_of_what_matters(tmp_path: Path) -> None:
    tried, importances = searched(tmp_path / "study", 2)
    assert importances == {}
    assert "it takes five trials" in page(tuned(tried), tried, importances, SPACE).html()

"""The report of a search: what was tried, what matters, and what was found, for any kind of setting."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")


from optuna.trial import FrozenTrial

from lab.tuning.test_study import BAD, NEIGHBOURS, PRICE, RATE, SPACE, plan, to_the_end, tried, valley
from stream_coupons.models.metrics import Interval
from stream_coupons_lab.reports.tune_report import page
from stream_coupons_lab.tuning.objective import Comparison, Tuned
from stream_coupons_lab.tuning.options import Method, Metric, TunedHead
from stream_coupons_lab.tuning.search_space import rounded

SHARES = {RATE: 0.7, NEIGHBOURS: 0.2, PRICE: 0.1}


def tuned(trials: list[FrozenTrial]) -> Tuned:
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    best = min(complete, key=lambda trial: trial.value or 0.0)
    comparison = Comparison(100, 10, 50, 0.5, 0.4, Interval(0.1, 0.05, 0.15))
    return Tuned(
        log=Path("log.jsonl"),
        method=Method.RANDOM,
        metric=Metric.LOG_LOSS,
        head=TunedHead.REDEEM,
        seed=0,
        trials=len(trials),
        given_up=len(trials) - len(complete),
        failed=0,
        best_trial=best.number,
        best_quality=best.value or 0.0,
        used_today=SPACE.values(BAD),
        found=rounded(best.params),
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


def test_each_setting_has_a_chart_of_its_kind(tmp_path: Path) -> None:
    trials = tried(tmp_path / "study", plan(Method.RANDOM, trials=12), evaluate=to_the_end)
    drawn = charts(page(tuned(trials), trials, SHARES, SPACE).html())
    assert list(drawn) == ["Best so far", RATE, NEIGHBOURS]
    assert drawn[RATE]["is_log"]
    assert len(drawn[RATE]["names"]) == 12
    loud, quiet = drawn[RATE]["series"]
    assert (loud["is_quiet"], quiet["is_quiet"]) == (False, True)
    assert [value for value in loud["y"] if value is not None] == [float(f"{tuned(trials).best_quality:.6g}")]
    html = page(tuned(trials), trials, SHARES, SPACE).html()
    assert [title for title in ("Gain", "Importance", PRICE) if f"<h3>{title}</h3>" not in html] == []


def test_a_pruned_trial_is_counted_and_not_compared(tmp_path: Path) -> None:
    trials = tried(tmp_path / "study", plan(Method.RANDOM, trials=20), evaluate=valley)
    found = tuned(trials)
    assert found.given_up > 0
    html = page(found, trials, SHARES, SPACE).html()
    assert f"{found.given_up} were given up on the way" in html
    assert len(charts(html)[RATE]["names"]) == len(trials) - found.given_up


def test_importance_that_is_unknown_is_shown_as_such(tmp_path: Path) -> None:
    trials = tried(tmp_path / "study", plan(Method.RANDOM, trials=2))
    assert "it takes five trials" in page(tuned(trials), trials, {}, SPACE).html()

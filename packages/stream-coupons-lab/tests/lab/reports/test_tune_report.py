"""The report of a search: what was tried, what matters, and what was found, for any kind of setting."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")


from optuna.trial import FrozenTrial

from lab.tuning.test_study import BAD, ONE_RATE, SPACE, cliff, plan, tried
from stream_coupons.models.metrics import Interval
from stream_coupons_lab.reports.tune_report import page
from stream_coupons_lab.tuning.objective import Comparison, Tuned
from stream_coupons_lab.tuning.options import Method, TunedHead
from stream_coupons_lab.tuning.search_space import rounded


def tuned(trials: list[FrozenTrial]) -> Tuned:
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    best = min(complete, key=lambda trial: trial.value or 0.0)
    comparison = Comparison(100, 10, 50, 0.5, 0.4, Interval(0.1, 0.05, 0.15))
    return Tuned(
        log=Path("log.jsonl"),
        method=Method.RANDOM,
        head=TunedHead.REDEEM,
        seed=0,
        trials=len(trials),
        failed=len(trials) - len(complete),
        best_trial=best.number,
        best_quality=best.value or 0.0,
        used_today={name: SPACE.values(BAD)[name] for name in best.params},
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


def test_every_trial_is_in_the_table_and_the_best_so_far_in_the_chart(tmp_path: Path) -> None:
    trials = tried(tmp_path / "study", plan(Method.RANDOM, trials=12))
    html = page(tuned(trials), trials).html()
    drawn = charts(html)
    assert list(drawn) == ["Best so far"]
    best = drawn["Best so far"]["series"][0]["y"]
    assert best == sorted(best, reverse=True)
    assert best[-1] == float(f"{tuned(trials).best_quality:.6g}")
    assert "<h3>Gain</h3>" in html
    assert all(f'class="n">{trial.number}</th>' in html for trial in trials)


def test_a_trial_without_a_quality_is_counted(tmp_path: Path) -> None:
    trials = tried(tmp_path / "study", plan(Method.GRID, trials=4, space=ONE_RATE), evaluate=cliff)
    assert "2 have no quality" in page(tuned(trials), trials).html()

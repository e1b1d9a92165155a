"""The comparison with the oracle runs, and its figures are what they are called."""

import json

import msgspec
import pytest

from benchmarks.retrained import RetrainedDaily
from benchmarks.simulated import Run, interval, main, rate, ratio, ratios, strange, thirds
from stream_coupons import topics
from stream_coupons.codec import encode
from stream_coupons.core.scoring import HEADS
from stream_coupons.models.linear import prior
from stream_coupons.models.progressive import roc_auc
from stream_coupons.runtime.records import Output
from tests.models.builders import example, random_rows


@pytest.mark.long
@pytest.mark.slow
def test_every_policy_plays_every_world(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--shoppers", "60", "--days", "6", "--seeds", "1", "--aim", "redemptions", "--json"])
    runs = json.loads(capsys.readouterr().out)
    assert [run["policy"] for run in runs] == ["learned", "oracle", "random"]
    assert all(run["issues"] > 20 for run in runs)
    _, oracle, at_random = (rate([msgspec.convert(run, Run)], run["policy"], range(6)) for run in runs)
    assert oracle > at_random > 0.0


def test_ratios_are_by_seed_and_their_interval_covers_the_mean() -> None:
    runs = [
        Run(seed, policy, 110, [(0, 10, 5.0), (1, 100, 100 * rate)], [(1, 4), (0, 0)], 0.0)
        for seed, policy, rate in [(1, "learned", 0.1), (1, "oracle", 0.2), (2, "learned", 0.3), (2, "oracle", 0.4)]
    ]
    assert thirds(7) == [range(2), range(2, 4), range(4, 7)]
    assert ratios(runs, "learned", range(1, 2)) == pytest.approx([0.5, 0.75])
    assert ratio(runs, "learned", range(2)) == pytest.approx(50 / 70)
    assert strange(runs, range(3)) == 0.25
    mean, low, high = interval([0.5, 0.75])
    assert low < mean == 0.625 < high


@pytest.mark.long
@pytest.mark.slow
def test_what_is_fitted_every_night_learns_and_the_table_shows_the_days_after_a_drift(
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = ["--shoppers", "100", "--days", "8", "--drift", "5", "--seeds", "1", "--aim", "redemptions"]
    main([*size, "--policies", "daily", "oracle"])
    shown = capsys.readouterr().out
    assert "redeem rate, daily over oracle, last third" in shown
    assert "0 to 3" in shown
    assert "strange interests on the day of the drift, oracle, seed 1" in shown


def test_the_model_of_the_night_knows_the_labels_of_its_days_and_no_later_ones() -> None:
    rows = random_rows(2, 400)
    all_days, last_days = RetrainedDaily(), RetrainedDaily(days_kept=2)
    for n in range(len(rows)):
        for head in HEADS:
            # Until day 5 what decides is turned around.
            label = bool((rows.numeric[n, 0] > 1.5) == (n >= 200))
            about = {"numeric": rows.numeric[n].tolist(), "hashed": rows.hashed[n].tolist(), "label": label}
            one = example(example_id=f"{n}-{head}", head=head, at=n * 86400.0 / 40, **about)
            for scorer in (all_days, last_days):
                scorer.take(Output(topics.EXAMPLES.name, 0, None, encode(one)))
    before = all_days.predict(rows)
    assert before.tolist() == last_days.predict(rows).tolist() == prior().predict(rows).tolist()
    areas = []
    for scorer in (all_days, last_days):
        scorer.retrain(10)
        areas.append(roc_auc(scorer.predict(rows)[200:, 0], rows.numeric[200:, 0] > 1.5))
    assert areas[1] > 0.95 > areas[0]

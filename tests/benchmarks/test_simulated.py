"""The comparison with the oracle runs, and its figures are what they are called."""

import json

import pytest

from tests.benchmarks.simulated import Run, interval, main, ratios


def test_every_policy_plays_every_world(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--shoppers", "60", "--days", "6", "--seeds", "1", "--aim", "redemptions", "--json"])
    runs = json.loads(capsys.readouterr().out)
    assert [run["policy"] for run in runs] == ["learned", "oracle", "random"]
    assert all(run["issues"] > 20 for run in runs)
    assert runs[1]["redeem_by_third"] > runs[2]["redeem_by_third"]


def test_ratios_are_by_seed_and_their_interval_covers_the_mean() -> None:
    runs = [
        Run(seed, policy, 10, (rate, rate, rate), 0.0)  # type: ignore[arg-type]
        for seed, policy, rate in [(1, "learned", 0.1), (1, "oracle", 0.2), (2, "learned", 0.3), (2, "oracle", 0.4)]
    ]
    assert ratios(runs, 2) == pytest.approx([0.5, 0.75])
    mean, low, high = interval([0.5, 0.75])
    assert low < mean == 0.625 < high

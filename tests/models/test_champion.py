"""Who serves: the better one, once that is beyond doubt, and never by turns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from stream_coupons.models.champion import Contest, Promotion
from stream_coupons.models.inputs import Row
from stream_coupons.models.rules import LearningRules, ModelName

OTHER, KALMAN = "river.linear_model:LogisticRegression", ModelName.KALMAN
ROW = Row([], [])


class Noisy:
    """Knows the truth up to a noise of its own."""

    def __init__(self, noise: float, seed: int) -> None:
        self.noise = noise
        self._rng = np.random.default_rng(seed)

    def learn_one(self, row: Row, _: bool) -> float:
        truth = float(row.numeric[0]) if row.numeric else 0.5
        return float(1 / (1 + np.exp(-(np.log(truth / (1 - truth)) + self._rng.normal(0, self.noise)))))

    def probability(self, row: Row) -> float:
        raise NotImplementedError

    def quicken(self, factor: float) -> None:
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError


def contest(other: float, kalman: float, **rules: Any) -> Contest:
    return Contest(
        {OTHER: Noisy(other, 1), KALMAN: Noisy(kalman, 2)},
        LearningRules(**({"models": [OTHER, KALMAN]} | rules)),
    )


def run(contest: Contest, size: int, seed: int = 3, start: int = 0) -> list[tuple[int, Promotion]]:
    rng = np.random.default_rng(seed)
    promotions = []
    for n in range(start, start + size):
        truth = float(rng.uniform(0.01, 0.5))
        _, promotion = contest.learn_one(Row([truth], []), bool(rng.random() < truth))
        if promotion is not None:
            promotions.append((n, promotion))
    return promotions


def test_a_better_challenger_takes_over_once_and_for_good() -> None:
    one = contest(other=1.0, kalman=0.0)
    [(at, promotion)] = run(one, 20_000)
    assert at >= 999
    assert (promotion.old, promotion.new, one.champion) == (OTHER, KALMAN, KALMAN)
    assert promotion.new_log_loss < promotion.old_log_loss


def test_a_worse_challenger_never_does() -> None:
    assert run(contest(other=0.0, kalman=1.0), 20_000) == []


@pytest.mark.parametrize("seed", range(3))
def test_equals_do_not_take_turns(seed: int) -> None:
    assert run(contest(other=0.7, kalman=0.7, promotion_margin_ratio=0.0), 20_000, seed) == []


def test_a_lead_within_the_margin_is_not_worth_a_change() -> None:
    assert run(contest(other=0.3, kalman=0.0, promotion_margin_ratio=0.2), 20_000) == []
    assert run(contest(other=0.3, kalman=0.0, promotion_margin_ratio=0.0), 20_000) != []


def test_nobody_is_promoted_before_enough_examples() -> None:
    one = contest(other=5.0, kalman=0.0, promotion_min_examples=2000)
    [(at, _)] = run(one, 5000)
    assert 1999 <= at < 3000  # the recent count more, so that it takes a little longer


def test_a_champion_that_falls_behind_is_replaced_and_comes_back_when_it_is_better_again() -> None:
    one = contest(other=0.0, kalman=1.0, comparison_half_life=1000)
    assert run(one, 10_000) == []
    one.models[OTHER].noise, one.models[KALMAN].noise = 1.0, 0.0  # type: ignore[attr-defined]
    [(_, there)] = run(one, 10_000, start=10_000)
    one.models[OTHER].noise, one.models[KALMAN].noise = 0.0, 1.0  # type: ignore[attr-defined]
    [(_, back)] = run(one, 10_000, start=20_000)
    assert [there.new, back.new] == [KALMAN, OTHER]


def test_a_pinned_model_serves_whoever_is_better() -> None:
    one = contest(other=2.0, kalman=0.0, pinned=OTHER)
    assert run(one, 10_000) == []
    assert one.champion == OTHER
    assert contest(other=0.0, kalman=2.0, pinned=KALMAN).champion == KALMAN


def test_comparing_goes_on_from_its_state() -> None:
    whole, resumed = contest(other=0.6, kalman=0.0), contest(other=0.6, kalman=0.0)
    run(whole, 900)
    resumed.models = whole.models
    resumed.restore(whole.champion, whole.state())
    assert resumed.duels == whole.duels
    assert resumed.champion == whole.champion


def test_a_pin_overrides_a_restored_champion_and_its_comparisons() -> None:
    one, pinned = contest(other=1.0, kalman=0.0), contest(other=1.0, kalman=0.0, pinned=OTHER)
    run(one, 5000)
    pinned.restore(one.champion, one.state())
    assert pinned.champion == OTHER
    assert {duel.examples for duel in pinned.duels.values()} == {0.0}


def test_a_champion_that_is_not_there_any_more_gives_way() -> None:
    one = contest(other=1.0, kalman=0.0)
    one.restore("forgotten", {})
    assert one.champion == OTHER


def test_a_model_that_joins_is_compared_from_then_on() -> None:
    one, joined = contest(other=1.0, kalman=0.0), contest(other=1.0, kalman=0.0)
    run(one, 100)
    joined.restore(OTHER, {OTHER: one.state()[OTHER]})
    assert joined.duels[KALMAN].examples == 0.0
    assert joined.duels[OTHER] == one.duels[OTHER]


def test_one_model_alone_is_champion() -> None:
    one = Contest({OTHER: Noisy(0.5, 1)}, LearningRules(models=[OTHER]))
    assert run(one, 100) == []
    assert one.duels[OTHER].log_loss > 0

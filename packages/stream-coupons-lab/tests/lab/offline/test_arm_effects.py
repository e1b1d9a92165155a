"""Effects of coupons: what a known effect is measured as, and how often its interval holds it."""

from typing import Any

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.arm_effects import ANY, OURS, ArmEffect, covered, groups_of, measure
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions
from stream_coupons_lab.offline.uplift import Trial
from stream_coupons_lab.ope.rewards import Reward, rewards

RULES = Settings().policy
ARMS = ("a", "b", NO_COUPON)
SHARE = np.array([0.5, 0.2, 0.3])


def decisions(n: int = 3000, seed: int = 1, **known: Any) -> LoggedDecisions:
    """Coupon a adds `x`, of [0, 0.4], to the probability of a purchase of 0.1, b nothing; both are predicted so."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 0.4, n)
    chosen_name = rng.choice(3, n, p=SHARE)
    p_purchase = 0.1 + np.where(chosen_name == 0, x, 0.0)
    probability = np.full((n, 3, 3), 0.1)
    probability[:, 1, 1] = 0.1 + x  # columns: none, a, b
    coupons = CouponSet([Coupon(coupon_id=name, discount_minor=100, max_discount_minor=100) for name in "ab"], 2000.0)
    columns = np.array([1, 2, 0])
    given = {
        "names": ARMS,
        "coupons": coupons,
        "position": np.array([0, 1, 0]),
        "arm": np.tile([2, 0, 1], (n, 1)),
        "chosen": columns[chosen_name],
        "shopper": rng.integers(0, n // 2, n),
        "at": np.arange(n, dtype=np.float64),
        "labelled_at": np.arange(n, dtype=np.float64),
        "probability": probability,
        "worth": np.zeros((n, 3)),
        "propensity": SHARE[chosen_name],
        "clicked": np.zeros(n, np.bool_),
        "purchased": rng.random(n) < p_purchase,
        "order_value": np.full(n, np.nan),
    }
    return LoggedDecisions(**(given | known))


def effects(found: LoggedDecisions) -> dict[str, ArmEffect]:
    return {one.arm: one for one in measure(found, rewards(found, Reward.PURCHASE, RULES), found.propensity)}


@pytest.fixture(scope="module")
def found() -> dict[str, ArmEffect]:
    return effects(decisions())


def test_each_coupon_has_the_effect_that_it_has(found: dict[str, ArmEffect]) -> None:
    assert list(found) == [ANY, OURS, "a", "b"]
    for arm, effect in (("a", 0.2), ("b", 0.0), (ANY, 0.1)):
        assert found[arm].uplift.mean.low < effect < found[arm].uplift.mean.high
        assert found[arm].predicted == pytest.approx(effect, abs=0.01)
    assert found["a"].uplift.qini.low > 0


def test_groups_go_from_the_highest_predicted_effect_down_and_hold_it(found: dict[str, ArmEffect]) -> None:
    groups = found["a"].groups
    assert len(groups) == 10
    predicted = [group.predicted for group in groups]
    assert predicted == sorted(predicted, reverse=True)
    assert groups[0].observed.value > groups[-1].observed.value + 0.1
    assert sum(group.treated + group.controls for group in groups) == found["a"].treated + found["a"].controls
    held, count = covered(list(found.values()))
    assert held >= 0.9 * count


def test_intervals_of_groups_hold_the_effect_about_as_often_as_they_say() -> None:
    """Also where rewards are rare: 2 % among the treated, 1 % among the controls."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        is_treated = rng.random(400) < 0.5
        reward = (rng.random(400) < np.where(is_treated, 0.02, 0.01)).astype(np.float64)
        [group] = groups_of(Trial(np.full(400, 0.01), is_treated, reward, np.full(400, 2.0)), np.arange(400))[:1]
        held.append(group.observed.low <= 0.01 <= group.observed.high)
    assert np.mean(held) > 0.93


def test_too_few_decisions_have_no_effect() -> None:
    assert effects(decisions(n=60)) == {}
    given = decisions(n=300)
    assert effects(given.at_rows(given.chosen != 0)) == {}

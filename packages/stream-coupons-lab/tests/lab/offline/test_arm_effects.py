"""Effects of coupons: what a known effect is measured as, and how often its interval holds it."""

from typing import Any

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.arm_effects import ANY, OURS, ArmEffect, measure
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions
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


def test_too_few_decisions_have_no_effect() -> None:
    assert effects(decisions(n=60)) == {}
    given = decisions(n=300)
    assert effects(given.at_rows(given.chosen != 0)) == {}

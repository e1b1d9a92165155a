"""The brake: where chance shows that coupons lose, few are given; where they earn, or nothing is known, all are."""

import math

import numpy as np
import pytest

from stream_coupons.core.decision.brake import LEAST_VALUE_RATIO, LiftReader
from stream_coupons.core.measurement.lift_sums import LiftChange, LiftSums
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import PolicyRules

RULES = PolicyRules(holdout_ratio=0.3)
FIRST, PROBES = LiftBrake(period=1, given_ratio=0.1), 0.1


class Arms:
    """Shoppers of one partition, each of whom orders once when they come."""

    def __init__(self, partition: int = 0, *, period: int = 0, seed: int = 1, without: float = 0.3) -> None:
        self.sums, self.partition, self.period, self.without = LiftSums(), partition, period, without
        self.rng = np.random.default_rng([seed, partition, period])
        self.predicted = self.closed = 0

    def come(self, count: int, effect: float, noise: float = 100.0, predicted: int = 0) -> LiftTotals:
        """Let shoppers come; those who may get coupons bring so much more, in minor units."""
        for _ in range(count):
            is_without = bool(self.rng.random() < self.without)
            margin = round(100 * (300 + self.rng.normal(0, noise) + (0 if is_without else effect)))
            row = (1, 5, 0, 0, 0, 0, 0, margin, 1)
            cell = 2 * int(self.rng.integers(4)) + is_without
            said = 0 if is_without else 1000 * predicted
            self.sums.add(LiftChange("shop", self.period, cell, None, row, predicted=said, closed=said))
        return self.totals()

    def totals(self) -> LiftTotals:
        one = self.sums
        return LiftTotals(
            domain="shop", partition=self.partition, at=9.0, period=one.period, version=one.version,
            products=one.products(), buyers=one.buyers, predicted_minor=one.predicted / 1000,
            closed_minor=one.closed / 1000,
        )  # fmt: skip


def looked(reader: LiftReader, *totals: LiftTotals) -> LiftBrake:
    for one in totals:
        reader.take(one)
    reader.update()
    return reader.brakes["shop"]


def test_a_loss_in_all_partitions_together_brakes_the_domain() -> None:
    reader = LiftReader(RULES)
    parts = [Arms(partition).come(60, effect=-100.0) for partition in range(4)]
    assert looked(reader, parts[0]) == LiftBrake(), "too few shoppers for an interval"
    assert math.isnan(reader.lifts["shop"].high)
    assert looked(reader, *parts) == FIRST
    lift = reader.lifts["shop"]
    assert lift.treated + lift.without == 240
    assert lift.low < -100.0 < lift.high < 0.0


def test_a_domain_in_which_coupons_earn_is_not_braked() -> None:
    reader = LiftReader(RULES)
    assert looked(reader, Arms().come(400, effect=100.0)) == LiftBrake()
    assert reader.lifts["shop"].low > 0.0


def test_few_of_many_shops_without_an_effect_are_ever_braked() -> None:
    braked = 0
    for seed in range(40):
        reader, arms = LiftReader(RULES), Arms(seed=seed)
        braked += any(looked(reader, arms.come(20, effect=0.0)).is_on for _ in range(15))
    assert braked <= 3  # of a share of at most 2.5 %


def test_arms_of_a_wrong_share_change_nothing() -> None:
    reader = LiftReader(PolicyRules(holdout_ratio=0.05))
    assert looked(reader, Arms().come(400, effect=-200.0)) == LiftBrake()
    assert reader.lifts["shop"].is_mismatch


def braked() -> LiftReader:
    reader = LiftReader(RULES)
    assert looked(reader, Arms().come(400, effect=-100.0)) == FIRST
    return reader


def test_a_brake_is_released_when_the_few_who_get_coupons_lose_no_more_and_not_before_the_first_look() -> None:
    reader, arms = braked(), Arms(period=1, without=1 - PROBES)
    assert looked(reader, arms.come(100, effect=10.0)) == FIRST
    assert looked(reader, arms.come(200, effect=10.0)) == LiftBrake(period=2)


def test_a_brake_stays_while_the_few_lose() -> None:
    assert looked(braked(), Arms(period=1, without=1 - PROBES).come(900, effect=-200.0)) == FIRST


def test_each_brake_lasts_for_twice_as_many_shoppers_as_the_one_before() -> None:
    reader = LiftReader(RULES)
    reader.brakes["shop"] = LiftBrake(period=3, given_ratio=PROBES)
    arms = Arms(period=3, without=1 - PROBES)
    assert looked(reader, arms.come(300, effect=50.0)).is_on
    assert looked(reader, arms.come(200, effect=50.0)) == LiftBrake(period=4)


def test_values_beyond_the_measured_lift_are_reduced_and_those_within_are_not() -> None:
    reader = LiftReader(RULES)
    ratio = looked(reader, Arms().come(400, effect=50.0, predicted=200)).value_ratio
    lift = reader.lifts["shop"]
    assert not lift.agrees
    assert ratio == pytest.approx(lift.treated * lift.high / lift.closed, abs=1e-3)
    assert LEAST_VALUE_RATIO < ratio < 0.6
    reader = LiftReader(RULES)
    assert looked(reader, Arms().come(400, effect=50.0, predicted=50)) == LiftBrake()
    assert reader.lifts["shop"].agrees


@pytest.mark.parametrize("known", [FIRST, LiftBrake(value_ratio=0.5)])
def test_a_setting_turns_the_brake_off(known: LiftBrake) -> None:
    reader = LiftReader(PolicyRules(holdout_ratio=0.3, lift_brake=False))
    reader.brakes["shop"] = known
    after = looked(reader, Arms().come(400, effect=-100.0))
    assert (after.is_on, after.value_ratio) == (False, 1.0)


def test_a_report_of_another_length_is_ignored() -> None:
    reader = LiftReader(RULES)
    reader.take(LiftTotals(domain="shop", partition=0, at=9.0, version=1, products=[1.0]))
    assert (reader.update(), reader.lifts) == (set(), {})


def test_reports_of_another_order_and_of_earlier_periods_do_not_count() -> None:
    arms = Arms()
    early, late = arms.come(50, effect=0.0), arms.come(50, effect=0.0)
    reader = LiftReader(RULES)
    looked(reader, late, early)
    assert reader.lifts["shop"].treated + reader.lifts["shop"].without == 100
    looked(reader, Arms(1, period=2).come(30, effect=0.0))
    lift = reader.lifts["shop"]
    assert (lift.treated + lift.without, reader.brakes["shop"].period) == (30, 2)

"""The orders that a coupon adds: the terms, the effect before learning, and its value in a decision."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision.incremental import (
    COLUMNS,
    KEPT_RATIO,
    NUMBERS,
    STRUCTURAL,
    TERMS,
    USES_RATIO,
    Chances,
    IncrementalOrders,
    values,
)
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import PLACES
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import coupon
from tests.core.builders import AT, FixedScorer, order_values, rules, valued

COUPONS = CouponSet(
    [
        coupon("flat", categories=["tea"], discount_minor=150, typical_price_minor=900, margin_ratio=0.35),
        coupon("share", discount_minor=None, discount_percent=30.0, typical_price_minor=2000, margin_ratio=0.1),
        coupon("free", categories=["tea"], discount_minor=9000, max_discount_minor=9000, typical_price_minor=500),
    ],
    1000.0,
)
KNOWN_PLACES = np.array([3, 17, 400], np.int64)


def drawn(seed: int, size: int) -> Chances:
    rng = np.random.default_rng(seed)
    return Chances(rng.random(size), rng.random(size), rng.uniform(-3.0, 4.0, (size, len(NUMBERS))))


def learnt(seed: int) -> IncrementalOrders:
    rng = np.random.default_rng(seed)
    weights, deviations = rng.normal(size=len(TERMS)), rng.normal(size=len(KNOWN_PLACES))
    return IncrementalOrders(weights, KNOWN_PLACES, deviations, float(rng.uniform(0.1, 0.5)))


def some(chances: Chances, rows: np.ndarray) -> Chances:
    return Chances._make(each[rows] for each in chances)


def by_formula(chances: Chances, row: int, uses_ratio: float) -> dict[str, float]:
    """Terms of one row by name."""
    numbers = dict(zip(NUMBERS, chances.numbers[row].tolist(), strict=True))
    pull, redeems, clicks = (numbers[name] for name in ("discount_pull", "redeem_rate", "click_rate"))
    return {
        "persuaded": float(
            chances.redeem[row] - uses_ratio * math.exp(-numbers["threshold_missed"]) * chances.anyway[row]
        ),
        "order_anyway": float(chances.anyway[row]),
        "interest": float(np.sqrt(chances.redeem[row] * (1.0 - chances.anyway[row]))),
        "constant": 1.0,
        "depth": pull,
        "redeem_rate": redeems,
        "click_rate": clicks,
        "depth*redeem_rate": pull * redeems,
        "depth*click_rate": pull * clicks,
        "whole_shop": numbers["whole_shop"],
        "exposure": numbers["weekly_exposure"],
    }


@pytest.mark.parametrize("uses_ratio", [0.0, 0.2, USES_RATIO, 1.0])
def test_terms_are_those_of_the_formula(uses_ratio: float) -> None:
    chances = drawn(1, 20)
    terms = chances.terms(uses_ratio)
    assert terms.shape == (20, len(TERMS))
    for row in range(20):
        formula = by_formula(chances, row, uses_ratio)
        assert list(formula) == list(TERMS)
        assert terms[row].tolist() == pytest.approx(list(formula.values()), rel=1e-12)


def test_columns_are_those_of_the_numbers() -> None:
    assert [NUMERIC[column] for column in COLUMNS] == list(NUMBERS)


def test_an_effect_is_the_weighted_sum_of_the_terms_and_the_deviation_of_its_coupon() -> None:
    chances, model = drawn(2, 30), learnt(2)
    coupons = np.random.default_rng(2).choice([*KNOWN_PLACES, 5], 30)
    deviation = dict(zip(KNOWN_PLACES.tolist(), model.deviations.tolist(), strict=True))
    of_rows = [by_formula(chances, row, model.uses_ratio) for row in range(30)]
    expected = [
        sum(weight * term for weight, term in zip(model.weights.tolist(), terms.values(), strict=True))
        + deviation.get(place, 0.0)
        for terms, place in zip(of_rows, coupons.tolist(), strict=True)
    ]
    assert model.of(chances, coupons).tolist() == pytest.approx(expected, rel=1e-9)


def test_a_coupon_that_was_not_given_has_no_deviation() -> None:
    chances, model = drawn(3, 6), learnt(3)
    without = replace(model, places=np.zeros(0, np.int64), deviations=np.zeros(0))
    unknown = np.array([0, 1, 4, 18, 399, 65_535])
    assert model.of(chances, unknown).tolist() == without.of(chances, unknown).tolist()
    given = np.resize(KNOWN_PLACES, 6)
    added = model.of(chances, given) - without.of(chances, given)
    assert added.tolist() == pytest.approx(np.resize(model.deviations, 6).tolist())
    assert without.of(chances, given).tolist() == without.of(chances, unknown).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_an_effect_does_not_depend_on_other_rows_to_the_last_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances, model = drawn(seed, 500), learnt(seed)
    coupons = rng.choice([*KNOWN_PLACES, 9, 500], 500)
    together = model.of(chances, coupons)
    for row in range(0, 500, 7):
        alone = np.array([row])
        assert model.of(some(chances, alone), coupons[alone]).tolist() == [together[row]]
    for size in (2, 3, 8, 17, 128, 500):
        rows = rng.choice(500, size, replace=False)
        assert model.of(some(chances, rows), coupons[rows]).tolist() == together[rows].tolist()


def test_no_rows_have_no_effects() -> None:
    assert learnt(0).of(drawn(0, 0), np.zeros(0, np.int64)).shape == (0,)


def test_before_learning_redemptions_are_orders_of_which_a_share_comes_anyway() -> None:
    chances = drawn(4, 200)
    missed = chances.numbers[:, NUMBERS.index("threshold_missed")]
    expected = chances.redeem - USES_RATIO * np.exp(-missed) * chances.anyway
    assert STRUCTURAL.of(chances, np.zeros(200, np.int64)).tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    "costs", [{}, {"redemption_worth_minor": 35.0, "cost_weight": 0.7, "cost_minor": 20.0}], ids=["free", "costly"]
)
def test_the_value_is_that_of_the_formula(costs: dict[str, float]) -> None:
    rng, size = np.random.default_rng(5), 60
    positions, values_minor = rng.integers(0, len(COUPONS), size), rng.uniform(50.0, 20_000.0, size)
    chances, plain = drawn(5, size), PolicyRules(**({"redemption_worth_minor": 0.0, "cost_weight": 0.0} | costs))
    orders = STRUCTURAL.of(chances, np.zeros(size, np.int64))
    discounts_minor = COUPONS.discounts_minor(positions, values_minor)
    margins = COUPONS.margin_ratio[positions]
    found = values(orders, chances.redeem, values_minor, margins, discounts_minor, plain)
    for row in range(size):
        redeem, value = float(chances.redeem[row]), float(values_minor[row])
        gained = (
            KEPT_RATIO
            * by_formula(chances, row, USES_RATIO)["persuaded"]
            * float(COUPONS.margin_ratio[positions[row]])
            * value
        )
        paid = redeem * (float(discounts_minor[row]) - plain.redemption_worth_minor)
        assert found[row] == pytest.approx(gained - paid - plain.cost_weight * plain.cost_minor)


def test_a_decision_values_coupons_by_the_model_of_its_scorer() -> None:
    moments, everything, known = [Moment("u", Shopper(), AT, {})], [np.arange(len(COUPONS))], rules()
    before = valued(moments, everything, COUPONS, FixedScorer(), known)
    scorer = FixedScorer()
    orders = np.full(len(COUPONS), scorer.redeem - USES_RATIO * scorer.order)
    values_minor = order_values(moments, COUPONS, everything)
    redeem, margins, discounts_minor = before.predicted[:, 1], COUPONS.margin_ratio, before.discount_minor
    expected = values(orders, redeem, values_minor, margins, discounts_minor, known.policy)
    assert not before.is_cut.any()
    assert before.value_minor.tolist() == pytest.approx(expected.tolist(), rel=1e-9)

    place = int(before.features.hashed[1, 0] & PLACES)
    worse = replace(STRUCTURAL, places=np.array([place]), deviations=np.array([-0.25]))
    after = valued(moments, everything, COUPONS, FixedScorer(incremental=worse), known)
    assert after.value_minor[[0, 2]].tolist() == before.value_minor[[0, 2]].tolist()
    lost = KEPT_RATIO * 0.25 * COUPONS.margin_ratio[1] * values_minor[1]
    assert before.value_minor[1] - after.value_minor[1] == pytest.approx(lost)


def test_a_decision_reads_the_learnt_share_of_use() -> None:
    moments, everything, known = [Moment("u", Shopper(), AT, {})], [np.arange(len(COUPONS))], rules()
    before = valued(moments, everything, COUPONS, FixedScorer(), known)
    scorer = FixedScorer(incremental=replace(STRUCTURAL, uses_ratio=USES_RATIO - 0.5))
    after = valued(moments, everything, COUPONS, scorer, known)
    values_minor = order_values(moments, COUPONS, everything)
    gained = KEPT_RATIO * 0.5 * scorer.order * COUPONS.margin_ratio * values_minor
    assert (after.value_minor - before.value_minor).tolist() == pytest.approx(gained.tolist())


def test_a_decision_reads_the_terms_of_its_own_rows() -> None:
    moments, everything, known = [Moment("u", Shopper(), AT, {})], [np.arange(len(COUPONS))], rules()
    before = valued(moments, everything, COUPONS, FixedScorer(), known)
    values_minor = order_values(moments, COUPONS, everything)
    for name, number in (("depth", "discount_pull"), ("whole_shop", "whole_shop"), ("exposure", "weekly_exposure")):
        weights = STRUCTURAL.weights + 0.125 * (np.array(TERMS) == name)
        after = valued(
            moments, everything, COUPONS, FixedScorer(incremental=replace(STRUCTURAL, weights=weights)), known
        )
        of_rows = before.features.numeric[:, NUMERIC.index(number)]
        added = KEPT_RATIO * 0.125 * of_rows * COUPONS.margin_ratio * values_minor
        assert (after.value_minor - before.value_minor).tolist() == pytest.approx(added.tolist(), abs=1e-9)

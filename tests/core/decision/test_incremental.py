"""The value of a coupon by parts: the formula, the ratios of coupons, and what a decision reads of them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.decision.incremental import (
    ANYWAY,
    DISCOUNT,
    DOUBTED,
    KEPT_RATIO,
    MAX_CHANCE,
    OWN_SHARE,
    OWN_VALUE,
    PARTS,
    REDEEMED,
    REDEEMED_VALUE,
    STRUCTURAL,
    UNUSED,
    USES_RATIO,
    USUAL_ORDERS,
    IncrementalMargin,
    OrderTimes,
    Prediction,
    uses_of,
)
from stream_coupons.core.decision.scoring import ORDER, REDEEM, ValueScorer
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import PLACES, Subject
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
COSTLY = {"redemption_worth_minor": 35.0, "cost_weight": 0.7, "cost_minor": 20.0}


def drawn(seed: int, size: int) -> Prediction:
    rng = np.random.default_rng(seed)
    chances = (rng.uniform(0.0, 0.3, size) for _ in range(3))
    return Prediction(*chances, *rng.uniform(50.0, 20_000.0, (2, size)), rng.uniform(0.05, 0.9, size))


def learnt(seed: int) -> IncrementalMargin:
    rng = np.random.default_rng(seed)
    ratios = rng.uniform(0.5, 2.0, (len(KNOWN_PLACES) + 1, len(PARTS)))
    spreads = rng.uniform(0.0, 0.6, (len(KNOWN_PLACES) + 1, len(DOUBTED)))
    return IncrementalMargin(KNOWN_PLACES, ratios, spreads, *rng.uniform(0.1, 0.9, 2).tolist())


def some(known: Prediction, rows: np.ndarray) -> Prediction:
    return Prediction._make(each[rows] for each in known)


def by_formula(model: IncrementalMargin, known: Prediction, row: int, place: int, policy: PolicyRules) -> float:
    """Value of one row, minor units."""
    redeem, anyway, uses, order, discount, margin = (float(each[row]) for each in known)
    places = [*model.places.tolist(), place]
    ratio = dict(zip(PARTS, model.ratios[places.index(place)].tolist(), strict=True))
    spread = dict(zip(DOUBTED, model.spreads[places.index(place)].tolist(), strict=True))
    times = OrderTimes.of(redeem, anyway, uses)
    redeemed = min(redeem * ratio["redeemed"], MAX_CHANCE)
    unused = min((1.0 - uses) * anyway * ratio["unused"], MAX_CHANCE) * float(times.unused)
    without = min(anyway * ratio["anyway"], MAX_CHANCE) * float(times.anyway)
    kept = model.kept_ratio * margin * order
    used, paid = (
        kept * redeemed * ratio["redeemed_value"] * float(times.redeemed),
        redeemed * discount * ratio["discount"],
    )
    own = kept * ratio["own_value"]
    moves = {REDEEMED: used - paid, REDEEMED_VALUE: used, ANYWAY: without * own}
    moves[UNUSED] = (unused - OWN_SHARE * without) * own
    doubt, usual = sum((moves[part] * spread[part]) ** 2 for part in DOUBTED), (USUAL_ORDERS * kept) ** 2
    added = usual / (usual + doubt) * (used + (unused - without) * own - paid)
    return added + redeemed * policy.redemption_worth_minor - policy.cost_weight * policy.cost_minor


@pytest.mark.parametrize("costs", [{}, COSTLY], ids=["free", "costly"])
@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_that_of_the_formula(seed: int, costs: dict[str, float]) -> None:
    known, model, policy = drawn(seed, 60), learnt(seed), PolicyRules(**costs)
    coupons = np.random.default_rng(seed).choice([*KNOWN_PLACES, 9, 65_535], 60)
    found = model.of(known, coupons, policy).value_minor
    expected = [by_formula(model, known, row, place, policy) for row, place in enumerate(coupons.tolist())]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_spread_is_what_a_prior_leaves_of_that_over_draws_of_the_ratios(seed: int) -> None:
    known, policy, draws = drawn(seed, 20), PolicyRules(**COSTLY), 4000
    spreads = np.full((len(KNOWN_PLACES) + 1, len(DOUBTED)), 0.03)
    model, rng, coupons = (
        replace(learnt(seed), spreads=0.0 * spreads),
        np.random.default_rng([seed, 1]),
        KNOWN_PLACES[1],
    )
    values = []
    for _ in range(draws):
        of_parts = dict(zip(DOUBTED, rng.normal(0.0, 0.03, len(DOUBTED)), strict=True))
        ratios = model.ratios.copy()
        for part, moved in of_parts.items():
            ratios[:, part] *= np.exp(moved)
        ratios[:, ANYWAY] *= np.exp(OWN_SHARE * of_parts[UNUSED])
        values.append(replace(model, ratios=ratios).of(known, np.full(20, coupons), policy).value_minor)
    doubt, usual = np.std(values, 0), USUAL_ORDERS * model.kept_ratio * known.margin_ratio * known.order_minor
    found = replace(model, spreads=spreads).of(known, np.full(20, coupons), policy).spread_minor
    assert found.tolist() == pytest.approx((doubt * usual / np.hypot(doubt, usual)).tolist(), rel=0.06)


@pytest.mark.parametrize("doubted", [0.0, 0.1, 1.0, 100.0])
def test_what_a_coupon_adds_is_drawn_to_zero_by_its_doubt(doubted: float) -> None:
    known, policy, coupons = drawn(2, 50), PolicyRules(**COSTLY), np.full(50, KNOWN_PLACES[0])
    sure = replace(learnt(2), spreads=np.zeros((len(KNOWN_PLACES) + 1, len(DOUBTED))))
    of_sure, found = (replace(sure, spreads=sure.spreads + each).of(known, coupons, policy) for each in (0.0, doubted))
    apart = found.redeem * policy.redemption_worth_minor - policy.cost_weight * policy.cost_minor
    before, after = of_sure.value_minor - apart, found.value_minor - apart
    assert (np.abs(after) <= np.abs(before)).all()
    assert (np.sign(after) == np.sign(before)).all()
    if doubted == 100.0:
        assert np.abs(after).max() < 0.05 * np.abs(before).max()


@pytest.mark.parametrize(("anyway", "uses"), [(0.05, 0.6), (0.4, 0.3), (0.8, 0.95), (0.9, 0.5)])
def test_numbers_of_orders_are_those_of_a_simulated_shop(anyway: float, uses: float) -> None:
    """A coupon that adds nothing: redemptions are the first orders on which it is used."""
    rng, size = np.random.default_rng(1), 200_000
    orders = rng.poisson(-math.log1p(-anyway), size)
    is_used = rng.random(size) > (1.0 - uses) ** orders
    redeem = float(is_used.mean())
    found = [float(each) for each in OrderTimes.of(redeem, anyway, redeem / anyway)]
    expected = [orders[some].mean() for some in (orders > 0, (orders > 0) & ~is_used, is_used)]
    assert found == pytest.approx(expected, rel=0.05)


def test_rare_orders_come_one_at_a_time_and_none_is_no_error() -> None:
    for anyway in (0.0, 1e-12, 1e-7):
        assert [*OrderTimes.of(0.2, anyway, 0.6)] == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)
    assert np.isfinite(OrderTimes.of(np.zeros(3), np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]))).all()


def test_before_learning_redemptions_are_orders_of_which_a_share_comes_anyway() -> None:
    known, free = drawn(4, 200), PolicyRules(cost_weight=0.0)
    own = known.uses * known.anyway  # P(it is used on an own order): at most once
    known = known._replace(redeem=np.maximum(known.redeem, own))
    found, orders = STRUCTURAL.of(known, np.zeros(200, np.int64), free), known.redeem - own
    expected = KEPT_RATIO * known.margin_ratio * known.order_minor * orders - known.redeem * known.discount_minor
    assert found.value_minor.tolist() == pytest.approx(expected.tolist(), abs=1e-8)
    assert found.redeem.tolist() == known.redeem.tolist()


def test_chances_are_bounded() -> None:
    known = drawn(5, 50)._replace(redeem=np.full(50, 0.9), anyway=np.full(50, 0.9))
    found = replace(STRUCTURAL, ratios=np.full((1, len(PARTS)), 3.0)).of(known, np.zeros(50, np.int64), PolicyRules())
    assert {*found.redeem.tolist(), *found.anyway.tolist()} == {MAX_CHANCE}


@pytest.mark.parametrize("seed", range(3))
def test_a_value_does_not_depend_on_other_rows_to_the_last_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, model, policy = drawn(seed, 500), learnt(seed), PolicyRules(**COSTLY)
    coupons = rng.choice([*KNOWN_PLACES, 9, 500], 500)
    together = model.of(known, coupons, policy)
    for size in (0, 1, 2, 3, 8, 17, 128, 500):
        rows = rng.choice(500, size, replace=False)
        found = model.of(some(known, rows), coupons[rows], policy)
        for column, of_all in zip(found, together, strict=True):
            assert column.tolist() == of_all[rows].tolist()


def test_a_decision_values_coupons_by_the_ratios_of_its_scorer() -> None:
    moments, everything, known = [Moment("u", Shopper(), AT, {})], [np.arange(len(COUPONS))], rules()
    before = valued(moments, everything, COUPONS, FixedScorer(), known)
    scorer, values_minor = FixedScorer(), order_values(moments, COUPONS, everything)
    uses = uses_of(before.features.numeric, USES_RATIO)
    of_all = np.full(len(COUPONS), scorer.redeem), np.full(len(COUPONS), scorer.order), uses, values_minor
    stated = Prediction(*of_all, COUPONS.discounts_minor(np.arange(len(COUPONS)), values_minor), COUPONS.margin_ratio)
    places = before.features.hashed[:, 0] & PLACES
    assert not before.is_cut.any()
    assert before.value_minor.tolist() == STRUCTURAL.of(stated, places, known.policy).value_minor.tolist()

    ratios = np.ones((2, len(PARTS)))
    ratios[0, [REDEEMED, UNUSED, ANYWAY, REDEEMED_VALUE, OWN_VALUE, DISCOUNT]] = 0.9, 1.1, 1.5, 1.2, 1.3, 0.8
    spreads = np.zeros((2, len(DOUBTED)))
    changed = replace(STRUCTURAL, places=places[1:2].astype(np.int64), ratios=ratios, spreads=spreads)
    after = valued(moments, everything, COUPONS, FixedScorer(incremental=changed), known)
    assert after.value_minor[[0, 2]].tolist() == before.value_minor[[0, 2]].tolist()
    assert after.value_minor[1] == pytest.approx(by_formula(changed, stated, 1, int(places[1]), known.policy))
    assert after.predicted[1, [REDEEM, ORDER]].tolist() == pytest.approx([0.9 * scorer.redeem, 1.5 * scorer.order])
    assert after.discount_minor[1] == pytest.approx(0.8 * before.discount_minor[1])
    assert after.of_model.tolist() == before.of_model.tolist() == before.predicted.tolist()


def test_values_that_a_scorer_computes_itself_are_taken_as_they_are() -> None:
    class Ranking(ValueScorer):
        incremental = replace(STRUCTURAL, ratios=np.full((1, len(PARTS)), 3.0))

        def values_of(self, subject: Subject) -> Floats:
            return np.asarray(subject.positions, np.float64)

    moments, everything = [Moment("u", Shopper(), AT, {})], [np.arange(len(COUPONS))]
    found, priced = (valued(moments, everything, COUPONS, scorer, rules()) for scorer in (Ranking(), FixedScorer()))
    assert found.value_minor.tolist() == [0.0, 1.0, 2.0]
    assert not found.predicted.any()
    assert found.discount_minor.tolist() == priced.discount_minor.tolist()


def test_orders_below_a_minimum_spend_do_not_use_a_coupon() -> None:
    numeric = np.zeros((2, len(NUMERIC)))
    numeric[1, NUMERIC.index("threshold_missed")] = math.log(4.0)
    assert uses_of(numeric, 0.8).tolist() == pytest.approx([0.8, 0.2])

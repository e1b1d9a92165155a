"""Policies valued on the engine's own log: with coupons that sell out, the estimate is still that of true effects."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lab.own_logs import (
    AT,
    BASE_RATE,
    DAY_S,
    GAINS,
    MARGIN_RATIO,
    NAMES,
    NO_PRICES,
    PRICE,
    RULES,
    WINDOW_S,
    Shop,
    recording,
)
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.inputs import Item
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.ops.money_log import Margins
from stream_coupons.testing import coupon, feedback, issue, item, order
from stream_coupons_lab.ope import own_valuation, policies
from stream_coupons_lab.ope.ope import Estimator
from stream_coupons_lab.ope.own_decisions import OwnDecisions, arrays
from stream_coupons_lab.ope.own_log import NO_MONEY, OUTCOMES, OutcomeLog, OwnLog
from stream_coupons_lab.ope.policies import Policy, explored

SHOPPERS = 3000


PRICES = (35.0, 15.0, 0.0)


@pytest.fixture(
    scope="module", params=[(None, NO_PRICES), (600, NO_PRICES), (None, PRICES)], ids=["plenty", "sold out", "priced"]
)
def shop(request: pytest.FixtureRequest) -> Shop:
    stock, prices = request.param
    shop = Shop(seed=3, stock=stock, prices=prices)
    shop.see(SHOPPERS)
    return shop


def decided(shop: Shop) -> OwnDecisions:
    log = shop.log()
    return arrays(list(log.decisions.values()), "ecommerce", log.ends_at - WINDOW_S)


def gains(decisions: OwnDecisions, shop: Shop) -> Any:
    """What each arm brings in truth, minor units, shape (n, a)."""
    by_name = np.column_stack([np.zeros(len(GAINS)), GAINS])
    return by_name[np.array(shop.kinds)[:, None], np.maximum(decisions.arm, 0)]


def test_what_was_sold_out_is_no_arm(shop: Shop) -> None:
    decisions = decided(shop)
    assert (decisions.is_coupon.sum(axis=1) + decisions.sold_out == len(NAMES)).all()
    found = own_valuation.report(shop.log(), (), RULES)
    if shop.stock is None:
        assert (found.sold_out, len(decisions)) == (0.0, SHOPPERS)
    else:
        assert {0, 1, 2} <= set(decisions.sold_out.tolist())
        assert found.sold_out == pytest.approx(decisions.sold_out.mean() / len(NAMES))
        assert 0.1 < found.sold_out < 0.6
        given = np.bincount(decisions.arm[np.arange(len(decisions)), decisions.chosen], minlength=len(NAMES) + 1)
        assert max(given[1:]) == shop.stock


def test_the_probabilities_of_a_row_sum_to_one_and_what_was_given_was_possible(shop: Shop) -> None:
    decisions = decided(shop)
    for kind in policies.KINDS.keys() - {"logged"}:
        target = policies.target(Policy(kind), decisions.choices(RULES), RULES)
        assert target.sum(axis=1) == pytest.approx(np.ones(len(decisions)))
        assert (target >= 0).all()
        assert not target[decisions.arm < 0].any()
    assert (decisions.propensity > 0).all()
    logged = {one.user_id: one for one in shop.log().decisions.values()}
    for row, shopper in enumerate(decisions.shopper.tolist()):
        one = logged[decisions.user_ids[shopper]]
        assert one.propensity == pytest.approx(decisions.propensity[row])


@pytest.mark.parametrize("name", ["greedy", "greedy:30", "average", "random", "always:none", "always:c", "epsilon:0.1"])
def test_the_value_of_another_policy_is_that_of_its_true_effects(shop: Shop, name: str) -> None:
    decisions, log = decided(shop), shop.log()
    policy = policies.parse(name, decisions.names)
    [valued] = own_valuation.report(log, (policy,), RULES).valued
    target = policies.target(policy, decisions.choices(RULES), RULES)
    truth = BASE_RATE * MARGIN_RATIO * PRICE + float((target * gains(decisions, shop)).sum(axis=1).mean())
    assert valued.unsupported == pytest.approx(0.0, abs=1e-6)
    assert not valued.valuation.diagnostics.is_off
    for estimator in Estimator:
        found = valued.valuation.values[estimator]
        wider = found.high - found.low  # four standard errors
        assert abs(found.value - truth) < wider, estimator
    assert valued.valuation.values[Estimator.DR].high - valued.valuation.values[Estimator.DR].low < 60


def test_the_model_does_not_know_the_outcome_that_it_predicts() -> None:
    shop = Shop(seed=5)
    shop.see(400)
    decisions, log = decided(shop), shop.log()
    reward, before = own_valuation.outcomes(log, decisions, "ecommerce", WINDOW_S, RULES)
    plain = own_valuation.predicted(decisions, reward, before)
    changed = reward.copy()
    changed[7] += 1e5
    again = own_valuation.predicted(decisions, changed, before)
    same_fold = decisions.shopper % own_valuation.FOLDS == decisions.shopper[7] % own_valuation.FOLDS
    assert np.array_equal(plain[same_fold], again[same_fold])
    assert not np.array_equal(plain, again)


def test_giving_nothing_has_no_probability_at_all_where_there_is_something_to_give() -> None:
    for arms in range(1, 60):
        tried = np.array([[False] + [True] * arms])
        found = explored(np.array([arms]), tried, np.array([0.1]))
        assert found[0, 0] == 0.0
        assert found.sum() == pytest.approx(1.0)


def test_a_policy_that_gives_nothing_where_something_was_always_given_is_doubted() -> None:
    shop = Shop(seed=5, rules=msgspec.structs.replace(RULES, control_ratio=0.0))
    shop.see(300)
    found = own_valuation.report(shop.log(), (Policy("always", "none"), Policy("greedy", "50")), RULES)
    assert all(each.unsupported > 0.2 for each in found.valued)
    assert sum("would never have chosen" in warning for warning in found.warnings) == 2


def test_money_is_the_margin_of_orders_less_discounts_each_once() -> None:
    log = OwnLog(PolicyRules(typical_price_minor=700.0, margin_ratio=0.4))
    coupons = [
        coupon("tea", categories=["tea"], margin_ratio=0.5, max_discount_minor=80),
        coupon("any", margin_ratio=0.1, max_discount_minor=30),
    ]
    for each in coupons:
        log.take(topics.CATALOG.name, encode(each))
    items = [
        item("x", category="tea", price_minor=100, quantity=2.0),
        item("x", category="tea"),
        item("y", category="salt"),
    ]
    whole, bare = order("u", *items, at=AT), order("u", at=AT + 9, total_minor=1000)
    used = feedback(issue("u", coupons[0]), "purchase", at=AT + 5, coupon_id="tea")
    for _ in range(2):
        for topic, message in ((topics.ORDER, whole), (topics.ORDER, bare), (topics.FEEDBACK, used)):
            log.take(topic.name, encode(message))
    money = log.money()["u", "ecommerce"]
    assert money.between(-math.inf, math.inf)[1:] == (pytest.approx(200 + 100 + 700 + 1000), 2)
    # Tea has the mean ratio of both coupons, salt and what is not known that of one; an item without a price costs the
    # same as elsewhere.
    of_order = 0.3 * (200 + 100) + 0.1 * 700
    assert money.between(-math.inf, AT).margin_minor == pytest.approx(of_order)
    assert money.between(AT, AT + 5).margin_minor == pytest.approx(-80)
    assert money.between(AT + 5, math.inf).margin_minor == pytest.approx(0.1 * 1000)
    assert sum(money.between(*each).margin_minor for each in pairwise([AT - 1, AT, AT + 7, AT + 9])) == pytest.approx(
        of_order - 80 + 100
    )


@pytest.mark.parametrize(
    ("bought", "domain", "ratio", "is_assumed"),
    [
        (item("x", category="tea"), "ecommerce", 0.5, False),
        (item("x", category="tea", margin_ratio=0.0), "ecommerce", 0.0, False),
        (item("x", category="salt", margin_ratio=0.9), "ecommerce", 0.9, False),
        (item("x"), "ecommerce", 0.4, True),
        (item("x", category="salt"), "travel", 0.1, True),
    ],
)
def test_the_margin_of_an_item_is_its_own_else_by_coupons_else_by_the_settings(
    bought: Item, domain: str, ratio: float, is_assumed: bool
) -> None:
    rules = PolicyRules(margin_ratio=0.4, domain_margin_ratios={"travel": 0.1})
    log = OwnLog(rules)
    log.take(topics.CATALOG.name, encode(coupon("tea", categories=["tea"], margin_ratio=0.5)))
    priced = msgspec.structs.replace(bought, price_minor=100)
    assert Margins(log, rules).ratio_of(domain, priced) == (ratio, is_assumed)
    log.take(topics.ORDER.name, encode(order("u", priced, at=AT, domain=domain)))
    assert log.money()["u", domain].between(-math.inf, AT).margin_minor == pytest.approx(100 * ratio)


@pytest.mark.parametrize(
    ("reports", "taken"),
    [
        ([("purchase", 5, 60), ("purchase", 9, 50)], 50),
        ([("purchase", 9, 50), ("purchase", 5, 60)], 50),
        ([("purchase", 5, 60), ("refund", 9, 20)], 20),
        ([("refund", 9, None), ("purchase", 5, 60)], 0),
        ([("purchase", 5, 60), ("cancel", 9, 60)], 0),
        ([("purchase", 5, 60), ("cancel", 7, None), ("purchase", 9, None)], 80),
        ([("cancel", 5, None)], 0),
        ([("purchase", 5, 60), ("click", 9, 20)], 60),
    ],
)
def test_the_report_on_what_happened_last_says_what_a_coupon_took_off(
    reports: list[tuple[Any, float, int | None]], taken: int
) -> None:
    log = OwnLog()
    tea = coupon("tea", max_discount_minor=80)
    log.take(topics.CATALOG.name, encode(tea))
    for kind, after_s, minor in reports:
        event = feedback(issue("u", tea), kind, at=AT + after_s, coupon_id="tea", discount_minor=minor)
        log.take(topics.FEEDBACK.name, encode(event))
    money = log.money().get(("u", "ecommerce"), NO_MONEY)
    assert money.between(AT, AT + 5).margin_minor == -taken  # when it was first used
    assert money.between(AT + 5, math.inf).margin_minor == 0


@pytest.mark.parametrize("is_on_record", [True, False])
def test_a_discount_is_in_the_domain_of_its_coupon_not_of_its_report(is_on_record: bool) -> None:
    log = OutcomeLog(OUTCOMES, PolicyRules())
    tour = coupon("tour", domain="travel", max_discount_minor=80)
    given = issue("u", tour)
    log.take(topics.CATALOG.name, encode(tour))
    if is_on_record:
        log.take(topics.ISSUES.name, encode(given))
    log.take(topics.FEEDBACK.name, encode(feedback(given, "purchase", domain="ecommerce", discount_minor=80)))
    [(_, domain)] = log.money()
    assert domain == ("travel" if is_on_record else "ecommerce")


def test_policies_go_by_value_less_price() -> None:
    shop = Shop(seed=5, prices=PRICES)
    shop.see(200)
    decisions = decided(shop)
    best = policies.target(Policy("greedy"), decisions.choices(RULES), RULES).argmax(axis=1)
    names = [decisions.names[arm] for arm in decisions.arm[np.arange(len(decisions)), best]]
    by_kind = {kind: {name for name, each in zip(names, shop.kinds, strict=True) if each == kind} for kind in range(3)}
    assert by_kind == {0: {"a"}, 1: {"b"}, 2: {"none"}}
    dear = Shop(seed=5, prices=(45.0, 50.0, 0.0))
    dear.see(200)
    best = policies.target(Policy("greedy"), decided(dear).choices(RULES), RULES).argmax(axis=1)
    names = [decisions.names[arm] for arm in decided(dear).arm[np.arange(len(best)), best]]
    by_kind = {kind: {name for name, each in zip(names, dear.kinds, strict=True) if each == kind} for kind in range(3)}
    assert by_kind == {0: {"none"}, 1: {"c"}, 2: {"none"}}
    assert not decided(Shop(seed=5).see(20)).price.any()


def test_decisions_whose_window_is_open_are_left_out() -> None:
    shop = Shop()
    shop.see(20)
    log = shop.log()
    log.ends_at = AT + WINDOW_S + 60 * 4.5
    found = own_valuation.report(log, (), RULES)
    assert found.decisions == 5
    assert "15 decisions are left out: window still open" in found.notes
    log.ends_at = AT + DAY_S
    with pytest.raises(BadConfig, match="no decision of domain 'ecommerce' can be valued: 20 window still open"):
        own_valuation.report(log, (), RULES)


def test_an_empty_log_says_what_is_missing(tmp_path: Path) -> None:  # noqa: ARG001
    with pytest.raises(BadConfig, match="no decisions on record"):
        own_valuation.report(OwnLog(), (), RULES)
    assert recording(Shop()).count(b"\n") == len(NAMES)

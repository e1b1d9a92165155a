"""Lift on logs whose effects are known."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from lab.own_logs import AT, BASE_RATE, DAY_S, DISCOUNT, EFFECTS, GAINS, MARGIN_RATIO, PRICE, RULES, Shop
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.rules import PolicyRules, ShopRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.ops.lift_log import LiftLog
from stream_coupons.ops.measured_lift import ANY_SHOP, LiftReport, name_of, report
from stream_coupons.testing import coupon, feedback, issue, item, order

HOLDOUT = 0.2
OF_SHOP = msgspec.structs.replace(RULES, holdout_ratio=HOLDOUT)
TEA = coupon("tea", categories=["tea"], campaign_id="spring", margin_ratio=0.5, redeem_within_s=DAY_S)


def log_of(records: Iterable[tuple[str, bytes]], rules: PolicyRules = OF_SHOP) -> LiftLog:
    log = LiftLog(rules)
    for topic, value in records:
        log.take(topic, value)
    return log


def time_of(record: bytes) -> float:
    """The time of a decision, an order or a purchase; of a coupon, before all."""
    message = msgspec.json.decode(record)
    return float(message.get("at", message.get("occurred_at", -math.inf)))


def decided(user_id: str, at: float, *, is_holdout: bool = False, **changes: Any) -> LoggedDecision:
    """A decision that gave tea, unless the shopper is of the holdout."""
    known: dict[str, Any] = {
        "decision_id": f"{user_id} {at:.0f}", "user_id": user_id, "domain": "ecommerce", "at": at, "trigger_id": "t",
        "result": "holdout" if is_holdout else "given", "model_version": 1, "arms": ["tea"], "values_minor": [25.0],
        "coupon_id": "none" if is_holdout else "tea", "is_holdout": is_holdout,
    }  # fmt: skip
    return LoggedDecision(**(known | changes))


def found_on(
    *messages: msgspec.Struct, rules: PolicyRules = OF_SHOP, since: float = -math.inf, shop: ShopRules = ANY_SHOP
) -> LiftReport:
    by_type = {topic.message: topic.name for topic in topics.ALL if topic.message is not None}
    records = [(by_type[type(message)], encode(message)) for message in (TEA, *messages)]
    return report(log_of(records, rules), rules, since, shop)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(seed=4).see(4000, holdout_ratio=HOLDOUT)


@pytest.mark.long
def test_the_interval_holds_what_the_coupons_bring(shop: Shop) -> None:
    (row,) = report(log_of(shop.records), OF_SHOP).rows
    log = shop.log()
    given = [one for one in log.decisions.values() if one.result == "given" and one.at >= row.since]
    assert (row.treated + row.holdout, row.given) == (4000, len(given))
    kinds = dict(
        zip((one.decision_id for one in log.decisions.values() if not one.is_holdout), shop.kinds, strict=True)
    )
    truth = sum(GAINS[kinds[one.decision_id], "abc".index(one.coupon_id)] for one in given)
    orders = sum(EFFECTS[kinds[one.decision_id], "abc".index(one.coupon_id)] for one in given)
    margin = row.effects["margin"]
    assert 0 < margin.total.low < truth < margin.total.high
    assert row.effects["orders"].total.low < orders < row.effects["orders"].total.high
    assert row.effects["money"].total.value == pytest.approx(PRICE * row.effects["orders"].total.value)
    assert margin.holdout_mean == pytest.approx(BASE_RATE * PRICE * MARGIN_RATIO, rel=0.2)
    assert row.discounts_minor == DISCOUNT * sum(topic == topics.FEEDBACK.name for topic, _ in shop.records)
    assert row.assumed_ratio == 0.0
    assert row.sample_ratio is not None
    assert not row.sample_ratio.is_mismatch


@pytest.mark.long
def test_a_day_has_the_lift_of_the_log_that_ends_with_it(shop: Shop) -> None:
    found = report(log_of(shop.records), OF_SHOP)
    assert len(found.days) == 8
    assert [day.low_minor is None for day in found.days].count(True) == 0
    for day in found.days:
        end = datetime.fromisoformat(day.day).replace(tzinfo=UTC).timestamp() + DAY_S
        so_far = report(log_of(record for record in shop.records if time_of(record[1]) < end), OF_SHOP)
        (row,) = so_far.rows
        lift, share = row.effects["margin"].lift, row.sample_ratio
        assert share is not None
        assert (day.treated, day.holdout, day.orders) == (row.treated, row.holdout, row.orders)
        assert (day.lift_minor, day.low_minor, day.high_minor) == pytest.approx((lift.value, lift.low, lift.high))
        assert day.sample_ratio_p == min(1.0, 1.0 / share.evidence)


@pytest.mark.long
def test_a_wrong_share_is_named_on_the_days_on_which_it_shows(shop: Shop) -> None:
    first, *others = report(log_of(shop.records), RULES).days
    assert first.is_mismatch
    assert all(day.sample_ratio_p == pytest.approx(0.0, abs=1e-9) for day in others)


@pytest.mark.long
def test_a_wrong_holdout_is_named_first(shop: Shop) -> None:
    found = report(log_of(shop.records), RULES)  # a ratio of .05
    assert found.rows[0].sample_ratio is not None
    assert found.rows[0].sample_ratio.is_mismatch
    assert found.warnings[0].startswith("sample ratio mismatch in ecommerce")


@pytest.mark.long
def test_predictions_that_are_far_off_are_named(shop: Shop) -> None:
    (row,) = report(log_of(shop.records), OF_SHOP).rows
    assert row.agrees is (row.effects["margin"].total.low <= row.predicted_minor <= row.effects["margin"].total.high)
    records = [(topic, value.replace(b'"values_minor":[', b'"values_minor":[9')) for topic, value in shop.records]
    found = report(log_of(records), OF_SHOP)
    assert found.rows[0].agrees is False
    assert any("predicted value" in warning for warning in found.warnings)


def test_a_shopper_counts_from_the_first_decision_on() -> None:
    tea, salt = item("x", category="tea", price_minor=100), item("y", price_minor=200)
    used = feedback(issue("u", TEA, issue_id=f"u {AT:.0f}"), "purchase", at=AT + 60, discount_minor=7)
    rules = msgspec.structs.replace(OF_SHOP, margin_ratio=0.2, cost_minor=1.0)
    (row, _) = found_on(
        order("h", tea, at=AT - 90),
        decided("h", AT, is_holdout=True),
        decided("u", AT),
        decided("u", AT + 500),
        order("u", tea, at=AT),  # it led to the decision
        order("u", tea, salt, at=AT + 60, event_id="twice"),
        order("u", tea, salt, at=AT + 60, event_id="twice"),
        used,
        order("h", salt, at=AT + 70),
        order("stranger", tea, at=AT + 80),
        rules=rules,
    ).rows
    margin = row.effects["margin"]
    assert margin.treated_mean == pytest.approx(0.5 * 100 + 0.2 * 200 - 7 - 2 * 1.0)
    assert margin.holdout_mean == pytest.approx(0.2 * 200)
    assert (row.effects["orders"].treated_mean, row.effects["money"].treated_mean) == (1, 300)
    assert (row.treated, row.holdout, row.orders, row.given) == (1, 1, 2, 2)
    assert row.discounts_minor == 7
    assert row.assumed_ratio == pytest.approx(80 / 130)
    assert (row.predicted_minor, row.open_minor) == (50, 50)
    assert math.isnan(margin.lift.low)


def test_a_margin_is_assumed_where_neither_the_item_nor_the_catalogue_states_it() -> None:
    bought = [
        item("x", category="tea", price_minor=100),
        item("y", price_minor=200, margin_ratio=0.2),
        item("other", category="salt", price_minor=100),
    ]
    (row, _) = found_on(
        decided("h", AT, is_holdout=True),
        decided("u", AT),
        order("u", *bought, at=AT + 60),
        rules=msgspec.structs.replace(OF_SHOP, margin_ratio=0.3, cost_minor=0.0),
    ).rows
    assert row.effects["margin"].treated_mean == pytest.approx(50 + 40 + 30)
    assert row.assumed_ratio == pytest.approx(30 / 120)


def test_orders_before_since_do_not_count_and_shoppers_stay() -> None:
    tea = item("x", category="tea", price_minor=100)
    messages = [
        decided("u", AT), decided("h", AT, is_holdout=True), order("u", tea, at=AT + 10), order("h", tea, at=AT + 20),
    ]  # fmt: skip
    row = found_on(*messages, since=AT + 15).rows[0]
    assert (row.treated, row.holdout, row.orders, row.given) == (1, 1, 1, 0)
    assert row.since == AT + 15
    with pytest.raises(BadConfig, match="before the time asked for"):
        found_on(*messages, since=AT + 99)


def in_two_domains(shop: ShopRules) -> LiftReport:
    """Lift of a shopper who buys in two domains, of one who is in the holdout, and of one who buys nothing."""
    sea = coupon("sea", domain="travel", categories=["sea"], campaign_id="summer", margin_ratio=0.1)
    tea, salt = item("x", category="tea", price_minor=100), item("y", price_minor=200)
    return found_on(
        sea,
        decided("u", AT),
        decided("u", AT + 5, domain="travel", arms=["sea"], coupon_id="sea", decision_id="s"),
        decided("h", AT + 1, is_holdout=True),
        decided("v", AT + 2, domain="travel", arms=["sea"], coupon_id="sea", decision_id="v"),
        order("s", tea, at=AT - 1),
        order("u", tea, salt, at=AT + 20),
        order("u", item("z", category="sea", price_minor=1000), at=AT + 20, domain="travel", event_id="z"),
        order("h", salt, at=AT + 20),
        shop=shop,
    )


def test_a_shopper_counts_in_all_in_the_domain_of_the_first_decision_and_for_campaigns_there() -> None:
    found = in_two_domains(ANY_SHOP)
    rows = {name_of(row): row for row in found.rows}
    spring, summer = "campaign spring (ecommerce)", "campaign summer (travel)"
    assert list(rows) == ["all domains", "ecommerce", "travel", spring, summer]
    assert [row.treated for row in rows.values()] == [2, 1, 1, 1, 1]
    assert [row.holdout for row in rows.values()] == [1, 1, 0, 1, 0]
    assert [row.given for row in rows.values()] == [3, 2, 1, 1, 1]
    assert [row.effects["money"].treated_mean for row in rows.values()] == [650, 1300, 0, 100, 0]
    assert (rows["ecommerce"].effects["money"].holdout_mean, rows[spring].effects["money"].holdout_mean) == (200, 0)
    assert rows[spring].sample_ratio is None
    assert any("lift of all coupons together" in note for note in found.notes)


def test_a_row_counts_what_is_in_its_currency() -> None:
    found = in_two_domains(ShopRules(currencies={"ecommerce": "EUR", "travel": "JPY"}))
    rows = {name_of(row): row for row in found.rows}
    assert list(rows) == ["ecommerce", "travel", "campaign spring (ecommerce)", "campaign summer (travel)"]
    assert [row.given for row in rows.values()] == [1, 1, 1, 1]
    assert [row.effects["money"].treated_mean for row in rows.values()] == [300, 0, 100, 0]
    assert any("several currencies" in note for note in found.notes)
    alike = in_two_domains(ShopRules(currencies={"ecommerce": "EUR", "travel": "EUR", "finance": "USD"}))
    assert repr(alike.rows) == repr(in_two_domains(ANY_SHOP).rows), "an end without interval is NaN"


def test_the_last_day_of_each_row_is_its_lift() -> None:
    rng = np.random.default_rng(7)
    messages: list[msgspec.Struct] = [coupon("sea", domain="travel", categories=["sea"], campaign_id="summer")]
    for n in range(400):
        user_id, domain, at = f"u{n}", ("ecommerce", "travel")[n % 2], AT + n * 900.0
        arm = ("tea", "sea")[n % 2]
        is_holdout = bool(rng.random() < HOLDOUT)
        messages.append(decided(user_id, at, is_holdout=is_holdout, domain=domain, arms=[arm]))
        for order_at in (at + rng.exponential(DAY_S, rng.integers(3))).tolist():
            bought = item("x", category=arm, price_minor=int(rng.integers(100, 9999)))
            messages.append(order(user_id, bought, at=order_at, domain=domain, event_id=f"{order_at}"))
    found = found_on(*messages)
    last = {(day.domain, day.campaign): day for day in found.days}
    assert len(last) == len(found.rows) == 5
    for row in found.rows:
        day, lift = last[row.domain, row.campaign], row.effects["margin"].lift
        assert (day.treated, day.holdout, day.orders) == (row.treated, row.holdout, row.orders)
        assert (day.lift_minor, day.low_minor, day.high_minor) == (lift.value, lift.low, lift.high)
        assert (day.sample_ratio_p is None) is bool(row.campaign)


def test_days_are_those_of_the_shop_from_the_first_shopper_on() -> None:
    """AT is 10:00 UTC, 19:00 in Tokyo."""
    salt = item("y", price_minor=200, margin_ratio=0.5)
    messages = [
        order("s", salt, at=AT - 5 * DAY_S),
        decided("u", AT),
        decided("h", AT + 6 * 3600, is_holdout=True),
        order("u", salt, at=AT + 1),
        order("h", salt, at=AT + DAY_S),
    ]
    shop = ShopRules(time_zone="Asia/Tokyo", currencies={"ecommerce": "JPY"})
    utc, tokyo = (found_on(*messages, shop=each).days for each in (ShopRules(), shop))
    ecommerce = [day for day in utc if not day.campaign]
    assert [(day.day, day.treated, day.holdout, day.orders) for day in ecommerce] == [
        ("2026-01-02", 1, 1, 1), ("2026-01-03", 1, 1, 2),
    ]  # fmt: skip
    ecommerce = [day for day in tokyo if not day.campaign]
    assert [(day.day, day.treated, day.holdout, day.orders) for day in ecommerce] == [
        ("2026-01-02", 1, 0, 1), ("2026-01-03", 1, 1, 2),
    ]  # fmt: skip
    assert [day.lift_minor for day in ecommerce] == [None, 0]
    assert {day.currency for day in tokyo} == {"JPY"}


def test_what_makes_arms_incomparable_is_named() -> None:
    found = found_on(
        decided("u", AT, logged_ratio=0.5),
        decided("u", AT + 9, is_holdout=True),
        decided("h", AT, is_holdout=True),
        order("u", item("x"), at=AT),
    )
    assert any("1 shopper in the holdout at one decision" in warning for warning in found.warnings)
    assert any("only 50% of the decisions" in warning for warning in found.warnings)


def test_an_issue_is_counted_once_with_its_decision_and_alone() -> None:
    shown = issue("u", TEA, issue_id=f"u {AT:.0f}", at=AT, value_minor=25.0)
    other = issue("u", TEA, issue_id="other", at=AT + 1, value_minor=3.0)
    found = found_on(
        decided("u", AT), shown, other, decided("h", AT, is_holdout=True), order("u", item("x"), at=AT),
        order("u", item("x"), at=AT + 9 * DAY_S),
    )  # fmt: skip
    assert (found.rows[0].given, found.rows[0].predicted_minor) == (2, 28)


@pytest.mark.parametrize(
    ("decisions", "fault"),
    [((), "no decision is on record"), ((decided("u", AT),), "none of 1 shoppers is in the holdout")],
)
def test_what_cannot_be_measured_is_refused(decisions: tuple[LoggedDecision, ...], fault: str) -> None:
    with pytest.raises(BadConfig, match=fault):
        found_on(*decisions)

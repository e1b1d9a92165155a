"""Rows of decisions: every arm once, with the probability and the outcome of what was given."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from msgspec import Struct

from lab.own_logs import RULES, WINDOW_S, Shop
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.testing import START, LocalPipeline, browse, coupon, feedback, item, order, plain_settings
from stream_coupons_lab.ope import own_valuation
from stream_coupons_lab.ope.decision_rows import ROWS_AT_ONCE, DecisionRow, DecisionRows
from stream_coupons_lab.ope.own_decisions import arrays
from stream_coupons_lab.ope.own_log import OUTCOMES, OutcomeLog

HOUR_S, DAY_S = 3600.0, 86400.0
TEA = item("tea-0815", category="tea", price_minor=500, margin_ratio=0.5)
COUPONS = [coupon(name, categories=["tea"], max_discount_minor=100, redeem_within_s=DAY_S) for name in ("a", "b", "c")]


def take_all(log: OutcomeLog | DecisionRows, records: list[tuple[str, bytes]]) -> None:
    for topic, value in records:
        log.take(topic, value)


def rows_of(records: list[tuple[str, bytes]], since: float = 0.0, window_s: float | None = None) -> list[DecisionRow]:
    outcomes, found = OutcomeLog(OUTCOMES, RULES), list[DecisionRow]()
    take_all(outcomes, records)
    rows = DecisionRows(outcomes, found.extend, since, window_s)
    take_all(rows, records)
    rows.flush()
    assert (rows.rows, rows.decisions) == (len(found), len({row.decision_id for row in found}))
    return found


@pytest.fixture(scope="module")
def shop() -> LocalPipeline:
    """A shop that explores: every third coupon is clicked, every fourth used, every ninth of these orders cancelled."""
    settings = plain_settings(exploration_ratio=0.5, holdout_ratio=0.2, control_ratio=0.1)
    shop = LocalPipeline(settings, COUPONS)
    shop.publish(*(browse(f"u{n}", TEA, at=START + n) for n in range(200)))
    for n, given in enumerate(shop.issues):
        at = given.issued_at + HOUR_S
        if n % 3 == 0:
            shop.publish(feedback(given, "click", at=at))
        if n % 4 == 0:
            shop.publish(order(given.user_id, TEA, TEA, at=at), feedback(given, "purchase", at=at, discount_minor=70))
        if n % 36 == 0:
            shop.publish(feedback(given, "cancel", at=at + 1))
    shop.publish(order("u0", TEA, at=START + 3 * DAY_S))
    return shop


@pytest.fixture(scope="module")
def records(shop: LocalPipeline) -> list[tuple[str, bytes]]:
    found = [(one.topic, one.value) for one in shop.outputs if one.value is not None]
    return found + [(topics.CATALOG.name, encode(one)) for one in COUPONS]


@pytest.fixture(scope="module")
def rows(records: list[tuple[str, bytes]]) -> list[DecisionRow]:
    return rows_of(records)


def test_every_decision_has_a_row_for_each_arm_and_for_none(shop: LocalPipeline, rows: list[DecisionRow]) -> None:
    by_decision = defaultdict(list)
    for row in rows:
        by_decision[row.decision_id].append(row)
    decisions = shop.messages(LoggedDecision)
    assert len(by_decision) == len(decisions) == 200
    assert {one.result for one in decisions} == {"given", "control", "holdout"}
    for one in decisions:
        of_one = by_decision[one.decision_id]
        assert [row.arm for row in of_one] == [*one.arms, NO_COUPON]
        assert [row.value_minor for row in of_one] == [*one.values_minor, 0.0]
        assert [row.arm for row in of_one if row.is_given] == [one.coupon_id]
        assert [row.arm for row in of_one if row.is_best] == [NO_COUPON if one.best is None else one.arms[one.best]]
        assert [row.arm for row in of_one if row.is_explored] == ([] if one.drawn is None else [one.arms[one.drawn]])
        assert all(row.decided_at.timestamp() == one.at and row.is_holdout == one.is_holdout for row in of_one)


def test_propensities_sum_to_one_and_that_of_the_result_is_the_one_on_record(
    shop: LocalPipeline, rows: list[DecisionRow]
) -> None:
    on_record = {one.decision_id: one.propensity for one in shop.messages(LoggedDecision)}
    sums: Counter[str] = Counter()
    for row in rows:
        if row.propensity is None:
            assert row.is_holdout
            continue
        sums[row.decision_id] += row.propensity  # type: ignore[assignment]
        if row.is_given:
            assert row.propensity == pytest.approx(on_record[row.decision_id])
    assert list(sums.values()) == pytest.approx([1.0] * len(sums))


def test_the_arm_given_has_its_outcome_and_no_other_has(shop: LocalPipeline, rows: list[DecisionRow]) -> None:
    place = {one.issue_id: n for n, one in enumerate(shop.messages(CouponIssue))}
    issues = {one.issue_id: one for one in shop.messages(CouponIssue)}
    outcomes = [row for row in rows if row.is_given]
    assert all(
        row.orders is row.clicked is row.margin_minor is row.p_redeem is None for row in rows if not row.is_given
    )
    assert {row.decision_id for row in outcomes if row.arm != NO_COUPON} == issues.keys()
    for row in outcomes:
        if row.arm == NO_COUPON:
            assert (row.clicked, row.redeemed, row.discount_minor, row.p_click, row.orders) == (None,) * 4 + (0,)
            continue
        n, one = place[row.decision_id], issues[row.decision_id]
        is_used, is_cancelled = n % 4 == 0, n % 36 == 0
        discount = 70.0 if is_used and not is_cancelled else 0.0
        assert (row.p_click, row.p_redeem, row.p_order) == (one.p_click, one.p_redeem, one.p_order)
        assert (row.clicked, row.redeemed) == (n % 3 == 0, is_used and not is_cancelled)
        assert (row.discount_minor, row.orders) == (discount, int(is_used))
        assert (row.order_value_minor, row.margin_minor) == (1000.0 * is_used, 500.0 * is_used - discount)
        assert row.is_final


def test_a_window_that_is_open_when_the_log_ends_is_not_final(records: list[tuple[str, bytes]]) -> None:
    given = [row for row in rows_of(records, window_s=3 * DAY_S - 50.0) if row.is_given]
    assert [row.is_final for row in given] == [True] * 51 + [False] * 149
    assert all(
        row.window_ends_at is not None and (row.window_ends_at - row.decided_at).total_seconds() == 3 * DAY_S - 50.0
        for row in given
    )


def test_copies_count_once_and_earlier_decisions_are_left_out(
    records: list[tuple[str, bytes]], rows: list[DecisionRow]
) -> None:
    assert rows_of([*records, *records]) == rows
    late = rows_of(records, since=START + 150)
    assert late == [row for row in rows if row.decided_at.timestamp() >= START + 150]
    assert {row.user_id for row in late} == {f"u{n}" for n in range(150, 200)}


def test_rows_are_the_decisions_that_ope_values() -> None:
    shop = Shop(seed=3, stock=100, prices=(35.0, 15.0, 0.0)).see(400, holdout_ratio=0.1)
    log = shop.log()
    decisions = arrays(list(log.decisions.values()), "ecommerce", log.ends_at - WINDOW_S)
    reward, _ = own_valuation.outcomes(log, decisions, "ecommerce", WINDOW_S, RULES)
    rows = [row for row in rows_of(shop.records) if not row.is_holdout]
    assert len(decisions) > 300
    assert decisions.sold_out.any()
    by_user = {row.user_id: row for row in rows if row.is_given}
    of_rows = [by_user[decisions.user_ids[shopper]] for shopper in decisions.shopper.tolist()]
    assert [row.margin_minor for row in of_rows] == pytest.approx(reward.tolist())
    assert [row.propensity for row in of_rows] == pytest.approx(decisions.propensity.tolist())
    assert [row.sold_out for row in of_rows] == decisions.sold_out.tolist()
    columns = {(row.user_id, row.arm): row for row in rows}
    for number, shopper in enumerate(decisions.shopper.tolist()):
        for column in np.flatnonzero(decisions.is_arm[number]).tolist():
            row = columns[decisions.user_ids[shopper], decisions.names[decisions.arm[number, column]]]
            assert row.propensity == pytest.approx(decisions.logging[number, column])
            assert row.price_minor == decisions.price[number, column]


def test_rows_are_written_batch_by_batch() -> None:
    outcomes, sizes = OutcomeLog(OUTCOMES, RULES), list[int]()
    outcomes.note(COUPONS[0])
    rows = DecisionRows(outcomes, lambda batch: sizes.append(len(batch)), 0.0)
    arms = [f"c{n}" for n in range(99)]
    count = 2 * math.ceil(ROWS_AT_ONCE / 100) + 1
    for n in range(count):
        one: Struct = LoggedDecision(
            decision_id=f"d{n}", user_id="ann", domain="ecommerce", at=START, trigger_id="t", result="not_worth_it",
            model_version=1, arms=arms, values_minor=[0.0] * 99,
        )  # fmt: skip
        rows.take(topics.DECISIONS.name, encode(one))
    assert sizes == [ROWS_AT_ONCE, ROWS_AT_ONCE]
    rows.flush()
    rows.flush()
    assert sizes == [ROWS_AT_ONCE, ROWS_AT_ONCE, 100]
    assert rows.rows == 100 * count

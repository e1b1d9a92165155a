"""Small logs made by hand, each with one thing wrong."""

from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from stream_coupons import topics
from stream_coupons.codec import encode
from stream_coupons.core.events import Alternative, Coupon, CouponIssue, Proposal, Reservation, Settlement
from stream_coupons.evaluation.audit import audit
from stream_coupons.topics import Topic

AT = 1_000_000_000.0
Log = dict[Topic, list[Struct]]


def coupon(**limits: Any) -> Coupon:
    return Coupon(coupon_id="c", max_discount_minor=100, **limits)


def settlement(one: str, outcome: Any = "confirmed", spent: int = 0, held: int = 100) -> Settlement:
    return Settlement(proposal_id=one, coupon_id="c", at=AT, outcome=outcome, held_minor=held, spent_minor=spent)


def issue(one: str, user_id: str, **about: Any) -> CouponIssue:
    base: dict[str, Any] = {
        "issue_id": one,
        "user_id": user_id,
        "coupon_id": "c",
        "domain": "ecommerce",
        "issued_at": AT,
        "expires_at": AT + 100,
        "trigger_id": f"trigger-{one}",
        "max_discount_minor": 100,
        "p_click": 0.1,
        "p_redeem": 0.1,
        "p_order": 0.1,
        "value_minor": 1.0,
        "propensity": 1.0,
        "model_version": 0,
    }
    return CouponIssue(**(base | about))


def log_of(*ids: str, user_id: str = "u-{}") -> Log:
    """The records of some proposals that were granted, confirmed and issued; ids are of proposals and issues alike."""
    log: Log = {topics.PROPOSALS: [], topics.RESERVATIONS: [], topics.SETTLEMENTS: [], topics.ISSUES: []}
    for one in ids:
        user = user_id.format(one)
        alternatives = [Alternative("c", 100)]
        log[topics.PROPOSALS].append(
            Proposal(proposal_id=one, user_id=user, at=AT, expires_at=AT + 1, alternatives=alternatives)
        )
        log[topics.RESERVATIONS].append(
            Reservation(proposal_id=one, user_id=user, at=AT, granted=True, coupon_id="c", amount_minor=100)
        )
        log[topics.SETTLEMENTS].append(settlement(one))
        log[topics.ISSUES].append(issue(one, user))
    return log


def found(log: Log, *coupons: Coupon) -> list[tuple[str, str]]:
    values = {topic.name: [encode(message) for message in messages] for topic, messages in log.items()}
    return [tuple(violation) for violation in audit(values, coupons or (coupon(),))]


def test_a_log_in_order_has_no_violation() -> None:
    assert found(log_of("1", "2"), coupon(stock=2, budget_minor=200, max_per_user=1)) == []


def test_an_empty_log_has_no_violation() -> None:
    assert audit({}, []) == []


def test_identical_copies_of_every_record_are_no_violation() -> None:
    log = {topic: [*messages, *messages] for topic, messages in log_of("1", "2").items()}
    assert found(log, coupon(stock=2, budget_minor=200, max_per_user=1)) == []


def test_a_refused_proposal_needs_no_settlement() -> None:
    log = log_of("1")
    log[topics.PROPOSALS].append(replace(log[topics.PROPOSALS][0], proposal_id="2"))
    log[topics.RESERVATIONS].append(
        replace(log[topics.RESERVATIONS][0], proposal_id="2", granted=False, amount_minor=0)
    )
    assert found(log) == []


def test_a_released_reservation_needs_no_issue() -> None:
    log = log_of("1") | {topics.ISSUES: [], topics.SETTLEMENTS: [settlement("1", "released")]}
    assert found(log) == []


def test_two_issues_for_one_trigger_break_i1() -> None:
    log = log_of("1", "2", user_id="u")
    log[topics.ISSUES] = [issue("1", "u", trigger_id="t"), issue("2", "u", trigger_id="t")]
    assert found(log) == [("I1", "2 issues to u for trigger t")]


def test_the_same_trigger_id_of_two_shoppers_is_two_triggers() -> None:
    log = log_of("1", "2")
    log[topics.ISSUES] = [issue("1", "u-1", trigger_id="t"), issue("2", "u-2", trigger_id="t")]
    assert found(log) == []


@pytest.mark.parametrize("changed", [{"title": "another"}, {"expires_at": AT + 101}, {"propensity": 0.5}])
def test_a_copy_with_other_content_breaks_i6(changed: dict[str, Any]) -> None:
    log = log_of("1")
    log[topics.ISSUES].append(issue("1", "u-1", **changed))
    assert found(log) == [("I6", "copies of issue 1 differ")]


def test_a_copy_with_the_same_content_in_other_bytes_breaks_i6() -> None:
    log = log_of("1")
    values = {topic.name: [encode(message) for message in messages] for topic, messages in log.items()}
    values["coupon-issues"].append(values["coupon-issues"][0].replace(b",", b", "))
    assert [tuple(one) for one in audit(values, [coupon()])] == [("I6", "copies of issue 1 differ")]


def test_more_issues_than_stock_break_i2() -> None:
    assert found(log_of("1", "2", "3"), coupon(stock=2)) == [("I2", "3 issues of coupon c, stock 2")]


def test_more_issues_to_a_shopper_than_the_cap_break_i2() -> None:
    log = log_of("1", "2", user_id="u")
    assert found(log, coupon(max_per_user=1)) == [("I2", "2 issues of coupon c to u, cap 1")]


def test_an_issue_of_an_unknown_coupon_breaks_i2() -> None:
    assert found(log_of("1"), Coupon(coupon_id="another", max_discount_minor=1)) == [
        ("I2", "coupon c is not in the catalogue")
    ]


def test_more_held_than_the_budget_breaks_i2_once() -> None:
    assert found(log_of("1", "2", "3"), coupon(budget_minor=199)) == [("I2", "coupon c: 200 held or spent, budget 199")]


def test_what_expired_is_given_back_to_the_budget() -> None:
    log = log_of("1", "2")
    log[topics.SETTLEMENTS] = [settlement("1"), settlement("1", "expired"), settlement("2")]
    assert found(log, coupon(budget_minor=100)) == []


def test_what_was_given_back_later_was_too_much_before() -> None:
    log = log_of("1", "2")
    log[topics.SETTLEMENTS] = [settlement("1"), settlement("2"), settlement("1", "expired")]
    assert found(log, coupon(budget_minor=100)) == [("I2", "coupon c: 200 held or spent, budget 100")]


@pytest.mark.parametrize(("spent", "violations"), [(40, []), (41, [("I2", "coupon c: 141 held or spent, budget 140")])])
def test_what_was_spent_stays_spent(spent: int, violations: list[tuple[str, str]]) -> None:
    log = log_of("1", "2")
    log[topics.SETTLEMENTS] = [settlement("1"), settlement("1", "redeemed", spent), settlement("2")]
    assert found(log, coupon(budget_minor=140)) == violations


def test_an_expiry_counts_once_for_the_budget_however_often_it_is_copied() -> None:
    log = log_of("1", "2", "3")
    expired = settlement("1", "expired")
    log[topics.SETTLEMENTS] = [settlement("1"), expired, expired, settlement("2"), settlement("3")]
    assert found(log, coupon(budget_minor=100)) == [("I2", "coupon c: 200 held or spent, budget 100")]


def test_an_issue_that_promises_more_than_was_held_breaks_i2() -> None:
    log = log_of("1")
    log[topics.ISSUES] = [issue("1", "u-1", max_discount_minor=101)]
    assert found(log) == [("I2", "issue 1 promises 101, held 100")]


def test_a_redemption_that_cost_more_than_was_held_breaks_i2() -> None:
    log = log_of("1")
    log[topics.SETTLEMENTS].append(settlement("1", "redeemed", 101))
    assert found(log) == [("I2", "issue 1 cost 101, held 100")]


def test_a_proposal_must_be_answered() -> None:
    log = log_of("1")
    log[topics.PROPOSALS].append(replace(log[topics.PROPOSALS][0], proposal_id="2"))
    assert found(log) == [("reservation", "proposal 2 has no answer")]


def test_an_answer_must_be_to_a_proposal() -> None:
    log = log_of("1") | {topics.PROPOSALS: []}
    assert found(log) == [("reservation", "1 was never proposed")]


@pytest.mark.parametrize("other", [{"granted": False}, {"coupon_id": "another"}])
def test_answers_to_one_proposal_must_be_alike(other: dict[str, Any]) -> None:
    log = log_of("1")
    log[topics.RESERVATIONS].append(replace(log[topics.RESERVATIONS][0], **other))
    assert found(log) == [("reservation", "proposal 1 has 2 different answers")]


def test_a_granted_reservation_must_be_settled() -> None:
    log = log_of("1") | {topics.SETTLEMENTS: [], topics.ISSUES: []}
    assert found(log) == [("settlement", "reservation 1 has no answer")]


def test_only_a_granted_reservation_may_be_settled() -> None:
    log = log_of("1") | {topics.PROPOSALS: [], topics.RESERVATIONS: []}
    assert found(log) == [("settlement", "reservation 1 was never granted")]


def test_a_reservation_is_not_both_confirmed_and_released() -> None:
    log = log_of("1")
    log[topics.SETTLEMENTS].append(settlement("1", "released"))
    assert found(log) == [("settlement", "reservation 1 was both confirmed and released")]


def test_an_issue_is_not_both_redeemed_and_expired() -> None:
    log = log_of("1")
    log[topics.SETTLEMENTS] += [settlement("1", "redeemed", 50), settlement("1", "expired")]
    assert found(log) == [("settlement", "issue 1 both redeemed and expired")]


def test_a_confirmed_reservation_without_its_issue_is_a_lost_coupon() -> None:
    log = log_of("1") | {topics.ISSUES: []}
    assert found(log) == [("lost", "1 is confirmed but was not issued")]


def test_an_issue_without_a_confirmed_reservation_breaks_i1() -> None:
    log = log_of("1") | {topics.SETTLEMENTS: [settlement("1", "released")]}
    assert found(log) == [("I1", "1 was issued but not confirmed")]

"""Stock, budgets and caps: what the order of the topics proves, and what it does not."""

from typing import Any

import pytest

from stream_coupons import topics
from stream_coupons.core.events import Coupon
from stream_coupons.evaluation.findings import Check, Tally

from .builders import AT_MS, PROPOSALS, Handmade, found

HOUR_MS = 3_600_000


def finished(log: Handmade) -> list[tuple[str, str, str]]:
    """The violations of a log to which nothing is added any more."""
    log.save_cells()
    return found(log)


def reserved(*ids: str, **limits: Any) -> Handmade:
    """Proposals that were granted in this order."""
    log = Handmade(**limits)
    for one in ids:
        log.propose(one)
    for one in ids:
        log.reserve(one)
    return log


def over(check: str, detail: str, offset: int) -> list[tuple[str, str, str]]:
    return [(check, f"coupon-reservations:0:{offset}", detail)]


def test_more_reserved_than_the_stock_is_too_much() -> None:
    log = reserved("1", "2", "3", stock=2)
    for one in ("1", "2", "3"):
        log.settle(one, "released")
    detail = "coupon c: 3 reserved or issued with 3, expected at most 2"
    assert finished(log) == []  # all may have been given back before the third
    log = reserved("1", "2", "3", stock=2)
    for one in ("3", "1", "2"):
        log.settle(one, "released")
    assert finished(log) == over("stock", detail, 2)


def test_more_issues_than_the_stock_are_too_many() -> None:
    log = Handmade(stock=2).give("1", "2", "3")
    detail = "coupon c: 3 issued with 3, expected at most 2"
    reserved_too = over("stock", "coupon c: 3 reserved or issued with 3, expected at most 2", 2)
    assert finished(log) == [*reserved_too, ("stock", "coupon-issues:0:2", detail)]


def test_a_unit_that_expired_stays_issued() -> None:
    log = Handmade(stock=1).give("1")
    log.settle("1", "expired")
    log.propose("2")
    log.reserve("2")
    log.settle("2", "released")
    assert finished(log) == over("stock", "coupon c: 2 reserved or issued with 2, expected at most 1", 1)


def test_more_held_than_the_budget_is_too_much_and_said_once() -> None:
    log = Handmade(budget_minor=199).give("1", "2", "3")
    assert finished(log) == over("budget", "coupon c: 200 held or spent with 2, expected at most 199", 1)


@pytest.mark.parametrize("outcome", ["expired", "released"])
def test_what_was_given_back_is_free_again(outcome: str) -> None:
    log = reserved("1", "2", budget_minor=100)
    if outcome == "expired":
        log.settle("1")
        log.issue("1")
    log.settle("1", outcome)
    log.settle("2", "released")
    assert finished(log) == []


def test_what_was_given_back_later_was_too_much_before() -> None:
    log = Handmade(budget_minor=100).give("1", "2")
    log.settle("1", "expired")
    assert finished(log) == over("budget", "coupon c: 200 held or spent with 2, expected at most 100", 1)


def test_what_was_granted_later_does_not_count_before() -> None:
    log = reserved("1", "2", budget_minor=100)
    for one in ("1", "2"):
        log.settle(one)
        log.issue(one)
        log.settle(one, "expired")
    assert finished(log) == []


@pytest.mark.parametrize(("spent", "is_over"), [(40, False), (41, True)])
def test_what_was_spent_stays_spent(spent: int, is_over: bool) -> None:
    log = reserved("1", "2", budget_minor=140)
    log.settle("1")
    log.issue("1")
    log.settle("1", "redeemed", spent)
    log.settle("2", "released")
    detail = "coupon c: 141 held or spent with 2, expected at most 140"
    assert finished(log) == (over("budget", detail, 1) if is_over else [])


def test_an_expiry_counts_once_however_often_it_is_copied() -> None:
    log = reserved("1", "2", "3", budget_minor=100)
    log.settle("1")
    log.issue("1")
    log.settle("1", "expired")
    log.settle("1", "expired")
    log.settle("3", "released")
    log.settle("2", "released")
    assert finished(log) == over("budget", "coupon c: 200 held or spent with 3, expected at most 100", 2)


def test_grants_that_are_committed_count_without_a_settlement() -> None:
    log = reserved("1", "2", "3", stock=1)
    log.save_cells()
    log.committed = dict(log.ends) | {(PROPOSALS, 0): 1, ("coupon-reservations", 0): 0}
    assert found(log) == []
    assert log.audit().tallies[Check.STOCK] == Tally(checked=1, open=2)
    log.committed[PROPOSALS, 0] = 2
    assert found(log) == over("stock", "coupon c: 2 reserved or issued with 2, expected at most 1", 1)


# ---------------------------------------------------------------- caps


@pytest.mark.parametrize("cap", [0, 1, 2, None])
def test_a_shopper_has_a_coupon_at_most_as_often_as_its_cap_says(cap: int | None) -> None:
    log = Handmade(max_per_user=cap).give("1", "2", user_id="u")
    log.give("3", user_id="another") if cap != 0 else None
    detail = {
        0: "coupon c 1 times to u with 1, expected at most 0",
        1: "coupon c 2 times to u with 2, expected at most 1",
    }
    expected = [] if cap not in detail else [("caps", f"coupon-issues:0:{cap}", detail[cap])]
    assert finished(log) == expected


# ---------------------------------------------------------------- a catalogue that changes


def pushed(log: Handmade, at_ms: int, **limits: Any) -> None:
    log.append(topics.CATALOG, Coupon(coupon_id="c", max_discount_minor=100, **limits), at_ms=at_ms)


NARROW: dict[str, int] = {"stock": 1, "budget_minor": 100, "max_per_user": 1}


def test_the_widest_of_all_known_terms_is_what_counts() -> None:
    log = Handmade(**NARROW).give("1", "2", user_id="u")
    assert {title for title, _, _ in finished(log)} == {"stock", "budget", "caps"}
    pushed(log, AT_MS, stock=2, budget_minor=200, max_per_user=2)
    pushed(log, AT_MS, **NARROW)
    assert found(log) == []


def test_what_was_given_before_the_oldest_known_terms_cannot_be_judged() -> None:
    log = Handmade(at_ms=AT_MS + HOUR_MS, **NARROW).give("1", "2", user_id="u")
    assert finished(log) == []
    findings = log.audit()
    assert {findings.tallies[check].not_checked for check in (Check.STOCK, Check.BUDGET, Check.CAPS)} == {2}


def test_a_coupon_that_was_never_in_the_catalogue_is_a_violation() -> None:
    log = Handmade().give("1")
    log.change("coupon-catalog", key=b"another", value=b'{"coupon_id":"another","max_discount_minor":1}')
    detail = "coupon c of issue 1 was never in the catalogue"
    assert finished(log) == [("stock", "coupon-issues:0:0", detail)]


def test_a_coupon_that_compaction_may_have_removed_is_none() -> None:
    log = Handmade().give("1")
    pushed(log, AT_MS)
    log.take_out("coupon-catalog", 1)
    log.change("coupon-catalog", value=None)
    assert finished(log) == []
    assert log.audit().tallies[Check.CAPS] == Tally(not_checked=1)


@pytest.mark.parametrize("value", [b"nonsense", b'{"coupon_id":"c"}', b'{"coupon_id":"d","max_discount_minor":1}'])
def test_what_workers_ignore_in_the_catalogue_limits_nothing(value: bytes) -> None:
    log = Handmade().give("1", "2")
    pushed(log, AT_MS, stock=1)
    log.change("coupon-catalog", 1, value=value)
    assert finished(log) == []

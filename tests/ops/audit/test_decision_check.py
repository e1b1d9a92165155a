"""Issues made by hand, each with one thing wrong, one thing open or one thing that retention has dropped."""

from typing import Any

import msgspec
import pytest

from lab.builders import (
    AT,
    AT_MS,
    BROWSE,
    FEEDBACK,
    HOLD,
    ISSUES,
    MONEY,
    SPRING,
    UNITS,
    USERS,
    Handmade,
    Log,
    found,
    red,
)
from stream_coupons.core.decision.pipeline import issue_id
from stream_coupons.core.money import purses
from stream_coupons.core.money.accounts import money_of, units_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.kafka import topics
from stream_coupons.ops.audit.findings import Check, CheckCounts
from tests.core.builders import for_life

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TICKS = topics.TICKS.name


def finished(log: Log) -> list[tuple[str, str, str]]:
    """The violations of a log to which nothing is added any more."""
    log.save_cells()
    return found(log)


def tally(log: Log, check: Check) -> CheckCounts:
    """How a check went that found nothing."""
    findings = log.audit()
    assert findings.violations == []
    return findings.tallies[check]


def purse_at(number: int) -> str:
    """The place of a purse, after the one cell of the shopper."""
    return f"{USERS}:0:{number}"


def test_whole_decisions_are_clean() -> None:
    log = Handmade(stock=2, budget_minor=200, caps=for_life(1)).give("1", "2")
    assert finished(log) == []
    assert tally(log, Check.ISSUES) == CheckCounts(checked=2)
    assert tally(log, Check.AMOUNTS) == CheckCounts(checked=4)


def test_identical_copies_of_every_issue_are_no_violation() -> None:
    log = Handmade(stock=2, budget_minor=200, caps=for_life(1)).give("1", "2")
    for record in list(log.read((ISSUES,))):
        log.put(record)
    assert finished(log) == []
    assert tally(log, Check.COPIES) == CheckCounts(checked=2)
    assert tally(log, Check.TRIGGERS) == CheckCounts(checked=2)


# ---------------------------------------------------------------- triggers and copies


def given_for(trigger_id: str, *ids: str, user_id: str | None = None) -> Handmade:
    """Issues that name one trigger."""
    log = Handmade()
    for one in ids:
        log.look(one, user_id)
        log.draw(one)
        log.issue(one, trigger_id=trigger_id)
    return log


def test_two_issues_for_one_trigger_are_one_too_many() -> None:
    detail = "trigger t of u has issue 2 besides 1, expected one issue"
    assert finished(given_for("t", "1", "2", user_id="u")) == [("triggers", "coupon-issues:0:1", detail)]


def test_the_same_trigger_id_of_two_shoppers_is_two_triggers() -> None:
    assert finished(given_for("t", "1", "2")) == []


def test_events_of_two_kinds_that_share_an_id_are_two_triggers() -> None:
    log = given_for("t", issue_id("u", "browse", "t"), issue_id("u", "cart", "t"), user_id="u")
    assert finished(log) == []
    assert tally(log, Check.TRIGGERS) == CheckCounts(checked=2)


def test_an_issue_for_another_trigger_is_not_the_same_issue() -> None:
    log = Handmade().give("1")
    log.issue("1", trigger_id="t")
    assert [title for title, _, _ in finished(log)] == ["copies", "triggers"]
    assert "is for trigger t of u-1 now" in found(log)[1][2]


@pytest.mark.parametrize("changed", [{"title": "another"}, {"expires_at": 2e9}, {"propensity": 0.5}])
def test_a_copy_of_an_issue_with_other_content_is_none(changed: dict[str, Any]) -> None:
    log = Handmade().give("1")
    log.issue("1", **changed)
    detail = "issue 1 differs from its first copy, expected the same key, value and origin"
    assert finished(log) == [("copies", "coupon-issues:0:1", detail)]


def test_a_copy_in_other_bytes_is_none() -> None:
    log = Handmade().give("1")
    [record] = log.read((ISSUES,))
    log.put(record._replace(value=(record.value or b"").replace(b",", b", ")))
    assert [(title, place) for title, place, _ in finished(log)] == [("copies", "coupon-issues:0:1")]


def test_an_issue_that_was_made_again_has_another_origin() -> None:
    """What a trigger that comes again beyond the horizon of duplicates would lead to."""
    log = Handmade().give("1")
    log.look("1")
    log.issue("1")
    assert [(title, place) for title, place, _ in finished(log)] == [("copies", "coupon-issues:0:1")]


# ---------------------------------------------------------------- what is issued is drawn


def test_an_issue_is_drawn() -> None:
    log = Handmade(stock=5).give("1")
    log.look("2")
    log.issue("2")
    detail = "2 issues of coupon c in partition 0, but 1 units drawn: expected one for each"
    assert finished(log) == [("issues", "coupon-issues:0:1", detail)]


def test_an_issue_is_drawn_where_its_shopper_is() -> None:
    log = Handmade(partitions=2, stock=8)
    [here, there] = sorted(("1", "2", "3", "4"), key=lambda one: topics.partition_for(f"u-{one}".encode(), 2))[::3]
    log.give(here)
    log.look(there)
    log.issue(there)
    log.draw(here)
    home, other = log.home(here), log.home(there)
    log.save_cells()
    assert sorted(found(log)) == [
        ("issues", f"coupon-issues:{other}:0", f"1 issues of coupon c in partition {other}, but 0 units drawn: "
         "expected one for each"),
        ("issues", f"{USERS}:{home}:1", f"2 units of coupon c in partition {home} are drawn and committed, "
         "but 1 issued: expected all"),
    ]  # fmt: skip


def test_what_is_drawn_and_committed_but_not_issued_is_a_lost_coupon() -> None:
    log = Handmade().give("1", "2")
    log.take_out(ISSUES, 1)
    detail = "2 units of coupon c in partition 0 are drawn and committed, but 1 issued: expected all"
    assert finished(log) == [("issues", purse_at(2), detail)]


def test_what_is_drawn_is_open_while_its_trigger_is_not_committed() -> None:
    log = Handmade().give("1")
    for one in ("2", "3"):
        log.look(one)
    log.draw("2")
    log.save_cells()
    log.committed = dict(log.ends) | {(BROWSE, 0): 2}
    assert tally(log, Check.ISSUES) == CheckCounts(checked=1, open=1)
    assert tally(log, Check.AMOUNTS) == CheckCounts(checked=3, open=1)
    log.draw("3")
    log.save_cells()
    assert red(log) == {"issues"}


@pytest.mark.parametrize("total", ["freed", "spent"])
def test_a_unit_that_was_given_stays_given(total: str) -> None:
    log = Handmade(stock=5).give("1")
    log.spoil(UNITS, **{total: 1})
    [(title, _, detail)] = finished(log)
    assert title == "issues"
    assert detail.endswith("expected each to stay given")


def test_what_is_no_issue_is_not_sent_to_shoppers() -> None:
    log = Handmade().give("1")
    [record] = log.read((ISSUES,))
    log.put(record._replace(value=b"{}"))
    [(title, place, detail)] = finished(log)
    assert (title, place) == ("issues", "coupon-issues:0:1")
    assert detail.startswith("is no issue: coupon-issues: Object missing required field")


# ---------------------------------------------------------------- amounts


def red_after(log: Handmade) -> set[str]:
    log.save_cells()
    return red(log)


def amounts(log: Handmade) -> list[str]:
    """What is wrong with amounts, when nothing is added any more."""
    return [detail for title, _, detail in finished(log) if title == "amounts"]


def said(amount: int, name: str, bound: str, account_id: str = MONEY) -> str:
    return f"{amount} of {account_id} in partition 0 is {name}, expected at {bound} by its issues and feedback"


@pytest.mark.parametrize("held", [40, 99])
def test_a_hold_is_no_lower_than_the_issue_says(held: int) -> None:
    log = Handmade()
    log.look("1")
    log.draw("1", held)
    log.issue("1")
    assert finished(log) == [("amounts", purse_at(2), said(held, "drawn", "least 100"))]


def test_no_more_is_drawn_than_was_held() -> None:
    log = Handmade().give("1")
    log.spoil(MONEY, drawn=1)
    assert finished(log) == [("amounts", purse_at(2), said(101, "drawn", "most 100"))]


def test_an_issue_may_hold_less_than_it_can_cost() -> None:
    log = Handmade(budget_minor=1000, budget_hold="quantile").give("1", "2", held=30)
    assert finished(log) == []
    assert log.purse(MONEY).drawn == 60


@pytest.mark.parametrize(("about", "spent"), [({}, 100), ({"discount_minor": 30}, 30), ({"discount_minor": 170}, 100)])
@pytest.mark.parametrize("held", [40, HOLD])
def test_a_purchase_is_spent_up_to_what_the_coupon_may_cost(about: dict[str, int], spent: int, held: int) -> None:
    log = Handmade().give("1", held=held)
    log.say("1", **about)
    log.book("1", spent)
    assert finished(log) == []
    log.spoil(MONEY, spent=-1, drawn=-1)
    assert found(log) == []  # the purses of before
    assert amounts(log) == [said(spent - 1, "spent and not refunded", f"least {spent}")]


def test_a_redemption_without_feedback_is_none() -> None:
    log = Handmade().give("1", "2")
    log.buy("1")
    log.book("2", spent=40)
    assert amounts(log) == [
        said(140, "spent and not refunded", "most 100"),
        said(140, "freed", "most 100"),
    ]


def test_a_redemption_is_booked_once() -> None:
    log = Handmade().give("1", "2")
    log.buy("1", 60)
    log.say("1", discount_minor=60)
    assert finished(log) == []
    log.book("2", 60)
    assert amounts(log)[0] == said(120, "spent and not refunded", "most 60")


# ---------------------------------------------------------------- corrections


def test_the_report_on_what_happened_last_counts() -> None:
    log = Handmade(budget_minor=1000).give("1")
    log.say("1", event_id="late", discount_minor=90, occurred_at=AT + 20.0)
    log.book("1", 90)
    log.say("1", event_id="early", discount_minor=60, occurred_at=AT + 10.0)
    assert finished(log) == []
    log.book("1", 60)
    assert said(60, "spent and not refunded", "least 90") in amounts(log)


def test_a_report_of_the_same_time_that_came_later_counts() -> None:
    log = Handmade().give("1")
    log.buy("1", 60)
    log.say("1", event_id="another", discount_minor=90)
    log.book("1", 90)
    assert finished(log) == []


@pytest.mark.parametrize(("about", "spent"), [({"discount_minor": 20}, 20), ({}, 0)])
def test_a_refund_is_booked(about: dict[str, int], spent: int) -> None:
    log = Handmade(budget_minor=1000).give("1")
    log.buy("1", 60)
    log.say("1", "refund", occurred_at=AT + 1.0, **about)
    log.book("1", spent, HOLD - spent)
    assert finished(log) == []
    assert (log.purse(MONEY).spent, log.purse(MONEY).refunded) == (60, 60 - spent)


@pytest.mark.parametrize("held", [HOLD, 40])
def test_a_coupon_whose_order_was_cancelled_is_held_again(held: int) -> None:
    log = Handmade(budget_minor=1000 if held == HOLD else None).give("1", held=held)
    log.buy("1", 60)
    log.say("1", "cancel", occurred_at=AT + 1.0)
    log.book("1", 0, held)
    assert finished(log) == []
    log.say("1", event_id="again", discount_minor=70, occurred_at=AT + 2.0)
    log.book("1", 70)
    assert finished(log) == []
    assert (log.purse(MONEY).spent, log.purse(MONEY).refunded) == (130, 60)
    log.spoil(MONEY, drawn=1)
    assert red_after(log) == {"amounts"}


def test_a_refund_without_feedback_is_none() -> None:
    log = Handmade(budget_minor=1000).give("1")
    log.buy("1", 60)
    assert finished(log) == []
    log.book("1", 20)
    found_ = amounts(log)
    assert said(20, "spent and not refunded", "least 60") in found_
    assert said(40, "refunded", "most 0") in found_


def test_a_refund_that_is_not_booked_is_missed() -> None:
    log = Handmade().give("1")
    log.buy("1", 60)
    log.say("1", "refund", occurred_at=AT + 1.0, discount_minor=20)
    assert amounts(log) == [
        said(160, "drawn", "least 200"),
        said(60, "spent and not refunded", "most 20"),
        said(0, "refunded", "least 40"),
    ]


def test_a_cancellation_that_nobody_reported_holds_nothing_again() -> None:
    log = Handmade().give("1")
    log.buy("1", 60)
    log.book("1", 0, HOLD)
    assert said(220, "drawn", "most 160") in amounts(log)


def test_each_order_that_a_coupon_is_used_in_is_spent() -> None:
    log = Handmade(budget_minor=1000).give("1")
    log.buy("1", 60)
    log.say("1", event_id="e2", order_id="o2", discount_minor=70)
    assert said(60, "spent and not refunded", "least 130") in amounts(log)
    log.book("1", 130)
    log.say("1", "refund", event_id="e3", order_id="o2", occurred_at=AT + 1.0, discount_minor=10)
    log.book("1", 70)
    assert red_after(log) == set()


def test_a_refund_that_leaves_more_than_its_order_had_changes_nothing() -> None:
    log = Handmade(budget_minor=1000).give("1")
    log.buy("1", 60)
    log.say("1", "refund", occurred_at=AT + 1.0, discount_minor=90)
    assert finished(log) == []
    log.book("1", 90)
    assert red_after(log) == {"amounts"}


def test_what_is_reported_after_the_window_has_closed_may_be_spent() -> None:
    log = Handmade(budget_minor=1000).give("1")
    log.tick(AT + 1000.0)
    log.book("1")
    log.say("1", discount_minor=60, at_ms=AT_MS + 2_000_000)
    assert red_after(log) == set()
    log.book("1", 60, 0)
    assert red_after(log) == set()
    log.spoil(MONEY, drawn=1)
    assert red_after(log) == {"amounts"}


# ---------------------------------------------------------------- what is free again


def test_a_hold_stays_until_the_time_of_its_coupon_is_over() -> None:
    log = Handmade().give("1")
    log.book("1")
    log.tick(AT + 99.0)
    assert finished(log) == [("amounts", purse_at(2), said(100, "freed", "most 0"))]
    log.tick(AT + 100.0)
    assert found(log) == []


def falling(at: float, held: int = 80, **limits: Any) -> Handmade:
    """A coupon whose hold has fallen until some time by what its purse says."""
    log = Handmade(budget_minor=1000, budget_hold="quantile", **limits)
    log.look("1")
    log.draw("1", 0)
    log.book("1", held=held, falling=True)
    log.issue("1", held_minor=held, campaign_id=log.campaign_id)
    for account_id in (MONEY, SPRING) if log.campaign_id else (MONEY,):
        purses.fall(log.purse(account_id), at)
    return log


@pytest.mark.parametrize("campaign", [None, {"budget_minor": 500}])
def test_a_hold_of_a_share_falls_with_time(campaign: dict[str, int] | None) -> None:
    log = falling(AT + 25.0, campaign=campaign)
    assert log.purse(MONEY).freed == 20
    log.tick(AT + 20.0)
    account_ids = [MONEY, SPRING] if campaign else [MONEY]
    assert sorted(amounts(log)) == [said(20, "freed", "most 16", one) for one in sorted(account_ids)]
    log.tick(AT + 25.0)
    assert found(log) == []


@pytest.mark.parametrize("limits", [{"budget_minor": 1000}, {}])
def test_a_hold_of_the_most_falls_by_no_time(limits: dict[str, int]) -> None:
    log = Handmade(**limits).give("1")
    log.tick(AT + 50.0)
    assert finished(log) == []
    log.spoil(MONEY, freed=1)
    assert amounts(log) == [said(1, "freed", "most 0")]


def test_a_hold_that_is_used_falls_no_more() -> None:
    log = falling(AT + 25.0)
    log.tick(AT + 50.0)
    log.say("1", discount_minor=100)
    log.book("1", 100, at=AT + 50.0, falling=True)
    assert finished(log) == []
    assert (log.purse(MONEY).freed, log.purse(MONEY).spent) == (80, 100)
    log.spoil(MONEY, freed=1)
    assert amounts(log)[0] == said(81, "freed", "most 80")


def test_a_coupon_that_was_over_before_a_tick_lets_others_fall_as_long() -> None:
    """Its part of the sum is below nothing until a tick removes it."""
    log = falling(AT)
    log.tick(AT + 100.0)
    log.tick(AT + 110.0)
    log.spoil(MONEY, freed=88)
    assert [detail for detail in amounts(log) if "drawn" not in detail] == []
    log.spoil(MONEY, freed=1)
    assert said(89, "freed", "most 88") in amounts(log)


def test_a_tick_of_the_future_ends_nothing() -> None:
    log = Handmade().give("1")
    log.book("1")
    log.tick(AT + 1000.0, at_ms=AT_MS + 99_000)
    assert [title for title, _, _ in finished(log)] == ["amounts"]


def test_a_tick_of_another_partition_ends_nothing() -> None:
    log = Handmade(partitions=2)
    log.give("1")
    log.book("1")
    log.tick(AT + 1000.0, 1 - log.home("1"))
    assert [title for title, _, _ in finished(log)] == ["amounts"]


def test_what_is_spent_and_freed_was_drawn() -> None:
    log = Handmade().give("1")
    log.buy("1")
    log.tick(AT + 1000.0)
    log.spoil(MONEY, freed=1)
    assert amounts(log) == [
        said(101, "freed", "most 100"),
        "101 of money:c in partition 0 is freed and 100 spent, expected at most the 200 drawn",
    ]


# ---------------------------------------------------------------- campaigns


def test_a_campaign_has_the_sum_of_its_coupons() -> None:
    log = Handmade(campaign={"budget_minor": 1000}).give("1", "2")
    log.buy("1", 60)
    assert finished(log) == []
    assert log.purse(SPRING) == log.purse(MONEY) or log.purse(SPRING).drawn == log.purse(MONEY).drawn
    log.spoil(SPRING, drawn=1)
    assert amounts(log) == [said(261, "drawn", "most 260", SPRING)]


def test_coupons_of_a_campaign_draw_on_it_together() -> None:
    log = Handmade(campaign={"budget_minor": 1000}).give("1")
    other = msgspec.structs.replace(log.terms, coupon_id="d")
    log.append(topics.CATALOG, other)
    log.look("2")
    log.purses[units_of("d"), 0] = Purse(drawn=1)
    log.purses[money_of("d"), 0] = Purse(drawn=100)
    log.purse(SPRING).drawn += 100
    log.issue("2", coupon_id="d", campaign_id="spring")
    assert finished(log) == []
    log.spoil(SPRING, drawn=-100)
    assert amounts(log) == [said(100, "drawn", "least 200", SPRING)]


def test_a_campaign_that_no_issue_names_spends_nothing() -> None:
    log = Handmade(campaign={"budget_minor": 1000})
    log.look("1")
    log.draw("1")
    log.issue("1")
    assert amounts(log) == [said(100, "drawn", "most 0", SPRING)]


@pytest.mark.parametrize(
    "about",
    [
        {"coupon_id": "d"},
        {"user_id": "u-2"},
        {"issue_id": "another"},
        {"kind": "click"},
    ],
)
def test_what_is_no_purchase_of_the_coupon_is_not_spent(about: dict[str, Any]) -> None:
    log = Handmade().give("1", "2")
    log.say("1", **about)
    assert finished(log) == []
    log.book("1", 10)
    assert red_after(log) == {"amounts"}


def uncertain(name: str) -> Handmade:
    """A purchase of 60 of which nobody knows whether it was applied."""
    log = Handmade().give("1")
    if name == "an event of the same id came before it":
        log.say("1", "click", event_id="e")
        log.say("1", event_id="e", discount_minor=60)
    elif name == "it came when the coupon's time was over":
        log.say("1", discount_minor=60, at_ms=AT_MS + 100_000)
    elif name == "it says that it is of long before its issue":
        log.say("1", discount_minor=60, occurred_at=AT - 90_000)
    elif name == "a copy of it was refused after it had waited":
        log.refuse(log.say("1", discount_minor=60)._replace(offset=-1), "unknown_issue")
    elif name == "its dead letter may be dropped":
        log.say("1", discount_minor=60)
        log.refuse(log.look("1")._replace(timestamp_ms=AT_MS + 1))
        log.look("1")
        log.refuse(log.say("1", "click")._replace(timestamp_ms=AT_MS + 1))
        log.drop_beginning("dead-letters", 1)
    else:
        log.say("1", discount_minor=60)
        log.save_cells()
        log.committed = dict(log.ends) | {(FEEDBACK, 0): 0}
    return log


@pytest.mark.parametrize(
    "name",
    [
        "an event of the same id came before it",
        "it came when the coupon's time was over",
        "it says that it is of long before its issue",
        "a copy of it was refused after it had waited",
        "its dead letter may be dropped",
        "it is not committed",
    ],
)
def test_a_purchase_that_may_not_be_applied_may_be_spent_or_not(name: str) -> None:
    log = uncertain(name)
    log.save_cells()
    assert red(log) == set()
    log.book("1", 60)
    assert red_after(log) == set()
    log.spoil(MONEY, spent=1)
    assert red_after(log) == {"amounts"}


def test_of_uncertain_reports_any_may_count() -> None:
    log = uncertain("an event of the same id came before it")
    log.say("1", event_id="f", discount_minor=90)
    assert red_after(log) == {"amounts"}
    log.book("1", 90)
    assert red_after(log) == set()
    log.book("1", 60)
    assert red_after(log) == {"amounts"}
    log = uncertain("an event of the same id came before it")
    log.say("1", event_id="f", discount_minor=90, occurred_at=AT - 1.0)
    for spent in (60, 90):
        log.purses = {}
        log.draw("1")
        log.book("1", spent)
        assert red_after(log) == set()
    log.spoil(MONEY, spent=1, drawn=1)
    assert red_after(log) == {"amounts"}


def test_of_very_many_uncertain_reports_nothing_is_known_but_what_a_coupon_can_cost() -> None:
    log = uncertain("it is not committed")
    for number in range(9):
        log.say("1", event_id=f"e{number}", discount_minor=number, occurred_at=AT + number)
    log.book("1", 100)
    assert red_after(log) == set()
    log.spoil(MONEY, spent=1, drawn=1)
    assert red_after(log) == {"amounts"}


def test_a_purchase_under_the_key_of_somebody_else_is_not_spent() -> None:
    log = Handmade().give("1")
    log.say("1", discount_minor=60)
    log.change(FEEDBACK, key=b"u-2")
    log.book("1", 60)
    assert red_after(log) == {"amounts"}


def test_a_refused_purchase_is_not_spent() -> None:
    log = Handmade().give("1")
    log.refuse(log.say("1", discount_minor=60), "late")
    assert finished(log) == []
    log.book("1", 60)
    assert red_after(log) == {"amounts"}


# ---------------------------------------------------------------- held or spent, and the budget


def test_what_is_certain_to_be_held_or_spent_is_within_the_budget() -> None:
    log = Handmade(budget_minor=200).give("1", "2", "3")
    log.purses[MONEY, 0].granted += 100
    detail = "money:c: 300 held or spent, expected at most 200"
    assert ("budget", "coupon-issues:0:2", detail) in finished(log)


def test_the_rest_of_a_hold_of_the_most_stays_held_after_a_purchase() -> None:
    log = Handmade(budget_minor=199).give("1")
    log.buy("1", 40)
    log.give("2")
    assert ("budget", "coupon-issues:0:1", "money:c: 200 held or spent, expected at most 199") in finished(log)


@pytest.mark.parametrize(("spent", "is_over"), [(40, False), (41, True)])
def test_what_was_spent_stays_spent(spent: int, is_over: bool) -> None:
    log = Handmade(budget_minor=140).give("1")
    log.buy("1", spent)
    log.tick(AT + 100.0)
    log.book("1", spent, 0)
    log.look("2")
    log.draw("2")
    log.issue("2", issued_at=AT + 100.0, expires_at=AT + 200.0)
    detail = "money:c: 141 held or spent, expected at most 140"
    violations = finished(log)
    assert (("budget", "coupon-issues:0:1", detail) in violations) == is_over
    assert bool(violations) == is_over


def test_what_is_held_of_quantiles_is_within_the_budget() -> None:
    log = Handmade(budget_minor=100, budget_hold="quantile", max_overspend_ratio=2.0).give("1", "2", held=50)
    assert finished(log) == []
    log.give("3", held=1)
    assert ("budget", "coupon-issues:0:2", "money:c: 101 held, expected at most 100") in finished(log)


def test_what_has_expired_is_not_held() -> None:
    log = Handmade(budget_minor=100).give("1")
    log.book("1")
    log.tick(AT + 100.0)
    log.give("2")
    assert finished(log) == []


# ---------------------------------------------------------------- what retention has dropped


def aged(log: Log, topic: str, index: int, at_ms: int) -> None:
    """Change when a record was appended."""
    log.change(topic, index, timestamp_ms=at_ms)


def old_and_new() -> Handmade:
    """An old issue and, two days later, a new one."""
    log = Handmade().give("1", "2")
    aged(log, ISSUES, 1, AT_MS + 2 * DAY_MS)
    return log


def test_issues_that_retention_has_dropped_are_not_missed() -> None:
    log = old_and_new()
    log.drop_beginning(ISSUES, 1)
    log.save_cells()
    assert tally(log, Check.ISSUES) == CheckCounts(checked=1, not_checked=1)
    assert tally(log, Check.AMOUNTS) == CheckCounts(checked=3, not_checked=1)
    assert log.audit().shortened == [ISSUES]


def test_issues_that_are_left_are_drawn_all_the_same() -> None:
    log = old_and_new()
    log.drop_beginning(ISSUES, 1)
    log.spoil(UNITS, drawn=-2)
    log.spoil(MONEY, drawn=-101)
    assert [title for title, _, _ in finished(log)] == ["issues"]
    log.spoil(UNITS, drawn=2)
    assert [title for title, _, _ in finished(log)] == ["amounts"]


def test_purchases_that_retention_has_dropped_are_not_missed() -> None:
    log = old_and_new()
    log.buy("1", 60)
    log.say("2", "click", at_ms=AT_MS + DAY_MS - 1)
    log.drop_beginning(FEEDBACK, 1)
    assert finished(log) == []
    log.book("2", 60)
    assert red_after(log) == {"amounts"}


def test_ticks_that_retention_has_dropped_may_have_ended_what_is_older() -> None:
    log = Handmade().give("1")
    log.book("1")
    log.tick(AT, at_ms=AT_MS)
    log.tick(AT, at_ms=AT_MS + 100_000)
    log.drop_beginning(TICKS, 1)
    assert finished(log) == []
    log.change(TICKS, timestamp_ms=AT_MS + 99_000)
    assert red(log) == {"amounts"}
    assert log.audit().shortened == []

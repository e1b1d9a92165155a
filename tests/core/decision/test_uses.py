"""What a till takes is booked: in every order, however late. No report frees what may be taken again."""

from collections.abc import Iterator
from typing import Any

import pytest

from stream_coupons.core.decision import attribution
from stream_coupons.core.messages.catalogue import BudgetHold
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.money.accounts import money_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.state import MAX_CLOSED_ISSUES, Shopper
from stream_coupons.core.shopper.uses import MAX_USES
from stream_coupons.testing import LocalPipeline, ManualClock, browse, coupon, feedback, plain_settings
from tests.core import builders
from tests.core.builders import AT, DAY_S, HOUR_S, knowledge, opened

MOST = 200
BUDGET = 2_000
WINDOW_S = 7 * DAY_S
CLOSED_S = 8 * DAY_S + 1
"""From an issue to the first tick after its window and grace."""


class Till:
    """A shop with one coupon and a till that takes what the tests say."""

    def __init__(self, hold: BudgetHold = "maximum", budget_minor: int = BUDGET) -> None:
        terms = coupon(
            "c",
            max_discount_minor=MOST,
            discount_minor=MOST,
            budget_minor=budget_minor,
            budget_hold=hold,
            redeem_within_s=WINDOW_S,
        )
        self.clock = ManualClock()
        self.shop = LocalPipeline(plain_settings(), [terms], clock=self.clock)
        self.reports = 0

    def visit(self, shoppers: int, name: str = "u") -> list[CouponIssue]:
        """New shoppers look at the shop; return the coupons that they get."""
        before = len(self.shop.issues)
        self.shop.publish(*(browse(f"{name}{n}", at=self.clock()) for n in range(shoppers)))
        return self.shop.issues[before:]

    def tell(self, issues: list[CouponIssue], kind: Any = "purchase", ahead_s: float = 0.0, **about: Any) -> None:
        """Report on each coupon, one second after the other."""
        for issue in issues:
            self.clock.advance(1.0)
            self.reports += 1
            at = about.get("at", self.clock() + ahead_s)
            self.shop.publish(feedback(issue, kind, **(about | {"at": at, "event_id": f"f{self.reports}"})))

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.shop.tick()

    @property
    def money(self) -> Purse:
        found = self.shop.owners["users"].batches.shared(0)[money_of("c")]
        assert isinstance(found, Purse)
        return found

    @property
    def booked(self) -> int:
        return self.money.spent - self.money.refunded

    def count(self, kind: str) -> int:
        return self.shop.facts["feedback", kind]

    def refused(self) -> set[str]:
        return {letter["reason"] for letter in self.shop.dead_letters}


def answer_with_0(till: Till) -> Iterator[CouponIssue]:
    """Five rounds of shoppers whose first report is of 0."""
    for number in range(5):
        till.wait(60.0)
        issues = till.visit(40, f"round-{number}-")
        till.tell(issues, discount_minor=0)
        yield from issues


# ---------------------------------------------------------------- one coupon in several orders


def test_each_order_that_a_coupon_is_used_in_is_booked_in_full() -> None:
    till = Till()
    issues = till.visit(30)
    assert len(issues) == BUDGET // MOST
    for order_id in ("o1", "o2", "o3"):
        till.tell(issues, order_id=order_id, discount_minor=MOST)
    assert till.booked == 6_000
    assert (till.count("purchase"), till.count("used_again")) == (10, 20)
    assert till.visit(10, "later-") == []
    till.wait(CLOSED_S)
    assert (till.booked, till.money.committed) == (6_000, 6_000)


def test_an_order_that_replaces_a_cancelled_one_is_no_second_use() -> None:
    till = Till()
    issues = till.visit(30)
    till.tell(issues, order_id="o1", discount_minor=MOST)
    till.tell(issues, "cancel", order_id="o1")
    till.tell(issues, order_id="o2", discount_minor=150)
    assert (till.booked, till.count("used_again")) == (1_500, 0)


def test_a_report_changes_the_order_that_it_names() -> None:
    till = Till()
    [issue] = till.visit(1)
    till.tell([issue], order_id="o1", discount_minor=100)
    till.tell([issue], order_id="o2", discount_minor=80)
    till.tell([issue], "refund", order_id="o1", discount_minor=30)
    till.tell([issue], "cancel", order_id="o2")
    assert till.booked == 30


def test_of_many_orders_the_oldest_are_merged_and_stay_booked() -> None:
    shopper, catalogue, rules = Shopper(), knowledge(coupon("c1")).catalogue, builders.rules()
    shopper.open_issue(opened(), catalogue.by_id)
    orders = [f"o{n}" for n in range(3 * MAX_USES)]
    for n, order_id in enumerate(orders):
        used = builders.feedback("purchase", "i1", AT + n, order_id, order_id=order_id, discount_minor=10)
        attribution.join(shopper, used, catalogue, rules)
    issue = shopper.issue("i1")
    assert (len(issue.uses), issue.spent_minor, issue.has_sold) == (MAX_USES, 10 * len(orders), True)
    for order_id in orders[-MAX_USES + 1 :]:
        cancelled = builders.feedback("cancel", "i1", AT + HOUR_S, f"c-{order_id}", order_id=order_id)
        attribution.join(shopper, cancelled, catalogue, rules)
    issue = shopper.issue("i1")
    assert (len(issue.uses), issue.spent_minor, issue.redeemed) == (MAX_USES, 10 * (2 * MAX_USES + 1), True)


# ---------------------------------------------------------------- late reports


def test_what_was_used_in_time_and_reported_after_the_grace_is_booked() -> None:
    till = Till(budget_minor=20_000)
    issues = till.visit(57)
    till.wait(CLOSED_S)
    assert till.money.committed == 0
    for issue in issues:
        till.tell([issue], at=issue.issued_at + 6 * DAY_S, discount_minor=MOST)
    assert (till.booked, till.money.committed, till.refused()) == (11_400, 11_400, set())
    assert (till.count("used_late"), till.count("not_booked")) == (57, 0)


def test_late_reports_overspend_a_budget_whose_money_was_given_again() -> None:
    till = Till()
    first = till.visit(30)
    till.wait(CLOSED_S)
    till.tell(till.visit(30, "second-"), discount_minor=MOST)
    till.tell(first, discount_minor=MOST)
    assert (till.booked, till.money.available) == (2 * BUDGET, -BUDGET)


def test_a_late_report_corrects_what_was_booked_in_time() -> None:
    till = Till()
    issues = till.visit(30)
    till.tell(issues, discount_minor=MOST)
    till.wait(CLOSED_S)
    till.tell(issues, "refund", discount_minor=50)
    assert (till.booked, till.money.committed, till.count("used_late")) == (500, 500, 0)
    till.tell(issues, "cancel")
    assert (till.booked, till.money.committed) == (0, 0)


def test_a_late_report_teaches_nothing() -> None:
    till = Till()
    issues = till.visit(3)
    till.wait(CLOSED_S)
    learnt = till.shop.messages(TrainingExample)
    till.tell(issues, at=issues[0].issued_at + DAY_S, discount_minor=MOST)
    till.wait(CLOSED_S)
    assert till.shop.messages(TrainingExample) == learnt


def test_a_report_that_is_too_late_to_be_booked_is_refused_and_counted() -> None:
    shopper, catalogue, rules = (
        Shopper(),
        knowledge(coupon("c1")).catalogue,
        builders.rules(attribution=AttributionRules(late_s=DAY_S)),
    )

    def close(issue_id: str, at: float) -> None:
        given = opened(issue_id=issue_id, at=at)
        shopper.open_issue(given, catalogue.by_id)
        attribution.close_windows("u", shopper, given.expires_at, catalogue, rules)

    def tell(issue_id: str, kind: str = "purchase") -> tuple[list[str], list[tuple[str, str]]]:
        effects = attribution.join(shopper, builders.feedback(kind, issue_id, AT + DAY_S), catalogue, rules)
        return [refused.reason.value for refused in effects.refused], effects.facts

    close("old", AT)
    close("new", AT + DAY_S - 1.0)
    assert tell("old") == ([], [("feedback", "used_late")])
    close("newer", AT + DAY_S)
    assert tell("old") == (["late"], [("feedback", "not_booked")])
    assert tell("old", "cancel") == (["late"], [])
    assert tell("new") == ([], [("feedback", "used_late")])


def test_few_closed_issues_are_kept_for_late_reports() -> None:
    shopper, catalogue, rules = Shopper(), knowledge(coupon("c1")).catalogue, builders.rules()
    for n in range(MAX_CLOSED_ISSUES + 3):
        shopper.open_issue(opened(issue_id=f"i{n}", numeric=b"n" * 500, hashed=b"h" * 500), catalogue.by_id)
        attribution.close_windows("u", shopper, AT + CLOSED_S, catalogue, rules)
    assert list(shopper.closed_issues) == [f"i{n}" for n in range(3, MAX_CLOSED_ISSUES + 3)]
    assert max(len(packed) for _, packed in shopper.closed_issues.values()) < 250


# ---------------------------------------------------------------- reports of the future


def test_a_report_of_the_future_does_not_outdate_the_true_ones() -> None:
    till = Till()
    issues = till.visit(30)
    till.tell(issues, ahead_s=20 * HOUR_S, discount_minor=0)
    till.tell(issues, discount_minor=MOST)
    assert (till.booked, till.count("outdated"), till.refused()) == (BUDGET, 0, {"from_the_future"})
    assert "expected 300 at most" in till.shop.dead_letters[0]["detail"]


def test_a_report_may_be_some_minutes_ahead() -> None:
    till = Till()
    issues = till.visit(30)
    till.tell(issues, ahead_s=299.0, discount_minor=MOST)
    assert (till.booked, till.refused()) == (BUDGET, set())


# ---------------------------------------------------------------- what is held stays held


@pytest.mark.parametrize(("hold", "most_taken"), [("maximum", 1.0), ("quantile", 1.25)])
def test_a_first_report_of_0_frees_nothing_for_others(hold: BudgetHold, most_taken: float) -> None:
    till = Till(hold)
    issues = list(answer_with_0(till))
    till.tell(issues, discount_minor=MOST)
    assert till.booked == MOST * len(issues)
    assert till.booked <= most_taken * BUDGET


@pytest.mark.parametrize(("hold", "most_taken"), [("maximum", 1.0), ("quantile", 1.25)])
def test_a_storm_of_cancellations_frees_nothing_for_others(hold: BudgetHold, most_taken: float) -> None:
    till = Till(hold)
    issues = list(answer_with_0(till))
    till.tell(issues, "cancel")
    till.wait(60.0)
    issues += till.visit(40, "more-")
    till.tell(issues, discount_minor=MOST)
    assert till.booked == MOST * len(issues)
    assert till.booked <= most_taken * BUDGET


def test_a_refund_that_raises_what_is_spent_is_refused_and_counted() -> None:
    till = Till()
    issues = till.visit(30)
    till.tell(issues, discount_minor=10)
    till.tell(issues, "refund", discount_minor=MOST)
    assert (till.booked, till.count("refund_raises"), till.refused()) == (100, 10, {"invalid"})
    till.tell(issues, "refund", order_id="unheard-of", discount_minor=5)
    assert (till.booked, till.count("refund_raises")) == (100, 20)

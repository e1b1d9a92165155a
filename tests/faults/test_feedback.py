"""Feedback that comes before its issue, again and again, when its window has closed, and from somebody else."""

from pathlib import Path
from typing import Any

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.decision.pipeline import KINDS, issue_id
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.money.accounts import money_of
from stream_coupons.kafka import topics
from tests.integration.builders import DAY_S, IDLE_WITHIN_S, total, wait_until

from .trial import Trial, purses, settings_under_faults, trial, valid

pytestmark = pytest.mark.kafka

WAITS_S = 12 * 3600.0
# The shop lives until enough was told too early, at most so long.
DAYS = 20
ENOUGH = 40
STEP_S = 3600.0


class Feedback:
    """What the shop's own feedback system sends besides that of the shoppers.

    Attributes
    ----------
    early : set of str
        Issues that were told of before they were made, if they ever were.
    refused : set of str
        Events that must come to nothing.
    """

    def __init__(self, running: Trial) -> None:
        self._running = running
        self._answered: set[str] = set()
        self.early: set[str] = set()
        self.refused: set[str] = set()
        self.sent = 0

    def tell(self, kind: Any, issue: str, user_id: str, at: float, event_id: str = "", refused_as: str = "") -> None:
        """One piece of feedback."""
        self.sent += 1
        about: dict[str, Any] = {"user_id": user_id, "occurred_at": at, "issue_id": issue, "order_id": issue}
        event = FeedbackEvent(event_id=event_id or f"extra-{self.sent}", kind=kind, **about)
        self._running.send(topics.FEEDBACK, event)
        if refused_as:
            self.refused.add(event.event_id)
            self._running.refused[topics.FEEDBACK.name, refused_as] += 1

    def tell_early(self, events: list[tuple[str, Any]]) -> None:
        """Of every other trigger, and of one that never comes: that its coupon was used, before it is decided on."""
        triggers = [event for topic, event in events if topic in (topics.BROWSE.name, topics.CART.name)]
        for event in triggers[::2]:
            for event_id in (event.event_id, f"never-{event.event_id}"):
                identity = issue_id(event.user_id, KINDS[type(event)], event_id)
                self.early.add(identity)
                self.tell("purchase", identity, event.user_id, event.occurred_at)

    def answer(self, now: float) -> None:
        """Of the issues that have come: used, told thrice; and used by somebody else."""
        for number, issue in enumerate(self._running.issues.values()):
            if issue.issue_id in self._answered:
                continue
            self._answered.add(issue.issue_id)
            if number % 3 == 0:
                for event_id in ("", "again", "again"):
                    self.tell("purchase", issue.issue_id, issue.user_id, now, event_id and f"again-{issue.issue_id}")
            elif number % 3 == 1:
                self.tell("purchase", issue.issue_id, f"thief-{number}", now, refused_as="unknown_issue")


def test_a_coupon_is_spent_once_whatever_is_said_of_it_and_when(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int
) -> None:
    settings = settings_under_faults(early_feedback_s=WAITS_S, max_issues_per_window=20)
    with trial(empty_broker, tmp_path, seed, settings, days=DAYS) as running:
        feedback, world = Feedback(running), running.world
        while world.now < world.ends_at and len(feedback.early & set(running.issues)) < ENOUGH:
            events = world.advance(world.now + STEP_S)
            feedback.tell_early(events)
            running.flush()
            for topic, event in events:
                running.send(topics.BY_NAME[topic], event)
            running.tick(world.now)
            running.hand_out()
            feedback.answer(world.now)

        close_all_windows(running)
        issued = {issue.issue_id for issue in valid(running.system, topics.ISSUES)}
        joined, forged = feedback.early & issued, feedback.early - issued
        assert min(len(joined), len(forged)) >= ENOUGH, "nothing was told too early: this test tested nothing"
        running.refused[topics.FEEDBACK.name, "unknown_issue"] += len(forged)
        late = list(running.issues.values())[:50]
        for issue in late:
            feedback.tell("click", issue.issue_id, issue.user_id, world.now, refused_as="late")
        running.flush()

        running.check()
        running.check_sums()
        check_money(running, joined, feedback.refused)


def close_all_windows(running: Trial) -> None:
    """Let a year pass."""
    running.system.wait_idle(IDLE_WITHIN_S)
    running.tick(running.world.now + 366 * DAY_S)
    running.system.wait_idle(IDLE_WITHIN_S)
    running.hand_out()


def check_money(running: Trial, joined: set[str], refused: set[str]) -> None:
    """Every issue has one end; what budgets have left is what was not spent."""
    issues: dict[str, CouponIssue] = {one.issue_id: one for one in valid(running.system, topics.ISSUES)}
    purchases = [one for one in valid(running.system, topics.FEEDBACK) if one.kind == "purchase"]
    used = {one.issue_id for one in purchases if one.event_id not in refused} & set(issues)
    redeemed, expired = (total(running.system, "coupons_ended_total", outcome=end) for end in ("redeemed", "expired"))
    assert joined <= used
    assert redeemed == len(used)
    assert redeemed + expired == len(issues)
    assert expired >= 10
    budgets = {one.coupon_id: one.budget_minor for one in running.world.catalogue() if one.budget_minor is not None}
    assert budgets
    money = {coupon_id: purses(running.system, money_of(coupon_id)) for coupon_id in budgets}
    for coupon_id, purse in money.items():
        assert purse.committed == purse.spent - purse.refunded, coupon_id
    spent = sum(purse.committed for purse in money.values())
    wait_until(
        lambda: total(running.system, "budget_remaining_minor") == sum(budgets.values()) - spent,
        f"{sum(budgets.values()) - spent} left of all budgets, all money that is not spent given back",
        within_s=10,
    )

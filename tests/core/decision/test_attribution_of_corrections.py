"""Purchases, refunds and cancellations: of each order, the latest report says what a coupon has taken."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.decision import attribution
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.rows import SCHEMA
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.money.purses import Purse, book
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.state import OpenIssue, Shopper
from stream_coupons.testing import coupon
from tests.core.builders import AT, DAY_S, HOUR_S, changes, feedback, knowledge, of_type, opened, opening
from tests.core.builders import rules as every_rule

RULES = AttributionRules(early_feedback_s=DAY_S, grace_s=DAY_S)
KNOWN = knowledge(coupon("c1", categories=["tea"], kind="percent", max_discount_minor=500))
UNTIL, CLOSED = AT + 7 * DAY_S, AT + 8 * DAY_S
HOLDS = {"the most": 500, "a share of a quantile": 120}


class Case:
    """A shopper with one coupon of up to 500, and the purse that it draws on."""

    def __init__(self, **about: Any) -> None:
        row = {"numeric": b"\0\0\0\0", "hashed": b"\0\0\0\0", "feature_schema": SCHEMA}
        self.given = opened(**({"held_minor": 500, "most_minor": 500} | row | about))
        self.shopper = Shopper()
        self.purse = Purse(granted=10_000, max_overspend_ratio=float("inf"))
        self.facts: list[tuple[str, str]] = []
        self.examples: list[TrainingExample] = []

    def give(self) -> None:
        book(self.purse, opening(self.given))
        effects = Effects()
        self.shopper.open_issue(self.given, KNOWN.catalogue.by_id)
        attribution.join_early(self.shopper, "i1", KNOWN.catalogue, every_rule(attribution=RULES), effects)
        self.take(effects)

    def take(self, effects: Effects) -> Effects:
        for booking in effects.bookings:
            book(self.purse, booking)
        self.facts += effects.facts
        self.examples += of_type(effects.messages, TrainingExample)
        return effects

    def hear(self, *events: FeedbackEvent) -> list[tuple[int, int]]:
        """Take in feedback; changes of what is held and spent."""
        rules = every_rule(attribution=RULES)
        heard = [self.take(attribution.join(self.shopper, event, KNOWN.catalogue, rules)) for event in events]
        return [change for effects in heard for change in changes(effects.bookings)]

    def close(self) -> None:
        self.take(attribution.close_windows("u", self.shopper, CLOSED, KNOWN.catalogue, every_rule(attribution=RULES)))

    @property
    def issue(self) -> OpenIssue:
        return self.shopper.issue("i1")

    def learnt(self) -> tuple[bool, int]:
        """The label of P(redeem), and what the coupon took off."""
        [example] = [each for each in self.examples if each.head == "redeem"]
        return example.label, example.discount_minor


def said(kind: str, at: float, amount: int | None = None, order_id: str = "o1") -> FeedbackEvent:
    event_id = f"{kind}-{at}-{amount}-{order_id}"
    return feedback(kind, "i1", at, event_id, discount_minor=amount, order_id=order_id)


def taken_by(event: FeedbackEvent) -> int:
    """What the coupon has taken off its order if this report counts."""
    if event.kind == "cancel":
        return 0
    absent = 500 if event.kind == "purchase" else 0
    return min(absent if event.discount_minor is None else event.discount_minor, 500)


def counting(events: list[FeedbackEvent]) -> dict[str, FeedbackEvent]:
    """The report that counts of each order: the latest one, but no refund that leaves more than there was."""
    found: dict[str, FeedbackEvent] = {}
    for event in events:
        order_id = event.order_id or ""
        known = found.get(order_id)
        if known is not None and event.occurred_at < known.occurred_at:
            continue
        if event.kind != "refund" or taken_by(event) <= (0 if known is None else taken_by(known)):
            found[order_id] = event
    return found


def placed(events: list[FeedbackEvent]) -> set[str]:
    """Return the orders that were not cancelled, by their latest reports that are no full refunds."""
    found: dict[str, FeedbackEvent] = {}
    for number, event in enumerate(events):
        order_id = event.order_id or ""
        counts = counting(events[: number + 1]).get(order_id) is event
        if event.kind == "refund" and not (counts and taken_by(event)):
            continue
        if order_id not in found or event.occurred_at >= found[order_id].occurred_at:
            found[order_id] = event
    return {order_id for order_id in counting(events) if order_id not in found or found[order_id].kind != "cancel"}


reports = st.lists(
    st.tuples(
        st.sampled_from(["purchase", "purchase", "refund", "cancel"]),
        st.sampled_from([AT, AT + HOUR_S, AT + 3 * DAY_S, UNTIL, UNTIL + HOUR_S, CLOSED - 1]),
        st.none() | st.sampled_from([0, 30, 200, 500, 9000]),
        st.sampled_from(["o1", "o1", "o2", "o3"]),
    ),
    min_size=1,
    max_size=6,
)


def taken_in(events: list[FeedbackEvent]) -> list[FeedbackEvent]:
    """The reports that are not refused."""
    return [event for n, event in enumerate(events) if event.kind != "refund" or is_fine(event, events[:n])]


def is_fine(refund: FeedbackEvent, before: list[FeedbackEvent]) -> bool:
    known = counting(before).get(refund.order_id or "")
    left = 0 if known is None else taken_by(known)
    return taken_by(refund) <= left or (known is not None and refund.occurred_at < known.occurred_at)


def sorted_uses(issue: OpenIssue) -> OpenIssue:
    """An issue whose orders are told apart by what they are, not by which came first."""
    issue.uses.sort(key=lambda use: use.order)
    return issue


@settings(max_examples=400, derandomize=True)
@given(reports, st.integers(0, 6), st.integers(0, 6), st.sampled_from(list(HOLDS)))
def test_any_reports_in_any_order_end_in_what_the_latest_one_says(
    told: list[tuple[str, float, int | None, str]], early: int, late: int, hold: str
) -> None:
    case, every = Case(held_minor=HOLDS[hold]), [said(*each) for each in told]
    events = every[: len(every) - late]
    case.hear(*events[:early])
    case.give()
    case.hear(*events[early:])
    counts = counting(events)
    spent = sum(map(taken_by, counts.values()))
    is_redeemed = bool(placed(events))
    issue, purse = case.issue, case.purse
    assert (issue.redeemed, issue.spent_minor) == (is_redeemed, spent)
    assert purse.spent - purse.refunded == spent
    assert issue.is_falling or purse.committed == max(spent, HOLDS[hold]), "no report frees what is held"
    history = case.shopper.history
    tallies = history.by_coupon["c1"], history.by_category["tea"], history.by_kind["percent"]
    assert {history.redeemed, *(tally.redeemed for tally in tallies)} == {int(is_redeemed)}
    case.close()
    assert (purse.committed, purse.falling_held) == (spent, 0)
    in_time = {event.order_id for event in taken_in(events) if event.kind != "cancel" and event.occurred_at <= UNTIL}
    assert case.learnt() == (bool(placed(events) & in_time), spent)
    case.hear(*every[len(events) :])
    spent = sum(map(taken_by, counting(every).values()))
    assert (purse.spent - purse.refunded, purse.committed, purse.falling_held) == (spent, spent, 0)


@pytest.mark.parametrize("hold", HOLDS)
def test_every_order_of_the_same_reports_ends_in_the_same_state(hold: str) -> None:
    events = [
        said("purchase", UNTIL - DAY_S, 100),
        said("cancel", UNTIL - HOUR_S),
        said("purchase", UNTIL + HOUR_S, 300),
        said("purchase", UNTIL + 2 * HOUR_S, 200),
        said("purchase", UNTIL + 2 * HOUR_S, 70, "o2"),
        said("refund", UNTIL + 3 * HOUR_S, None, "o2"),
    ]
    ends = set()
    for order in itertools.permutations(events):
        case = Case(held_minor=HOLDS[hold])
        case.give()
        case.hear(*order)
        case.shopper.keep_issue(sorted_uses(case.issue))
        shopper = msgspec.msgpack.encode(case.shopper)
        case.close()
        ends.add((shopper, case.purse.spent - case.purse.refunded, case.purse.committed, case.learnt()))
    [(_, spent, committed, learnt)] = ends
    assert (spent, committed, learnt) == (200, 200, (True, 200))


@pytest.mark.parametrize("hold", HOLDS)
def test_a_purchase_of_nothing_that_is_corrected_is_spent(hold: str) -> None:
    """A shop may report a purchase before it knows what the coupon took off."""
    case = Case(held_minor=HOLDS[hold])
    case.give()
    case.hear(said("purchase", AT + HOUR_S, 0))
    assert (case.purse.spent, case.purse.committed) == (0, HOLDS[hold]), "more of it may be reported"
    case.hear(said("purchase", AT + 2 * HOUR_S, 200))
    assert (case.purse.spent, case.purse.committed) == (200, max(HOLDS[hold], 200))
    case.close()
    assert (case.purse.spent, case.purse.committed) == (200, 200)
    assert [kind for noun, kind in case.facts if noun == "feedback"] == ["purchase", "corrected"]


def test_what_a_redemption_leaves_of_the_hold_stays_held_until_the_window_closes() -> None:
    case = Case()
    case.give()
    told = (
        said("purchase", AT + 1, 200),
        said("purchase", AT + 2, 480),
        said("refund", AT + 3, 50),
        said("cancel", AT + 4),
    )
    assert case.hear(*told) == [(-300 + 100, 200), (-280, 280), (430, -430), (50, -50)]
    assert case.purse.committed == 500
    case.close()
    assert case.purse.committed == 0


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_an_order_that_is_cancelled_and_paid_back_is_no_use(order: tuple[int, ...]) -> None:
    told = said("purchase", AT + 1, 200), said("cancel", AT + 2), said("refund", AT + 3)
    case = Case()
    case.give()
    case.hear(*(told[number] for number in order))
    assert (case.issue.redeemed, case.issue.spent_minor, case.shopper.history.redeemed) == (False, 0, 0)
    case.close()
    assert case.learnt() == (False, 0)


def test_a_coupon_whose_order_was_cancelled_can_be_used_again() -> None:
    case = Case()
    case.give()
    told = said("purchase", AT + 1, 200), said("cancel", AT + 2), said("purchase", AT + 3, 300)
    assert case.hear(*told) == [(-200, 200), (200, -200), (-300, 300)]
    case.close()
    assert case.learnt() == (True, 300)


def test_a_cancelled_coupon_that_is_not_used_again_was_not_redeemed() -> None:
    case = Case()
    case.give()
    case.hear(said("purchase", AT + 1, 200), said("cancel", AT + 2))
    case.close()
    assert (case.learnt(), case.shopper.history.redeemed) == ((False, 0), 0)
    assert case.facts[-1] == ("end", "expired")


def test_reports_are_counted_by_what_they_change() -> None:
    case = Case()
    case.give()
    case.hear(
        said("purchase", AT + 10, 200),
        said("purchase", AT + 20, 200),
        said("purchase", AT + 30, 9000),
        said("purchase", AT + 5, 100),
        said("refund", AT + 40),
        said("cancel", AT + 50),
    )
    assert [kind for noun, kind in case.facts if noun == "feedback"] == [
        "purchase",
        "repeated",
        "corrected",
        "outdated",
        "refund",
        "cancel",
    ]
    assert case.facts.count(("overrun", "ecommerce")) == 1


@pytest.mark.parametrize("kind", ["purchase", "refund", "cancel"])
def test_what_becomes_of_a_coupon_of_others_is_no_money_of_ours(kind: str) -> None:
    case = Case(observed=True, held_minor=0, most_minor=0)
    case.shopper.open_issue(case.given, KNOWN.catalogue.by_id)
    assert case.hear(said("purchase", AT + 1, 5000), said(kind, AT + 2, 70)) == []
    assert case.issue.spent_minor == (0 if kind == "cancel" else 70)

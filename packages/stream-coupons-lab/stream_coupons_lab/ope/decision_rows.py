"""Decisions on record as rows, one for each arm, joined with what the shopper did after.

Decisions are many and long, so they pass through: their rows are written in batches. What is kept in memory is the
outcomes: orders, feedback, and a few figures of each coupon given.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.ops.topic_log import TopicLog
from stream_coupons_lab.ope.own_decisions import is_withheld, probabilities
from stream_coupons_lab.ope.own_log import NO_MONEY, OutcomeLog

READ_FIRST = (topics.CATALOG, topics.ISSUES, topics.ORDER, topics.FEEDBACK)
"""The topics that outcomes are read from, before the decisions."""
ROWS_AT_ONCE = 50_000
"""Rows of a batch, which is a row group of a Parquet file."""


class DecisionRow(NamedTuple):
    """One arm of one decision. Money is in minor units."""

    decision_id: str
    """Identifies the decision; its coupon-issue, if there is one, has the same id."""
    user_id: str
    """The shopper."""
    domain: str
    """Domain of the decision."""
    decided_at: datetime
    """Time of the trigger."""
    trigger_id: str
    """The `event_id` that led to the decision."""
    result: str
    """Result of the decision: `given`, or the reason why no coupon was given."""
    is_holdout: bool
    """True if the shopper belongs to the permanent control group."""
    model_version: int
    """Version of the model that scored the arms."""
    logged_ratio: float
    """Share of all decisions that are on record: weight a decision by its inverse."""
    sold_out: int
    """Number of coupons that were eligible, but are no arms because they had no stock or money left."""
    arm: str
    """The coupon of the arm, or `none`: giving no coupon."""
    value_minor: float
    """Expected gain of the arm over giving none; 0 for `none`."""
    price_minor: float
    """Price of the arm's expected cost by its budgets; 0 for `none`."""
    propensity: float | None
    """Probability of the arm by the policy that decided; missing where no policy would give a coupon: in the holdout,
    and by the result `lift_below_zero`."""
    is_best: bool
    """True for the arm that is given without exploration."""
    is_explored: bool
    """True for the arm that exploration drew."""
    is_given: bool
    """True for the arm that was given. All columns below are missing for the others."""
    p_click: float | None = None
    """Predicted probability of a click; missing for `none`."""
    p_redeem: float | None = None
    """Predicted probability that the coupon is used; missing for `none`."""
    p_order: float | None = None
    """Predicted probability of an order in the coupon's scope without it; missing for `none`."""
    clicked: bool | None = None
    """True if a click on the coupon was reported; missing for `none`."""
    redeemed: bool | None = None
    """True if the coupon was used and its order not cancelled; missing for `none`."""
    discount_minor: float | None = None
    """Discount that the coupon has taken off in all; missing for `none`."""
    orders: int | None = None
    """Number of the shopper's orders in the domain within the window."""
    order_value_minor: float | None = None
    """Value of these orders, before any discount."""
    margin_minor: float | None = None
    """Margin of these orders, less all discounts by coupons within the window: the outcome that `ope` values."""
    window_ends_at: datetime | None = None
    """End of the window, which is equally long after all decisions."""
    is_final: bool | None = None
    """True if events later than the window were read; False: outcomes may be missing."""


class IssuedCoupon(NamedTuple):
    """A coupon that was given, and the predictions for it."""

    coupon_id: str
    p_click: float
    p_redeem: float
    p_order: float


class DecisionOutcomes(OutcomeLog):
    """Orders, feedback and issues that follow decisions; feed it the records of `READ_FIRST` with `take`, in any order.

    Attributes
    ----------
    given : dict of IssuedCoupon
        By issue.
    clicked : set of str
        Issues.
    """

    def __init__(self, rules: PolicyRules) -> None:
        super().__init__(READ_FIRST, rules)
        self.given: dict[str, IssuedCoupon] = {}
        self.clicked: set[str] = set()

    def note(self, message: Any) -> None:
        """Take one message."""
        if isinstance(message, CouponIssue):
            self.given[message.issue_id] = IssuedCoupon(
                message.coupon_id, message.p_click, message.p_redeem, message.p_order
            )
            self.saw(message.issued_at)
        elif isinstance(message, FeedbackEvent) and message.kind == "click":
            self.clicked.add(message.issue_id)
        super().note(message)

    def coupon_of(self, issue_id: str) -> str:
        """Return the coupon of an issue; empty if it is not on record."""
        given = self.given.get(issue_id)
        return given.coupon_id if given is not None else ""


class DecisionRows(TopicLog):
    """Rows of decisions; feed it the records of the topic `decisions` with `take`, then `flush`. Copies count once.

    Parameters
    ----------
    outcomes : DecisionOutcomes
        Has read everything.
    write : callable
        Receives the rows in batches.
    since : float
        Time of the first decision that counts, UTC epoch seconds.
    window_s : float, optional
        Time after a decision in which orders count, seconds; by default the longest in which a coupon can be used.

    Attributes
    ----------
    decisions, rows : int
        Numbers so far.

    Raises
    ------
    BadConfig
        If no coupon was read.
    """

    def __init__(
        self,
        outcomes: DecisionOutcomes,
        write: Callable[[list[DecisionRow]], None],
        since: float,
        window_s: float | None = None,
    ) -> None:
        super().__init__([topics.DECISIONS])
        self.decisions = self.rows = 0
        self._outcomes = outcomes
        self._money = outcomes.money()
        self._discounts: dict[str, float] = {}
        for one in outcomes.discounts():
            self._discounts[one.issue_id] = self._discounts.get(one.issue_id, 0.0) + one.minor
        self._window_s = window_s or max(coupon.redeem_within_s for coupon in outcomes.coupons.values())
        self._since = since
        self._write = write
        self._batch: list[DecisionRow] = []
        self._seen: set[int] = set()
        """Hashes of the decisions so far: 64 bits, which no two of a billion are likely to share."""

    def note(self, message: LoggedDecision) -> None:
        """Take one decision."""
        mark = hash(message.decision_id)
        if message.at < self._since or mark in self._seen:
            return
        self._seen.add(mark)
        self._batch += self.rows_of(message)
        self.decisions += 1
        if len(self._batch) >= ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are left."""
        if self._batch:
            self._write(self._batch)
        self.rows += len(self._batch)
        self._batch = []

    def rows_of(self, one: LoggedDecision) -> Iterator[DecisionRow]:
        """Yield the rows of a decision: its arms, and last giving none."""
        about = (
            one.decision_id, one.user_id, one.domain, _utc(one.at), one.trigger_id, one.result, one.is_holdout,
            one.model_version, one.logged_ratio, len(one.sold_out),
        )  # fmt: skip
        found = [None] * (len(one.arms) + 1) if is_withheld(one) else probabilities(one)
        best = len(one.arms) if one.best is None else one.best
        for place, arm in enumerate((*one.arms, NO_COUPON)):
            is_coupon = place < len(one.arms)
            row = DecisionRow(
                *about,
                arm=arm,
                value_minor=one.values_minor[place] if is_coupon else 0.0,
                price_minor=one.prices_minor[place] if is_coupon and one.prices_minor else 0.0,
                propensity=found[place],
                is_best=place == best,
                is_explored=place == one.drawn,
                is_given=arm == one.coupon_id,
            )
            yield row._replace(**self._outcome(one)) if row.is_given else row

    def _outcome(self, one: LoggedDecision) -> dict[str, Any]:
        """Return the columns of what came after a decision."""
        until = one.at + self._window_s
        money = self._money.get((one.user_id, one.domain), NO_MONEY).between(one.at, until)
        found: dict[str, Any] = {
            "orders": int(money.orders),
            "order_value_minor": money.value_minor,
            "margin_minor": money.margin_minor,
            "window_ends_at": _utc(until),
            "is_final": until <= self._outcomes.ends_at,
        }
        if one.coupon_id != NO_COUPON:
            discount = self._discounts.get(one.decision_id)
            found |= {
                "clicked": one.decision_id in self._outcomes.clicked,
                "redeemed": discount is not None,
                "discount_minor": discount or 0.0,
            }
            if (given := self._outcomes.given.get(one.decision_id)) is not None:
                found |= {"p_click": given.p_click, "p_redeem": given.p_redeem, "p_order": given.p_order}
        return found


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)

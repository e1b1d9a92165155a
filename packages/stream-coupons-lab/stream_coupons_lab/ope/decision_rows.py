"""Decisions on record as rows, one for each arm, joined with what the shopper did after.

Decisions are many and long, so they pass through: their rows are written in batches. What is kept in memory is the
outcomes: orders, feedback, and a few figures of each coupon given.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.kafka import topics
from stream_coupons.ops.topic_log import TopicLog
from stream_coupons_lab.ope.own_decisions import is_withheld, probabilities
from stream_coupons_lab.ope.own_log import NO_MONEY, OutcomeLog

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


WriteRows = Callable[[list[DecisionRow]], None]


class DecisionRows(TopicLog):
    """Rows of decisions; feed it the records of the topic `decisions` with `take`, then `flush`. Copies count once.

    Parameters
    ----------
    outcomes : OutcomeLog
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

    def __init__(self, outcomes: OutcomeLog, write: WriteRows, since: float, window_s: float | None = None) -> None:
        super().__init__([topics.DECISIONS])
        self.decisions = self.rows = 0
        self._outcomes = outcomes
        self._money = outcomes.money()
        self._discounts: defaultdict[str, float] = defaultdict(float)
        for one in outcomes.discounts():
            self._discounts[one.issue_id] += one.minor
        longest = max(coupon.redeem_within_s for coupon in outcomes.coupons.values())
        self._window_s = longest if window_s is None else window_s
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
        none = len(one.arms)
        best = none if one.best is None else one.best
        propensities = [None] * (none + 1) if is_withheld(one) else probabilities(one)
        prices = one.prices_minor or [0.0] * none
        columns = (*one.arms, NO_COUPON), (*one.values_minor, 0.0), (*prices, 0.0), propensities
        for place, of_arm in enumerate(zip(*columns, strict=True)):
            row = DecisionRow(*about, *of_arm, place == best, place == one.drawn, of_arm[0] == one.coupon_id)
            yield self._with_outcome(row, one) if row.is_given else row

    def _with_outcome(self, row: DecisionRow, one: LoggedDecision) -> DecisionRow:
        """Return the row of the arm that was given with what came after."""
        until, money = one.at + self._window_s, self._money.get((one.user_id, one.domain), NO_MONEY)
        brought = money.between(one.at, until)
        row = row._replace(
            orders=int(brought.orders),
            order_value_minor=brought.value_minor,
            margin_minor=brought.margin_minor,
            window_ends_at=_utc(until),
            is_final=until <= self._outcomes.ends_at,
        )
        if one.coupon_id == NO_COUPON:
            return row
        *_, p_click, p_redeem, p_order = self._outcomes.given.get(one.decision_id, (None,) * 5)
        return row._replace(
            p_click=p_click,
            p_redeem=p_redeem,
            p_order=p_order,
            clicked=one.decision_id in self._outcomes.clicked,
            redeemed=one.decision_id in self._discounts,
            discount_minor=self._discounts.get(one.decision_id, 0.0),
        )


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)

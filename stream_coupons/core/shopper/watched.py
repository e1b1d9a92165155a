"""Scopes of coupons in which the orders of a shopper are watched: control observations, and the visit."""

from typing import ClassVar, Generic, TypeVar

from msgspec import Struct

from stream_coupons.core.messages.learning import OnView

Predicted = tuple[float, float, float]
"""P(click), P(redeem), P(order in the coupon's scope without a coupon)."""
VISIT_GRACE_S = 600.0
"""Time for which a visit waits for its orders."""
Probabilities = TypeVar("Probabilities")


class WatchedScope(Struct, Generic[Probabilities], array_like=True):
    """A decision, the coupon whose scope is watched after it, and whether the shopper orders there."""

    issue_id: str
    """The id of the decision."""
    coupon_id: str
    domain: str
    at: float
    until: float
    """End of the time in which an order is a yes; it closes some time later, for orders that are late."""
    numeric: bytes
    hashed: bytes
    predicted: Probabilities
    """One for each outcome, in the order of `scoring.LABELS`."""
    model_version: int
    ordered: bool = False
    """True if the shopper ordered in the coupon's scope up to `until`."""
    feature_schema: str = ""
    """Feature space of the row, as in `OpenIssue`."""
    scope_mark: int = 0
    """Mark of the coupon's scope at that time; 0 if the catalogue did not have the coupon."""
    order_value_minor: int = 0
    """Value of all orders in its scope up to `until`, before any discount."""
    spent_minor: ClassVar[int] = 0
    propensity: ClassVar[None] = None
    observed: ClassVar[bool] = False
    """Constants shared with issues: the decision was ours, and the coupon does not count as given."""


class OpenControl(WatchedScope[Predicted]):
    """A control observation: a coupon that was the best but was not given, and whether the shopper orders without it.

    The comparison group of uplift (Johnson, Lewis, Nubbemeyer 2017: Ghost ads).
    """

    withheld: bool = False
    """True if it would have been given, but for the holdout."""


class OpenVisit(WatchedScope[tuple[float, float, float, float]]):
    """A visit in which a decision was made: whether its coupon was given does not matter."""

    on_view: OnView | None = None
    """The item on view, if its category and price are known."""
    withheld: ClassVar[bool] = False

    @property
    def closes_at(self) -> float:
        """Time by which the orders of the visit are known."""
        return self.until + VISIT_GRACE_S

"""State of the visit that a shopper is in."""

from typing import ClassVar

from msgspec import Struct

VISIT_GRACE_S = 600.0
"""Time for which a visit waits for its orders."""


class OpenVisit(Struct, array_like=True):
    """A visit in which a decision was made, and whether the shopper orders in the scope of one coupon within it."""

    issue_id: str
    """The id of the decision."""
    coupon_id: str
    """The coupon whose scope is watched; whether it was given does not matter."""
    domain: str
    at: float
    until: float
    numeric: bytes
    hashed: bytes
    predicted: float
    """P(order within the visit)."""
    model_version: int
    ordered: bool = False
    feature_schema: str = ""
    scope_mark: int = 0
    order_value_minor: int = 0
    """These as in `OpenControl`."""
    spent_minor: ClassVar[int] = 0
    propensity: ClassVar[None] = None
    observed: ClassVar[bool] = False
    withheld: ClassVar[bool] = False
    """Constants that a visit shares with issues and controls."""

    @property
    def closes_at(self) -> float:
        """Time by which the orders of the visit are known."""
        return self.until + VISIT_GRACE_S

"""Orders that a coupon was used in: few of each issue are kept apart, the others as their sum."""

from msgspec import Struct

from stream_coupons.core.draws import stable_hash

MAX_ORDER_MINOR = 10**9
"""Bound of the value, and of the margin, of one order that is counted: a forged one must not decide for all shoppers.
"""
MAX_USES = 8
"""Orders of one issue that are kept; of more, the oldest are merged into one that no report changes any more."""


class Use(Struct, array_like=True):
    """One order that a coupon was used in, by its latest reports."""

    order: int = 0
    """Hash of the order's id; 0 of merged orders."""
    reported_at: float = 0.0
    """Time of the latest report: it states the discount."""
    minor: int = 0
    """Discount on the order."""
    is_used: bool = False
    """False if the order was cancelled."""
    is_in_time: bool = False
    """True if a report dates the order up to the end of the coupon's validity."""
    value_minor: int = 0
    """Value of the order, minor units; 0 where no report states it, and of a cancelled order."""
    orders: int = 1
    """Number of orders; of merged ones, those that were not cancelled."""
    placed_at: float = 0.0
    """Time of the latest report that is no full refund: it states whether the order was cancelled."""

    @property
    def used_orders(self) -> int:
        """Number of orders that were not cancelled."""
        return self.orders if self.is_used else 0

    @property
    def has_sold(self) -> bool:
        """True if the shopper bought in time and did not cancel."""
        return self.is_used and self.is_in_time


def use_in(uses: list[Use], order_id: str) -> Use:
    """Return the use in an order; a new one, which `keep_use` adds, if none is kept.

    Parameters
    ----------
    uses : list of Use
        Orders of one issue.
    order_id : str
        The order.
    """
    order = stable_hash(order_id)
    return next((use for use in uses if use.order == order), None) or Use(order)


def keep_use(uses: list[Use], use: Use) -> None:
    """Add a use if it is new; the oldest two of more than `MAX_USES` are merged.

    Parameters
    ----------
    uses : list of Use
        Orders of one issue, oldest first; changed in place.
    use : Use
        One of them, or a new one.
    """
    if any(one.order == use.order for one in uses):
        return
    uses.append(use)
    if len(uses) > MAX_USES:
        first, second = uses[:2]
        is_used, is_in_time = first.is_used or second.is_used, first.has_sold or second.has_sold
        value_minor, orders = first.value_minor + second.value_minor, first.used_orders + second.used_orders
        uses[:2] = [Use(0, 0.0, first.minor + second.minor, is_used, is_in_time, value_minor, orders)]

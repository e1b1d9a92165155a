"""The part of a shopper's state by which lift is measured: what was known at the first decision, what came since."""

from msgspec import Struct

from stream_coupons.core.measurement.lift_sums import Row

DAY_S = 86400.0
SHRUNKEN_BY_DAYS = 7.0
"""Days without an order that are added to the time before enrolment, for rates of shoppers who were hardly seen."""


def rate_days(at: float, first_order_at: float | None) -> float:
    """Return the days over which orders before enrolment count, for their rate a day.

    Parameters
    ----------
    at : float
        Time of the enrolment, UTC epoch seconds.
    first_order_at : float or None
        Time of the shopper's first order, if there was one.

    Examples
    --------
    >>> rate_days(3 * 86400.0, 86400.0), rate_days(0.0, None)
    (9.0, 7.0)
    """
    return max(at - (at if first_order_at is None else first_order_at), 0.0) / DAY_S + SHRUNKEN_BY_DAYS


class Followed(Struct, array_like=True):
    """A shopper of the measurement. Money is in hundredths of a minor unit, so that sums are exact.

    Attributes
    ----------
    all_margin, all_orders : int
        Margin and number of all orders known, before and since.
    domain : str
        Domain of the first decision; empty before it.
    period : int
        Period of measurement of that decision.
    cell : int
        Fold and arm, as in `LiftChange`.
    known : tuple of int
        Enrolment, best value, and margin and orders a day before it, in the units of `lift_sums`.
    margin, orders : int
        Outcome since: margin of orders less discounts and the sending of coupons, and number of orders.
    """

    first_order_at: float | None = None
    all_margin: int = 0
    all_orders: int = 0
    domain: str = ""
    period: int = 0
    at: float = 0.0
    cell: int = 0
    known: tuple[int, int, int, int] = (0, 0, 0, 0)
    margin: int = 0
    orders: int = 0

    @property
    def row(self) -> Row:
        """Numbers whose products the shopper adds to the sums."""
        start, best, margin_rate, order_rate = self.known
        crossed = start * margin_rate, start * order_rate
        return (1, start, best, margin_rate, order_rate, *crossed, self.margin, self.orders)

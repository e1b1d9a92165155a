"""Bound on what new shoppers take of an account: ids that cost nothing must not empty a stock within the hour.

An id costs an attacker nothing, and time does. So a shopper is new for `policy.new_for_s` after the first event,
however many events follow. In every hour of the clock, the new shoppers of a partition draw a share of the limit, and
at least one coupon. Other shoppers draw on the account as before.
"""

from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.purses import Purse

HOUR_S = 3600.0
PEAK_HOUR = 3.0
"""Bound of an account's busiest hour over its mean hour, where shoppers are no attackers."""


def hourly_bound(limit: Limit, ratio: float, partitions: int, number: int) -> int | None:
    """Return the most that new shoppers draw in an hour in a partition; None for no bound.

    The share of all partitions is `ratio`, or `PEAK_HOUR` mean hours between start and end of the account if that is
    more: a sale of two hours is meant to be over in two hours.

    Parameters
    ----------
    limit : Limit
        Terms of the account.
    ratio : float
        `policy.new_shopper_ratio`.
    partitions, number : int
        Number of partitions of the shoppers' topics, and the number of this one.

    Examples
    --------
    >>> [hourly_bound(Limit(60, 1), 0.1, 4, number) for number in range(4)]
    [1, 1, 2, 2]
    >>> hourly_bound(Limit(60, 1, starts_at=0.0, ends_at=24 * HOUR_S), 0.1, 1, 0)
    7
    """
    share = max(ratio, PEAK_HOUR * HOUR_S / max(limit.ends_at - limit.starts_at, HOUR_S))
    if limit.most is None or ratio >= 1.0 or share >= 1.0:
        return None
    quanta = int(share * limit.most) // limit.quantum
    return max((quanta + number) // partitions, 1) * limit.quantum


def drawn_by_new(purse: Purse, at: float) -> int:
    """Return the amount that new shoppers drew in the hour of a time; that of the latest hour for an earlier time.

    Parameters
    ----------
    purse : Purse
        One partition's part of an account.
    at : float
        UTC epoch seconds.
    """
    return purse.new_drawn if int(at // HOUR_S) <= purse.new_hour else 0


def draw_for_new(purse: Purse, at: float, amount: int) -> None:
    """Count the draw of a new shopper.

    Parameters
    ----------
    purse : Purse
        Changed in place.
    at : float
        UTC epoch seconds.
    amount : int
        Units of stock, or minor units that the coupon holds.
    """
    hour = int(at // HOUR_S)
    if hour > purse.new_hour:
        purse.new_hour, purse.new_drawn = hour, 0
    purse.new_drawn += amount

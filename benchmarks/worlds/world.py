"""The interface of a simulated shop: events out, coupon issues in, and the true effect of every coupon.

A world owns its shoppers, its catalogue and its time. It knows nothing of the policy that plays it, and the policy
knows nothing of it but the messages that a real shop would send.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.testing import START

DAY_S = 86400.0
AFTER_S = 7 * DAY_S
"""Time after the window of a coupon over which its effect counts, too: a dip, or a habit."""
Floats = NDArray[np.float64]
Events = Generator[Struct, Sequence[CouponIssue], None]


class World(ABC):
    """A simulated shop.

    Parameters
    ----------
    seed : int
        Seed of the shop (products, coupons, classes of shoppers), of its shoppers and of all that they do.
    shoppers : int
        Number of shoppers.
    days : float
        Length of the simulated time.
    draw : int
        Number of the draw of shoppers: worlds that differ in it alone are the same shop with other shoppers.

    Attributes
    ----------
    name : str
        Name on the command line.
    pays : bool
        False if no coupon pays for any shopper: then only the loss counts.
    coupons : sequence of Coupon
        The catalogue as the shop states it: amounts may be missing or wrong. One domain.
    """

    name: ClassVar[str]
    pays: ClassVar[bool] = True
    coupons: Sequence[Coupon]

    def __init__(self, seed: int, shoppers: int = 400, days: float = 21.0, draw: int = 0) -> None:
        self.seed, self.shoppers, self.days, self.draw = seed, shoppers, days, draw
        self.starts_at = START
        self.ends_at = START + days * DAY_S

    @abstractmethod
    def events(self) -> Events:
        """Yield browse, cart, order and feedback events in order of time; receive the issues that each one led to.

        A coupon reaches its shopper at once, within the visit. Its shopper may use it from then on. Orders state the
        item, its category, its price before any discount, and the quantity. A used coupon is reported as feedback
        `purchase` with the discount that was taken, at the time of its order; a coupon that was looked at as `click`.
        """

    @abstractmethod
    def true_values(self, user_id: str, at: float) -> Floats:
        """Return the true effect of giving each coupon to a shopper now, in place of none, minor units, (coupons,).

        The effect is the expected change of the margin of all of the shopper's orders in the whole shop, less all
        discounts taken, from now until `AFTER_S` after the coupon expires, if no further coupon is given. Coupons that
        the shopper holds stay held: a second one of a kind has the effect of a second one.
        Called between two events, for a shopper who has just sent one.
        """

    @abstractmethod
    def margin_without(self) -> float:
        """Return the expected margin of all orders in the time played if no coupon is given, minor units."""

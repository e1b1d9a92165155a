"""Effects of past coupons on a shopper."""

import math
from dataclasses import dataclass, field

from stream_coupons_lab.simulation.behaviour import DAY_S

FATIGUE_S = 3 * DAY_S
BORES_S = 10 * DAY_S


@dataclass(slots=True, eq=False)
class CouponMemory:
    """A shopper's memory of coupons; all of it fades or expires.

    Attributes
    ----------
    persuaded : list[tuple[float, int]]
        Time and category of each order that a coupon caused.
    claimed : set[float]
        Times of own orders that a coupon is used on: one coupon an order.
    """

    persuaded: list[tuple[float, int]] = field(default_factory=list)
    claimed: set[float] = field(default_factory=set)
    _fatigue: float = 0.0
    _received_at: float = -math.inf
    _times: dict[str, int] = field(default_factory=dict)
    _boredom: dict[str, tuple[float, float]] = field(default_factory=dict)
    _kept: list[tuple[float, int]] = field(default_factory=list)

    def fatigue_at(self, at: float) -> float:
        """Coupons received, each fading with time."""
        return self._fatigue * math.exp(-max(0.0, at - self._received_at) / FATIGUE_S)

    def boredom_at(self, coupon_id: str, at: float) -> float:
        """Return how often one coupon was received, each receipt fading with time."""
        level, since = self._boredom.get(coupon_id, (0.0, at))
        return level * math.exp(-max(0.0, at - since) / BORES_S)

    def kept_at(self, at: float) -> list[tuple[float, int]]:
        """Coupons in mind for the next order that fits: (expires_at, row of `CouponTerms`)."""
        return [(expires_at, row) for expires_at, row in self._kept if expires_at > at]

    def receive(self, coupon_id: str, at: float) -> int:
        """Count a coupon; return how often it came before."""
        self._fatigue = self.fatigue_at(at) + 1.0
        self._boredom[coupon_id] = (self.boredom_at(coupon_id, at) + 1.0, at)
        self._received_at = max(self._received_at, at)
        before = self._times.get(coupon_id, 0)
        self._times[coupon_id] = before + 1
        return before

    def keep(self, row: int, at: float, expires_at: float) -> None:
        """Bear a coupon in mind until it expires."""
        self._kept = [*self.kept_at(at), (expires_at, row)]

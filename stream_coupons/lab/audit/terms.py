"""The widest terms of accounts and coupons among the versions that their topics still have."""

from dataclasses import dataclass, field

from stream_coupons.core.messages.catalogue import BudgetHold
from stream_coupons.core.money.accounts import Limit

OVERSPEND_RATIO = 0.05
"""Share of a budget with quantile holds that may be overspent, beside the most that one redemption can cost."""


@dataclass(slots=True)
class WidestTerms:
    """The widest terms of an account among the versions of its coupon or campaign.

    What was given before the oldest of them cannot be judged: it had terms that compaction has dropped.

    Attributes
    ----------
    most : int or None
        None is no limit.
    quanta : set of int
        The most that one coupon may cost, of all versions.
    holds : set
        What coupons hold, by version; None of one without a limit.
    """

    since_ms: int
    most: int | None
    quanta: set[int] = field(default_factory=set)
    holds: set[BudgetHold | None] = field(default_factory=set)

    def widen(self, limit: Limit) -> None:
        """Take in another version."""
        self.most = wider(self.most, limit.most)
        self.quanta.add(limit.quantum)
        self.holds.add(None if limit.most is None else limit.hold)

    @property
    def holds_most(self) -> bool:
        """True if each coupon holds the most that it can cost, by every version."""
        return self.holds == {"maximum"}

    @property
    def most_overspent(self) -> float:
        """The most that may be spent beyond the limit."""
        return 0.0 if self.holds_most else OVERSPEND_RATIO * (self.most or 0) + max(self.quanta)


@dataclass(slots=True)
class Cap:
    """The widest cap among the versions of a coupon."""

    since_ms: int
    max_per_user: int | None


def wider(one: int | None, other: int | None) -> int | None:
    """Return the wider of two limits; None is no limit."""
    return None if one is None or other is None else max(one, other)

"""Results of one coupon in one partition, by the shop's day on which it was given.

Numbers are net: a cancelled order takes its use back. A day takes changes until the last coupon of the day can bring no
more report of money. Then it is final, and is dropped after it was reported.
"""

from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from stream_coupons.core.local_time import local_time
from stream_coupons.core.measurement.totals import PartitionTotal

PREFIX = "results:"
"""Prefix of the keys of coupons, as in `totals.PREFIXES`."""
RESTS_S = 86400.0
"""Time from the last report of a final day until it is dropped: a tick that is applied again repeats its reports."""
MAX_NUMBER = 2**53
"""Bound of each number, as in messages."""


class Numbers(NamedTuple):
    """Numbers of some issues.

    Attributes
    ----------
    given, seen, clicked, used : int
        Coupons. One that is clicked or used is seen.
    uses : int
        Orders that they were used in.
    discount_minor, revenue_minor : int
        Discounts, and values of these orders where feedback states them; minor units.
    """

    given: int = 0
    seen: int = 0
    clicked: int = 0
    used: int = 0
    uses: int = 0
    discount_minor: int = 0
    revenue_minor: int = 0


class GivenTerms(NamedTuple):
    """Terms of a coupon that is given, for the results of its day.

    Attributes
    ----------
    closes_at : float
        Time from which no report about it is booked, UTC epoch seconds.
    """

    campaign_id: str | None
    domain: str
    closes_at: float


class ResultChange(NamedTuple):
    """A change of what the issues of one coupon and day have led to.

    Attributes
    ----------
    day : int
        Day of the issue in the shop's time zone, days since 1970-01-01.
    added : tuple of int
        Change of each number.
    given : GivenTerms or None
        Terms of the coupon if it is given by this change.
    """

    coupon_id: str
    day: int
    added: Numbers
    given: GivenTerms | None = None

    @property
    def key(self) -> str:
        """Key of the coupon's results."""
        return PREFIX + self.coupon_id

    def opening(self) -> "CouponResults":
        """Return the results of a coupon that was never given."""
        return CouponResults()


class DayResults(PartitionTotal, array_like=True):
    """Results of one day; fields as of `GivenTerms` and `ResultChange`. The campaign is that of the first issue.

    Attributes
    ----------
    told_minor : int
        Discounts at the last report.
    before_minor : int
        Discounts at the last report before the day of the last one.
    """

    day: int = 0
    campaign_id: str | None = None
    domain: str = ""
    closes_at: float = 0.0
    numbers: Numbers = Numbers()
    told_minor: int = 0
    before_minor: int = 0

    @property
    def recent_minor(self) -> int:
        """Discounts that were first reported on the day of the last report, less refunds."""
        return max(self.told_minor - self.before_minor, 0)

    def tell(self, at: float, *, is_new_day: bool) -> None:
        """Note that the present numbers are reported at a time.

        Parameters
        ----------
        at : float
            UTC epoch seconds.
        is_new_day : bool
            True if the last report was on an earlier day of the shop.
        """
        if is_new_day:
            self.before_minor = self.told_minor
        self.told_minor = self.numbers.discount_minor
        self.told_of(at)

    def is_over(self, at: float) -> bool:
        """Return True if a tick drops it: it is final, and its last report is not lost any more."""
        return self.closes_at <= at and self.version == self.told and self.told_at + RESTS_S <= at


class CouponResults(Struct, array_like=True, tag="results"):
    """Days of one coupon in one partition. Mutable, but for its fields' values.

    Attributes
    ----------
    days : tuple of DayResults
        Days that are not dropped, in ascending order.
    dropped : int
        Last day that is dropped: no change opens it, or an earlier one, again.
    """

    days: tuple[DayResults, ...] = ()
    dropped: int = -1

    def add(self, change: ResultChange) -> None:
        """Add a change. One of a day that is dropped, or that no issue has opened, counts for nothing."""
        known = next((one for one in self.days if one.day == change.day), None)
        if known is None and (change.given is None or change.day <= self.dropped):
            return
        before, terms = known or DayResults(day=change.day), change.given
        sums = zip(before.numbers, change.added, strict=True)
        numbers = Numbers(*(min(max(a + b, 0), MAX_NUMBER) for a, b in sums))
        after = replace(before, version=before.version + 1, numbers=numbers)
        if terms is not None:
            after.closes_at = max(terms.closes_at, before.closes_at)
            after.domain = terms.domain
            after.campaign_id = terms.campaign_id if known is None else before.campaign_id
        others = (one for one in self.days if one is not known)
        self.days = tuple(sorted((*others, after), key=lambda one: one.day))

    def is_news(self, at: float, every_s: float) -> bool:
        """Return True if `pass_time` has an effect; parameters as of `PartitionTotal.is_due`."""
        return any(one.is_due(at, every_s) or one.is_over(at) for one in self.days)

    def pass_time(self, at: float, every_s: float, zone: str = "UTC") -> list[DayResults]:
        """Drop the days that are over; return those that a tick reports, noted as reported.

        Parameters
        ----------
        at, every_s
            As of `PartitionTotal.is_due`.
        zone : str
            IANA name of the shop's time zone.
        """
        self.dropped = max([self.dropped, *(one.day for one in self.days if one.is_over(at))])
        self.days = tuple(replace(one) for one in self.days if not one.is_over(at))
        due = [one for one in self.days if one.is_due(at, every_s)]
        today = local_time(at, zone).day
        for one in due:
            one.tell(at, is_new_day=local_time(one.told_at, zone).day < today)
        return due

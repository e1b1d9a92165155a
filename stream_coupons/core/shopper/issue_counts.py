"""Number of coupons that a shopper got in the current day, week and month of the shop, and in all."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from stream_coupons.core.caps import Cap, CapPeriod
from stream_coupons.core.local_time import LocalTime


class PeriodCounts(Struct, array_like=True):
    """Number of coupons in one period."""

    number: int = 0
    """Number of the period; a later one replaces it."""
    coupons: dict[str, int] = field(default_factory=dict)
    """By coupon."""
    campaigns: dict[str, int] = field(default_factory=dict)
    """By campaign."""


class IssueCounts(Struct, array_like=True):
    """Number of coupons by period, each with its latest one only: the state has a bound."""

    periods: dict[CapPeriod, PeriodCounts] = field(default_factory=dict)

    @property
    def coupons(self) -> Mapping[str, int]:
        """Number of times that each coupon was given, by id; never forgotten, as a cap lasts as long as its coupon."""
        return self.periods["life"].coupons if self.periods else {}

    @property
    def campaigns(self) -> Mapping[str, int]:
        """Number of coupons of each campaign, by id; never forgotten either."""
        return self.periods["life"].campaigns if self.periods else {}

    def note(self, coupon_id: str, campaign_id: str | None, on: LocalTime) -> None:
        """Count one more coupon, capped or not: the catalogue may set a cap later.

        Parameters
        ----------
        coupon_id, campaign_id : str
            The coupon and its campaign, if it has one.
        on : LocalTime
            Time of the coupon in the shop's zone. Periods that are over are no longer counted.
        """
        for per, number in numbers_of(on).items():
            found = self.periods.get(per)
            if found is None or found.number < number:
                found = self.periods[per] = PeriodCounts(number)
            if found.number == number:
                found.coupons[coupon_id] = found.coupons.get(coupon_id, 0) + 1
                if campaign_id is not None:
                    found.campaigns[campaign_id] = found.campaigns.get(campaign_id, 0) + 1

    def reached(
        self, caps: Sequence[Cap], on: LocalTime, *, coupon_id: str | None = None, campaign_id: str | None = None
    ) -> Cap | None:
        """Return the first cap that allows no more coupons; None if all allow one.

        In a period before the latest one nothing is counted any more, and its caps allow none.

        Parameters
        ----------
        caps : sequence of Cap
            Caps of the coupon, of the campaign, or of the shop if neither is named.
        on : LocalTime
            Time in the shop's zone.
        coupon_id, campaign_id : str, optional
            The coupon or the campaign that the caps are of.
        """
        numbers = numbers_of(on) if caps else {}
        for cap in caps:
            found, number, count = self.periods.get(cap.per), numbers[cap.per], 0
            if found is not None and found.number >= number:
                if found.number > number:
                    return cap
                if coupon_id is not None:
                    count = found.coupons.get(coupon_id, 0)
                else:
                    count = sum(found.coupons.values()) if campaign_id is None else found.campaigns.get(campaign_id, 0)
            if count >= cap.n:
                return cap
        return None


def numbers_of(on: LocalTime) -> dict[CapPeriod, int]:
    """Return the numbers of the periods that a time lies in; later periods have greater ones.

    Parameters
    ----------
    on : LocalTime
        A time.

    Examples
    --------
    >>> numbers_of(LocalTime(59, 0.0))
    {'day': 59, 'week': 8, 'month': 23642, 'life': 0}
    """
    return {"day": on.day, "week": on.week, "month": on.month, "life": 0}

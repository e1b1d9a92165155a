"""Weekdays, hours and channels in which coupons may be issued, compiled to masks."""

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.catalogue import Campaign, Coupon, Weekday
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.time_zones import is_zone

Mask = NDArray[np.bool_]
Context = Mapping[str, str | float | bool | None]


def zone_of(context: Context, shop_zone: str) -> str:
    """Return the shopper's time zone: that of the trigger's context if it names one, or else that of the shop.

    Parameters
    ----------
    context : mapping
        Context of the trigger; its `time_zone` counts.
    shop_zone : str
        Time zone of the shop.

    Examples
    --------
    >>> [zone_of({"time_zone": name}, "UTC") for name in ("Asia/Tokyo", "Bonn", None)]
    ['Asia/Tokyo', 'UTC', 'UTC']
    """
    named = context.get("time_zone")
    return named if isinstance(named, str) and is_zone(named) else shop_zone


def has_occasions(terms: Coupon | Campaign) -> bool:
    """Return True if a coupon or a campaign has weekdays, hours or channels.

    Parameters
    ----------
    terms : Coupon or Campaign
        Its terms.
    """
    return bool(terms.weekdays or terms.from_hour != terms.until_hour or (isinstance(terms, Coupon) and terms.channels))


class Occasions:
    """Weekdays, hours and channels of some coupons; a campaign's weekdays and hours limit those of its coupons.

    Parameters
    ----------
    coupons : sequence of Coupon
        All coupons of a set.
    campaigns : mapping
        Campaigns by id.
    """

    def __init__(self, coupons: Sequence[Coupon], campaigns: Mapping[str, Campaign]) -> None:
        both = [(one, campaigns.get(one.campaign_id or "") or one) for one in coupons]
        self._is_on: Mask = np.array(
            [[all(day in (one.weekdays or [day]) for one in pair) for pair in both] for day in get_args(Weekday)]
        )
        self._from = np.array([[one.from_hour for one in pair] for pair in both]).T
        self._until = np.array([[one.until_hour for one in pair] for pair in both]).T
        self._is_anywhere: Mask = np.array([not one.channels for one in coupons])
        channels = {name for one in coupons for name in one.channels}
        self._is_in = {name: self._is_anywhere | [name in one.channels for one in coupons] for name in channels}

    def at(self, at: float, zone: str) -> Mask:
        """Return the coupons of whose weekdays and hours a time is one, on the shopper's clock.

        Parameters
        ----------
        at : float
            UTC epoch seconds.
        zone : str
            Time zone of the shopper.
        """
        day, hour = (there := local_time(at, zone)).weekday, there.hour
        is_after, is_before = self._from <= hour, hour < self._until
        is_within = np.where(self._from < self._until, is_after & is_before, is_after | is_before).all(axis=0)
        found: Mask = self._is_on[day] & is_within
        return found

    def through(self, context: Context) -> Mask:
        """Return the coupons that may be issued through the `channel` of a trigger's context."""
        channel = context.get("channel")
        return self._is_in.get(channel, self._is_anywhere) if isinstance(channel, str) else self._is_anywhere

    def objection(self, position: int, at: float, context: Context, zone: str) -> Ineligible | None:
        """Return the reason why a coupon may not be issued on this occasion.

        Parameters
        ----------
        position : int
            Position of the coupon.
        at, zone
            As of `at`.
        context : mapping
            Context of the trigger.
        """
        if not self.at(at, zone)[position]:
            return Ineligible.NOT_AT_THIS_HOUR
        return None if self.through(context)[position] else Ineligible.OTHER_CHANNEL

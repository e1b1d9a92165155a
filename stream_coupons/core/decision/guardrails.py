"""Guardrails of campaigns: the first bound that the measured results of a campaign have passed.

An interval that lies beyond the limit is evidence at every look together, so the results may be read as often as they
change: a campaign that keeps a limit is stopped by one guardrail in one domain with a probability of 5 % at most.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stream_coupons.core.currencies import money
from stream_coupons.core.decision.live_lift import LiveLift
from stream_coupons.core.measurement.proportions import lower_bound
from stream_coupons.core.messages.catalogue import Guardrail
from stream_coupons.core.rules import ShopRules

IS_FLOOR = {"lift": True, "roi": True, "redemption_ratio": False, "spend_a_day": False}
"""By metric, True if its limit is a lower bound."""


class CampaignResults(NamedTuple):
    """Results of a campaign's coupons in one domain.

    Attributes
    ----------
    given, used : int
        Coupons.
    discount_minor, recent_minor : int
        Discounts in all, and those reported on the shop's current day; minor units.
    """

    given: int = 0
    used: int = 0
    discount_minor: int = 0
    recent_minor: int = 0


class Breach(NamedTuple):
    """A guardrail whose limit is passed.

    Attributes
    ----------
    domain : str
        Domain in which it is passed.
    value, low, high : float
        The metric and its interval.
    text : str
        Metric, interval and limit as a sentence.
    """

    guardrail: Guardrail
    domain: str
    value: float
    low: float
    high: float
    text: str


def first_breach(
    guardrails: Iterable[Guardrail],
    lifts: Mapping[str, LiveLift],
    results: Mapping[str, CampaignResults],
    shop: ShopRules,
) -> Breach | None:
    """Return the first guardrail whose limit is passed in some domain; None if all are kept.

    A lift whose arms have the wrong shares says nothing, and so does one without an interval.

    Parameters
    ----------
    guardrails : iterable of Guardrail
        Those of one campaign that may act.
    lifts, results : mapping
        The campaign's lift and results so far, by domain.
    shop : ShopRules
        Currencies.

    Examples
    --------
    >>> [guardrail] = [Guardrail(metric="redemption_ratio", limit=0.2)]
    >>> first_breach([guardrail], {}, {"shop": CampaignResults(given=100, used=25)}, ShopRules()) is None
    True
    >>> first_breach([guardrail], {}, {"shop": CampaignResults(given=100, used=50)}, ShopRules()).text
    'redemption_ratio in shop is 50.0 %, at least 34.5 % (95 %, at all looks), above the limit of 20.0 %'
    """
    for one in guardrails:
        is_floor = IS_FLOOR[one.metric]
        for domain in sorted({*lifts, *results}):
            value, low, high = _measured(one, lifts.get(domain), results.get(domain, CampaignResults()))
            if high < one.limit if is_floor else low > one.limit:
                text = _sentence(one, domain, (value, low, high), shop.currency(domain))
                return Breach(one, domain, value, low, high, text)
    return None


def _measured(guardrail: Guardrail, lift: LiveLift | None, results: CampaignResults) -> tuple[float, float, float]:
    """Return the value of a metric and the ends of its interval; all of them are NaN if it is not known."""
    if guardrail.metric == "spend_a_day":
        return (results.recent_minor,) * 3
    if guardrail.metric == "redemption_ratio":
        return results.used / max(results.given, 1), lower_bound(results.used, results.given), 1.0
    scale = 1.0
    if lift is not None and guardrail.metric == "roi":
        scale = lift.treated / results.discount_minor if results.discount_minor else math.nan
    if lift is None or lift.is_mismatch:
        return (math.nan,) * 3
    return lift.mid * scale, lift.low * scale, lift.high * scale


def _sentence(guardrail: Guardrail, domain: str, measured: tuple[float, float, float], currency: str | None) -> str:
    """Return a breach in words."""

    def shown(number: float) -> str:
        if guardrail.metric == "roi":
            return f"{number:.2f}"
        return f"{number:.1%}".replace("%", " %") if guardrail.metric == "redemption_ratio" else money(number, currency)

    value, low, high = map(shown, measured)
    interval = {
        "spend_a_day": "",
        "redemption_ratio": f" at least {low} (95 %, at all looks),",
    }.get(guardrail.metric, f" {low} to {high} (95 %, at all looks),")
    side = "below" if IS_FLOOR[guardrail.metric] else "above"
    return f"{guardrail.metric} in {domain} is {value},{interval} {side} the limit of {shown(guardrail.limit)}"

"""Lift of campaigns with a holdout of their own, from what workers report."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from stream_coupons.core.decision.live_lift import LiveLift, is_whole, measure
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import ShopRules
from stream_coupons.models.metrics import Interval
from stream_coupons.ops.results import ResultRow


@dataclass(frozen=True, slots=True)
class CampaignLift:
    """Margin that a campaign adds over its holdout, minor units; the ends of intervals are NaN before the first look.

    Attributes
    ----------
    currency : str or None
        Currency of its money; None for minor units.
    treated, holdout : int
        Shoppers who may get its coupons, and those whom it leaves out.
    expected_share : float or None
        `holdout_ratio` of the campaign; None if it has none now.
    is_mismatch : bool
        True if the arms have not that share: they cannot be compared.
    expected_buyers : float
        Shoppers with an order that the smaller arm is expected to have; intervals begin at `FIRST_LOOK`.
    lift : Interval
        Mean of the treated less mean of the holdout, by shopper, adjusted for what was known at enrolment.
    total : Interval
        Lift of all treated shoppers together.
    predicted_minor : float
        Sum of the values that its coupons were given for.
    """

    campaign_id: str
    domain: str
    currency: str | None
    treated: int
    holdout: int
    expected_share: float | None
    is_mismatch: bool
    expected_buyers: float
    lift: Interval
    total: Interval
    predicted_minor: float


def campaign_lifts(latest: LatestReports[LiftTotals], shop: ShopRules) -> list[CampaignLift]:
    """Return the lift of each campaign and domain that workers report on.

    Parameters
    ----------
    latest : LatestReports
        Reports on all series.
    shop : ShopRules
        Currencies.
    """
    found = []
    for domain, campaign_id in sorted(latest.of):
        parts = [one for one in latest.parts((domain, campaign_id)) if is_whole(one)]
        if not campaign_id or not parts:
            continue
        expected = max(parts, key=lambda one: one.at).holdout_ratio
        one = measure(parts, expected or 0.0)
        found.append(_lift(campaign_id, domain, shop.currency(domain), one, expected))
    return found


def _lift(campaign_id: str, domain: str, currency: str | None, one: LiveLift, expected: float | None) -> CampaignLift:
    return CampaignLift(
        campaign_id=campaign_id,
        domain=domain,
        currency=currency,
        treated=one.treated,
        holdout=one.without,
        expected_share=expected,
        is_mismatch=expected is not None and one.is_mismatch,
        expected_buyers=one.buyers,
        lift=Interval(one.mid, one.low, one.high),
        total=Interval(one.treated * one.mid, one.treated * one.low, one.treated * one.high),
        predicted_minor=one.predicted,
    )


def with_lift(row: ResultRow, lifts: Mapping[tuple[str, str], CampaignLift]) -> dict[str, object]:
    """Return a row with the margin over control: its value, and its ends once there is an interval."""
    lift = lifts.get((row.campaign_id, row.domain))
    ends = dict.fromkeys(("value", "low", "high")) if lift is None or lift.is_mismatch else asdict(lift.total)
    return asdict(row) | {f"over_control_{name}": end if end == end else None for name, end in ends.items()}


def verdict(one: CampaignLift) -> str:
    """Return the conclusion from a campaign's lift in words."""
    return conclusion(one.lift.low, one.lift.high, is_mismatch=one.is_mismatch)


def conclusion(low: float, high: float, *, is_mismatch: bool) -> str:
    """Return the conclusion from the ends of an interval, which are NaN before the first look, in words."""
    if is_mismatch:
        return "arms of a wrong share: not to be believed"
    if math.isnan(low):
        return "too early"
    return "it earns" if low > 0 else "it loses" if high < 0 else "not known yet"

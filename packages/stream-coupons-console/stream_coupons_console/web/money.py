"""The first page: what coupons have earned, and the campaigns with what they have spent."""

import time
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_coupons.core.decision.live_lift import LiveLift
from stream_coupons.core.local_time import DAY_S, EPOCH
from stream_coupons.ops.campaign_lift import CampaignLift, campaign_lifts, conclusion, verdict
from stream_coupons.ops.campaign_states import CampaignState, states_of
from stream_coupons.ops.results import ResultFilter, ResultRow, rows_of
from stream_coupons_console.index import Index
from stream_coupons_console.web.render import line_chart, page

DAYS = 7
"""The cards count coupons of so many days, today among them."""
CHART_DAYS = 90
FIRST_STATES = ("running", "ramp", "spent", "held", "paused", "staged", "approved", "not begun", "draft")
"""Order of campaigns by state; ended ones come last."""


class DomainLift(NamedTuple):
    """Lift of a domain over its permanent control group."""

    domain: str
    currency: str | None
    lift: LiveLift
    is_braked: bool

    @property
    def total(self) -> tuple[float, float, float]:
        """Low, mid and high of the lift of all treated shoppers, minor units."""
        count = self.lift.treated
        return count * self.lift.low, count * self.lift.mid, count * self.lift.high

    @property
    def verdict(self) -> str:
        """Conclusion in words."""
        return conclusion(self.lift.low, self.lift.high, is_mismatch=self.lift.is_mismatch)


class ListedCampaign(NamedTuple):
    """A campaign with its results of all days, and its lift by domain."""

    state: CampaignState
    results: Sequence[ResultRow]
    lifts: Sequence[CampaignLift]


def domain_lifts(index: Index) -> list[DomainLift]:
    """Return the lift of every domain that workers report on."""
    reader, shop = index.lift_reader(), index.settings.shop
    return [
        DomainLift(domain, shop.currency(domain), found, reader.brakes[domain].is_on)
        for domain, found in sorted(reader.lifts.items())
    ]


def campaign_states(index: Index, now: float) -> list[CampaignState]:
    """Return all campaigns with what they have spent."""
    entries = index.campaigns.entries.values(), index.coupons.entries.values()
    return states_of(*entries, index.accounts, now, index.settings.shop.currencies)


def listed_campaigns(index: Index, now: float) -> list[ListedCampaign]:
    """Return all campaigns, those that run first."""
    shop = index.settings.shop
    rows = rows_of(index.result_reports(), "campaign", ResultFilter(), shop)
    lifts = campaign_lifts(index.lifts, shop)

    def order(one: CampaignState) -> tuple[int, str]:
        known = FIRST_STATES.index(one.state) if one.state in FIRST_STATES else len(FIRST_STATES)
        return known, one.campaign.campaign_id

    return [
        ListedCampaign(
            one,
            [row for row in rows if row.campaign_id == one.campaign.campaign_id],
            [lift for lift in lifts if lift.campaign_id == one.campaign.campaign_id],
        )
        for one in sorted(campaign_states(index, now), key=order)
    ]


def day_chart(rows: Sequence[ResultRow]) -> dict[str, Any] | None:
    """Return the chart of coupons given and used by day; None for fewer than two days."""
    days = sorted({row.day for row in rows})[-CHART_DAYS:]
    if len(days) < 2:
        return None
    sums = {day: [row for row in rows if row.day == day] for day in days}
    x = [(date.fromisoformat(day).toordinal() - EPOCH) * DAY_S for day in days]
    lines = {
        name: {"y": [float(sum(getattr(row, field) for row in sums[day])) for day in days]}
        for name, field in (("given", "given"), ("seen", "seen"), ("used", "used"))
    }
    return line_chart(x, lines, label="coupons")


async def show(request: Request) -> Response:
    """Return the page."""
    index: Index = request.app.state.index
    now, shop = time.time(), index.settings.shop
    reports = index.result_reports()
    recent = rows_of(reports, "day", ResultFilter(since=index.newest_at() - (DAYS - 1) * DAY_S), shop)
    return page(
        request,
        "money",
        days=DAYS,
        recent=recent,
        lifts=domain_lifts(index),
        campaigns=listed_campaigns(index, now),
        chart_spec=day_chart(rows_of(reports, "day", ResultFilter(), shop)),
        verdict=verdict,
    )


ROUTES = [Route("/", show, name="money")]

"""Lift: the check of the arms, the margin over control by domain and campaign, and its course by day."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_coupons.core.currencies import decimals
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.local_time import DAY_S, EPOCH
from stream_coupons.ops.audit.audit_topics import read_records
from stream_coupons.ops.campaign_lift import campaign_lifts, verdict
from stream_coupons.ops.lift_log import READ, LiftLog
from stream_coupons.ops.measured_lift import LiftDay, report
from stream_coupons.settings import Settings
from stream_coupons_console.index import Index
from stream_coupons_console.web import money
from stream_coupons_console.web.render import line_chart, page

COMPUTED_EVERY_S = 60.0


class LiftCourse(NamedTuple):
    """The lift by day, as of a time, or why it cannot be measured."""

    at: float
    days: list[LiftDay]
    warnings: list[str]


class LiftReader:
    """Computes the lift by day on request, once a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self.found: LiftCourse | None = None

    async def compute(self) -> None:
        """Read the topics as a whole, unless that was done just now."""
        async with self._lock:
            if self.found is None or time.time() - self.found.at >= COMPUTED_EVERY_S:
                self.found = await asyncio.to_thread(course, self._settings)


def course(settings: Settings) -> LiftCourse:
    """Return the lift by day of what the topics hold."""
    log = LiftLog(settings.policy)
    try:
        for record in read_records(settings.kafka, [topic.name for topic in READ]):
            log.take(record.topic, record.value)
        found = report(log, settings.policy, shop=settings.shop)
    except StreamCouponsError as error:
        return LiftCourse(time.time(), [], [str(error)])
    return LiftCourse(time.time(), found.days, found.warnings)


def charts(days: Iterable[LiftDay]) -> list[tuple[str, dict[str, Any] | None]]:
    """Return the chart of each domain and campaign with its title: lift by shopper with its interval, by day."""
    of: defaultdict[tuple[str, str], list[LiftDay]] = defaultdict(list)
    for one in days:
        of[one.domain, one.campaign].append(one)
    found = []
    for (domain, campaign), some in of.items():
        x = [(date.fromisoformat(one.day).toordinal() - EPOCH) * DAY_S for one in some]
        currency = some[0].currency
        unit = 10.0 ** decimals(currency)
        columns = {
            name: [float("nan") if (value := getattr(one, field)) is None else value / unit for one in some]
            for name, field in (("y", "lift_minor"), ("low", "low_minor"), ("high", "high_minor"))
        }
        title = f"Campaign {campaign}, {domain}" if campaign else domain
        axis = {"label": f"{currency or 'minor units'} by shopper", "unit": "money" if currency else ""}
        found.append((title, line_chart(x, {"lift so far": columns}, **axis) if len(x) > 1 else None))
    return found


async def show(request: Request) -> Response:
    """Return the page."""
    index: Index = request.app.state.index
    reader: LiftReader = request.app.state.lift
    if request.query_params.get("compute"):
        await reader.compute()
    return page(
        request,
        "lift",
        domains=money.domain_lifts(index),
        campaigns=campaign_lifts(index.lifts, index.settings.shop),
        course=reader.found,
        charts=charts(reader.found.days) if reader.found else [],
        verdict=verdict,
    )


ROUTES = [Route("/lift", show)]

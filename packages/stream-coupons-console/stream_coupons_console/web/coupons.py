"""Coupons: what was given, used and earned, the state of each, and pause and resume."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stream_coupons.core.catalogue.campaign_states import ISSUING
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.money.accounts import Accounts, money_of, units_of
from stream_coupons.core.money.holdings import Account
from stream_coupons.core.money.leases import is_spent
from stream_coupons.kafka.clients import Publisher
from stream_coupons.ops.campaign_lift import CampaignLift, campaign_lifts, verdict
from stream_coupons.ops.catalogue_files import COUPONS
from stream_coupons.ops.explain.terms_text import coupon_terms
from stream_coupons.ops.published import paused_values, published
from stream_coupons.ops.results import ResultFilter, ResultRow, rows_of, total_of
from stream_coupons.settings import Settings
from stream_coupons_console.index import Index
from stream_coupons_console.web import money
from stream_coupons_console.web.forms import fields, until
from stream_coupons_console.web.render import page
from stream_coupons_console.web.security import CSRF, require_token

SHOWN_ISSUES = 20
VERBS = {"pause": True, "resume": False}


class ListedCoupon(NamedTuple):
    """A coupon with its state, its results of all days, and the lift of its campaign."""

    coupon: Coupon
    state: str
    results: ResultRow
    lifts: Sequence[CampaignLift]


def coupon_state(coupon: Coupon, campaign_state: str | None, accounts: Mapping[str, Account], now: float) -> str:
    """Return why a coupon is not given to anybody, or that it is.

    Parameters
    ----------
    coupon : Coupon
        The coupon.
    campaign_state : str or None
        State of its campaign in words; None if it has none.
    accounts : mapping of str to Account
        States at their owner, by account id.
    now : float
        UTC epoch seconds.
    """
    if coupon.paused:
        return "paused"
    if campaign_state is not None and campaign_state not in ISSUING:
        return f"campaign {campaign_state}"
    if not coupon.valid_from <= now < coupon.valid_until:
        return "not begun" if now < coupon.valid_from else "over"
    stock, budget = accounts.get(units_of(coupon.coupon_id)), accounts.get(money_of(coupon.coupon_id))
    if stock is not None and coupon.stock is not None and stock.sums.drawn >= coupon.stock:
        return "sold out"
    if budget is not None and is_spent(budget, Accounts([coupon]).limit(money_of(coupon.coupon_id))):
        return "budget used"
    return "given"


def listed_coupons(index: Index, now: float) -> list[ListedCoupon]:
    """Return all coupons that are published, the most given first."""
    shop = index.settings.shop
    states = {one.campaign.campaign_id: one.state for one in money.campaign_states(index, now)}
    lifts = campaign_lifts(index.lifts, shop)
    rows = rows_of(index.result_reports(), "coupon", ResultFilter(), shop)
    found = []
    for coupon in index.coupons.entries.values():
        name = coupon.campaign_id
        state = coupon_state(coupon, None if name is None else states.get(name, "unknown"), index.accounts, now)
        own = [row for row in rows if row.coupon_id == coupon.coupon_id]
        total = total_of(own, coupon.domain, shop.currency(coupon.domain))
        of_campaign = [one for one in lifts if (one.campaign_id, one.domain) == (name, coupon.domain)]
        found.append(ListedCoupon(coupon, state, total, of_campaign))
    return sorted(found, key=lambda one: (-one.results.given, one.coupon.coupon_id))


async def show_all(request: Request) -> Response:
    """Return the page of all coupons."""
    return page(request, "coupons", every=listed_coupons(request.app.state.index, time.time()), verdict=verdict)


async def show(request: Request) -> Response:
    """Return the page of a coupon."""
    index: Index = request.app.state.index
    coupon_id = request.path_params["coupon_id"]
    found = next((one for one in listed_coupons(index, time.time()) if one.coupon.coupon_id == coupon_id), None)
    if found is None:
        raise HTTPException(404, f"no coupon {coupon_id!r} is published")
    reports = [one for one in index.result_reports() if one.coupon_id == coupon_id]
    return page(
        request,
        "coupon",
        one=found,
        terms=[*coupon_terms(found.coupon, found.results.currency)],
        chart_spec=money.day_chart(rows_of(reports, "day", ResultFilter(), index.settings.shop)),
        latest=index.latest_of(coupon_id, SHOWN_ISSUES),
        verbs=["resume" if found.coupon.paused else "pause"],
        verdict=verdict,
    )


async def act(request: Request) -> Response:
    """Pause or resume a coupon, and show it."""
    values, coupon_id = await fields(request), request.path_params["coupon_id"]
    require_token(request, values.get(CSRF))
    if (verb := request.path_params["verb"]) not in VERBS:
        raise HTTPException(404, f"no verb {verb!r}: expected one of {', '.join(VERBS)}")
    if not await asyncio.to_thread(set_paused, coupon_id, request.app.state.settings, paused=VERBS[verb]):
        raise HTTPException(404, f"no coupon {coupon_id!r} is published")
    index: Index = request.app.state.index
    await until(lambda: coupon_id in index.coupons.entries and index.coupons.entries[coupon_id].paused == VERBS[verb])
    return RedirectResponse(request.url_for("coupon", coupon_id=coupon_id).path, 303)


def set_paused(coupon_id: str, settings: Settings, *, paused: bool) -> bool:
    """Publish a coupon again, paused or not; return False if there is none."""
    value = paused_values(published(settings, COUPONS), paused=paused).get(coupon_id)
    if value is None:
        return False
    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        publisher.send_bytes(COUPONS.topic, coupon_id.encode(), value)
    return True


ROUTES = [
    Route("/coupons", show_all, name="coupons"),
    Route("/coupons/{coupon_id}", show, name="coupon"),
    Route("/coupons/{coupon_id}/{verb}", act, methods=["POST"]),
]

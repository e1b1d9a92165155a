"""A shopper: what they would get and why not the rest, open coupons, decisions; an issue in words; erasure."""

import asyncio
import time
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.inputs import ErasureRequest
from stream_coupons.core.reasons import NoCoupon, Passed
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.ops.erasures import erasure_request
from stream_coupons.ops.explain.candidate_verdicts import WORDS, Verdict
from stream_coupons.ops.explain.explanation import ShopperExplanation
from stream_coupons.ops.explain.explanation_words import BEST, EXPLORED, chances, charge, lack, worth
from stream_coupons.ops.explain.from_topics import Unknown
from stream_coupons.settings import Settings
from stream_coupons_console.api.views import SystemView
from stream_coupons_console.index import Index
from stream_coupons_console.web.forms import fields, until
from stream_coupons_console.web.now import sentence
from stream_coupons_console.web.render import PART, page
from stream_coupons_console.web.security import CSRF, require_token


def why_not(verdict: Verdict, currency: str | None) -> str:
    """Return the reason against a coupon in words; empty if it is given."""
    if verdict.reason is None:
        return ""
    if verdict.reason in (NoCoupon.SOLD_OUT, NoCoupon.NEW_SHOPPERS) and verdict.lacks is not None:
        return lack(verdict.lacks, currency)
    if verdict.reason is Passed.PRICED_OUT and verdict.score is not None:
        return charge(verdict.score, currency)
    detail = ": ".join(filter(None, (verdict.by, verdict.clause)))
    return WORDS[verdict.reason] + (f" ({detail})" if detail else "")


async def show(request: Request) -> Response:
    """Return the page of a shopper, or the question which one."""
    index: Index = request.app.state.index
    user_id, now = request.query_params.get("user", "").strip(), time.time()
    decisions, erased_at = index.of_shopper(user_id), index.erased_at(user_id)
    found: ShopperExplanation | str | None = None
    if user_id and PART not in request.headers and (decisions or erased_at < 0):
        view: SystemView = request.app.state.view
        try:
            found = await view.explain_shopper(user_id)
        except StreamCouponsError as error:
            found = str(error)
    open_ones = [
        one for one in decisions if one.issue and one.issue.expires_at > now and "purchase" not in one.feedback
    ]
    return page(
        request,
        "shopper",
        user=user_id,
        found=found,
        order=_order,
        why_not=why_not,
        words=WORDS,
        best=BEST,
        shop=index.settings.shop,
        decisions=[(one, sentence(one, index)) for one in decisions],
        open_ones=open_ones,
        erased_at=erased_at,
    )


def _order(verdicts: list[Verdict]) -> list[Verdict]:
    """Return verdicts in the order of their rank, those without one last."""
    return sorted(verdicts, key=lambda one: (one.score.rank if one.score else float("inf"), one.domain, one.coupon_id))


async def erase(request: Request) -> Response:
    """Ask the workers to forget a shopper whose id was typed twice."""
    values = await fields(request)
    require_token(request, values.get(CSRF))
    index: Index = request.app.state.index
    user_id = values.get("user", "")
    if not user_id or values.get("confirm", "").strip() != user_id:
        raise HTTPException(400, f"nothing was erased: type {user_id!r} to confirm, expected the same id twice")
    wanted = erasure_request(user_id)
    await asyncio.to_thread(_send, wanted, index.settings)
    await until(lambda: index.erased_at(user_id) >= wanted.occurred_at)
    return RedirectResponse(f"/shoppers?user={quote(user_id, safe='')}", 303)


def _send(wanted: ErasureRequest, settings: Settings) -> None:
    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        publisher.send(topics.ERASURES, wanted)


async def show_issue(request: Request) -> Response:
    """Return the page of an issue."""
    index: Index = request.app.state.index
    issue_id = request.path_params["issue_id"]
    shown = index.shown(issue_id)
    view: SystemView = request.app.state.view
    try:
        found = await view.explain_issue(issue_id)
    except Unknown as error:
        raise HTTPException(404, str(error)) from None
    issue = found.issue
    return page(
        request,
        "issue",
        found=found,
        issue=issue,
        feedback=sorted(shown.feedback.items(), key=lambda one: one[1]) if shown else [],
        chosen=EXPLORED if issue.is_explored else BEST,
        chances=chances(issue.p_click, issue.p_redeem, issue.p_order),
        worth=worth(issue.value_minor, issue.price_minor, index.settings.shop.currency(issue.domain)),
        currency=index.settings.shop.currency(issue.domain),
        words=WORDS,
    )


ROUTES = [
    Route("/shoppers", show),
    Route("/shoppers/erase", erase, methods=["POST"]),
    Route("/issues/{issue_id}", show_issue),
]

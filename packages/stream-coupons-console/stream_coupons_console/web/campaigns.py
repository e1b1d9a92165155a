"""A campaign: its state and what may be done with it, results by day, coupons and history."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stream_coupons.core.catalogue.approval import signed_bytes
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.campaign_changes import CampaignVerb
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.kafka.clients import Publisher
from stream_coupons.ops import campaign_verbs
from stream_coupons.ops.campaign_approval import signature_of, signed
from stream_coupons.ops.campaign_life import TRANSITIONS, ChangeLog, history
from stream_coupons.ops.campaign_lift import verdict
from stream_coupons.ops.campaign_verbs import Change, VerbReport
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.published import Published, published
from stream_coupons.ops.results import ResultFilter, rows_of
from stream_coupons.settings import Settings
from stream_coupons_console.index import Index
from stream_coupons_console.web import money
from stream_coupons_console.web.forms import fields, until
from stream_coupons_console.web.render import page
from stream_coupons_console.web.security import CSRF, require_token

VERBS: Mapping[CampaignVerb, str] = {
    "stage": "decide on its coupons in the shadow; none are given",
    "approve": "allow it to be launched",
    "launch": "give its coupons to shoppers",
    "pause": "give none until it is resumed; coupons that were given stay good",
    "hold": "as a pause, because something is wrong",
    "resume": "give its coupons again",
    "end": "give none any more; nothing leads back",
    "archive": "put it away; it stays readable",
}
"""Effect of each verb, in the order of the buttons."""


async def show(request: Request) -> Response:
    """Return the page of a campaign."""
    return await campaign_page(request, request.path_params["campaign_id"])


async def campaign_page(request: Request, campaign_id: str, *, status: int = 200, **values: Any) -> Response:
    """Return the page of a campaign, with further values such as an error."""
    index: Index = request.app.state.index
    every = {one.state.campaign.campaign_id: one for one in money.listed_campaigns(index, time.time())}
    changes = [change for change in index.changes if change.campaign_id == campaign_id]
    if (found := every.get(campaign_id)) is None:
        raise HTTPException(404, f"no campaign {campaign_id!r} is published")
    campaign, shop = found.state.campaign, index.settings.shop
    coupons = members_of(campaign_id, index.coupons)
    of_campaign = [one for one in index.result_reports() if one.campaign_id == campaign_id]
    issues = [index.last_issue[one.coupon_id] for one in coupons if one.coupon_id in index.last_issue]
    approval = index.settings.approval
    return page(
        request,
        "campaign",
        status=status,
        one=found,
        campaign=campaign,
        coupons=coupons,
        coupon_rows={row.coupon_id: row for row in rows_of(of_campaign, "coupon", ResultFilter(), shop)},
        chart_spec=money.day_chart(rows_of(of_campaign, "day", ResultFilter(), shop)),
        last_issue=max(issues, key=lambda issue: issue.issued_at, default=None),
        history=[*history(changes, index.campaigns.entries)][::-1],
        verbs={verb: text for verb, text in VERBS.items() if campaign.state in TRANSITIONS[verb]},
        signers=sorted(campaign_verbs.signers_of(campaign, coupons, approval)),
        required=approval.required,
        verdict=verdict,
        **{"error": "", "said": ""} | values,
    )


async def act(request: Request) -> Response:
    """Carry out a verb that a form asks for, and show the campaign."""
    values, campaign_id = await fields(request), request.path_params["campaign_id"]
    require_token(request, values.get(CSRF))
    verb, settings = request.path_params["verb"], request.app.state.settings
    if verb not in VERBS:
        raise HTTPException(404, f"no verb {verb!r}: expected one of {', '.join(VERBS)}")
    try:
        if verb == "approve" and settings.approval.required:
            change, key_name = approval_of(campaign_id, values.get("signature", ""), request.app.state.index)
        else:
            change, key_name = change_of(verb, share_of(values.get("ratio", "")), settings), ""
        report = await carry_out(campaign_id, verb, change, values.get("reason", ""), request.app.state.index, key_name)
    except BadConfig as error:
        return await campaign_page(request, campaign_id, status=400, error=str(error))
    if fault := report.faults.get(campaign_id):
        return await campaign_page(request, campaign_id, status=409, error=f"{campaign_id} {fault}")
    return RedirectResponse(request.url_for("campaign", campaign_id=campaign_id).path, 303)


def change_of(verb: CampaignVerb, ratio: float | None, settings: Settings) -> Change:
    """Return the change that a form or a client asks for; `ratio` is the share of the shoppers to launch to.

    Raises
    ------
    BadConfig
    """
    if verb == "launch":
        return campaign_verbs.launch(settings.approval, ratio)
    return campaign_verbs.approval(settings.approval, None) if verb == "approve" else campaign_verbs.plain(verb)


def share_of(text: str) -> float | None:
    """Return a share of the shoppers from per cent; None for all of them.

    Raises
    ------
    BadConfig
    """
    if not text.strip():
        return None
    try:
        share = float(text.strip().removesuffix("%")) / 100.0
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise BadConfig(f"share of the shoppers is {text!r}, expected per cent from 0 to 100")
    return share


def approval_of(campaign_id: str, signature: str, index: Index) -> tuple[Change, str]:
    """Return the change of an approval that was signed elsewhere, and the name of its key.

    Raises
    ------
    BadConfig
        If the signature is not that of an operator, of the campaign as it is.
    """
    rules, campaign = index.settings.approval, index.campaigns.entries.get(campaign_id)
    if campaign is None:
        raise BadConfig(f"no campaign {campaign_id!r} is published")

    def sign(campaign: Campaign, coupons: Sequence[Coupon]) -> Campaign:
        return signed(campaign, coupons, signature_of(campaign, coupons, signature, rules), rules)

    own = signature_of(campaign, members_of(campaign_id, index.coupons), signature, rules)
    return campaign_verbs.approval(rules, sign), own.name


async def carry_out(
    campaign_id: str, verb: CampaignVerb, change: Change, reason: str, index: Index, key_name: str = ""
) -> VerbReport:
    """Carry out a verb on a campaign as it is published now; return once the index has its record and the change."""
    report = await asyncio.to_thread(_carry_out, campaign_id, verb, change, reason, index.settings, key_name)
    if after := report.changed.get(campaign_id):
        entries = index.campaigns.entries
        await until(lambda: entries.get(campaign_id) == after and any(one.after == after for one in index.changes))
    return report


def _carry_out(
    campaign_id: str, verb: CampaignVerb, change: Change, reason: str, settings: Settings, key_name: str
) -> VerbReport:
    found = published(settings, CAMPAIGNS), published(settings, COUPONS)
    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        log = ChangeLog(publisher, verb, reason, settings.approval.operator or "console", key_name)
        return campaign_verbs.change_campaigns([campaign_id], change, found, settings.approval, log)


def members_of(campaign_id: str, coupons: Published[Coupon]) -> list[Coupon]:
    """Return the coupons that name a campaign."""
    return [one for one in coupons.entries.values() if one.campaign_id == campaign_id]


async def to_sign(request: Request) -> Response:
    """Return the bytes that an approval of a campaign signs, as they follow from what is published."""
    index: Index = request.app.state.index
    campaign_id = request.path_params["campaign_id"]
    if (campaign := index.campaigns.entries.get(campaign_id)) is None:
        raise HTTPException(404, f"no campaign {campaign_id!r} is published")
    return Response(
        signed_bytes(campaign, members_of(campaign_id, index.coupons)), media_type="application/octet-stream"
    )


ROUTES = [
    Route("/campaigns/{campaign_id}", show, name="campaign"),
    Route("/campaigns/{campaign_id}/to-sign", to_sign),
    Route("/campaigns/{campaign_id}/{verb}", act, methods=["POST"]),
]

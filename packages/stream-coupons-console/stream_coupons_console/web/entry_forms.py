"""Forms of coupons and campaigns: a preview of everything that a change does, then the publication."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stream_coupons.core.currencies import money
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.codec import encode
from stream_coupons.ops.campaign_life import ChangeLog
from stream_coupons.ops.campaign_verbs import LIFE_FIELDS, require_short
from stream_coupons.ops.catalogue_diff import differences, shared_currency, shown
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, EntryFault, Kind, ParsedFile, read_entries
from stream_coupons.ops.catalogue_lint import find_doubts
from stream_coupons.ops.catalogue_push import compared, settle, write
from stream_coupons.ops.explain.terms_text import campaign_terms, coupon_terms
from stream_coupons.ops.published import published
from stream_coupons.ops.worst_cases import worst_cases
from stream_coupons.settings import Settings
from stream_coupons_console.index import Index
from stream_coupons_console.web.campaigns import members_of
from stream_coupons_console.web.entry_fields import (
    CAMPAIGN_SECTIONS,
    COUPON_SECTIONS,
    SCALES,
    Section,
    defaults_of,
    values_of,
    written_of,
)
from stream_coupons_console.web.forms import fields, until
from stream_coupons_console.web.render import page
from stream_coupons_console.web.security import CSRF, require_token


class EntryForm(NamedTuple):
    """The form of a kind of entries."""

    kind: Kind[Any]
    sections: tuple[Section, ...]
    terms: Callable[[Any, str | None], Any]
    """Returns an entry in sentences, in a currency."""

    @property
    def key(self) -> str:
        """Name of the field of the id."""
        return str(self.kind.topic.key)


DEFAULT_DOMAIN = str(next(one.default for one in msgspec.structs.fields(Coupon) if one.name == "domain"))
FORMS = {
    "coupons": EntryForm(COUPONS, COUPON_SECTIONS, coupon_terms),
    "campaigns": EntryForm(CAMPAIGNS, CAMPAIGN_SECTIONS, campaign_terms),
}


@dataclass(frozen=True, slots=True)
class EntryPreview:
    """Effects of publishing an entry.

    Attributes
    ----------
    entry : Coupon, Campaign or None
        As it would be published; None if it has faults.
    changes : list of (str, str, str) or None
        Field, published and new value; None if it is not published yet.
    digest : str
        Names the entry beside the one that is published: what was seen is what is written.
    """

    reading: ParsedFile
    before: Mapping[str, Campaign]
    entry: Coupon | Campaign | None
    warnings: list[str]
    worst: list[str]
    changes: list[tuple[str, str, str]] | None
    terms: list[str]
    digest: str


def preview(form: EntryForm, written: Mapping[str, Any], currency: str | None, settings: Settings) -> EntryPreview:
    """Check an entry, and compare it with what is published now.

    Parameters
    ----------
    written : mapping of str to Any
        Fields, as a file would have them.
    currency : str or None
        Currency of its amounts; None for minor units.
    """
    reading = read_entries(form.kind, msgspec.json.encode(written), "form.json", time.time(), settings.shop.zone)
    campaigns, coupons = published(settings, CAMPAIGNS), published(settings, COUPONS)
    settle(reading, campaigns.entries, settings)
    found = campaigns if form.kind is CAMPAIGNS else coupons
    entry = next((one for _, one in reading.entries), None)
    if reading.faults or entry is None:
        return EntryPreview(reading, campaigns.entries, None, [], [], None, [], "")
    entry_id = form.kind.id_of(entry)
    known: Mapping[str, Any] = found.entries
    each = [*differences(form.kind, {k: v for k, v in known.items() if k == entry_id}, {entry_id: entry})]
    changes = [
        (name, shown(form.kind.message, name, old, currency), shown(form.kind.message, name, new, currency))
        for one in each
        for name, (old, new) in one.fields.items()
    ]
    every, currencies = coupons.entries | reading.coupons, settings.shop.currencies
    old_doubts = {*find_doubts(coupons.entries.values(), currencies)}
    warnings = [*reading.warnings, *compared(reading, settings)]
    warnings += [text for text in find_doubts(every.values(), currencies) if text not in old_doubts]
    if isinstance(entry, Coupon) and settings.approval.required and changes and entry.campaign_id:
        warnings.append(f"campaign {entry.campaign_id!r}: its signatures are void after this, approve it again")
    worst = [
        f"if every open coupon is used, {money(one.worst_minor, currency)} can be spent of its budget of "
        f"{money(one.budget_minor, currency)}"
        for one in worst_cases([entry])
    ]
    digest = sha256(encode(entry) + b"\0" + found.records.get(entry_id, b"")).hexdigest()
    return EntryPreview(
        reading, campaigns.entries, entry, warnings, worst, changes if entry_id in known else None,
        [*form.terms(entry, currency)], digest,
    )  # fmt: skip


def publish(found: EntryPreview, reason: str, settings: Settings) -> None:
    """Write an entry; return once the broker has it."""
    require_short(reason)
    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        write(
            found.reading, found.before, ChangeLog(publisher, "push", reason, settings.approval.operator or "console")
        )


def currency_of(form: EntryForm, values: Mapping[str, str], entry_id: str, index: Index) -> str | None:
    """Return the currency of the amounts of a form: a coupon's by its domain, a campaign's by those of its coupons."""
    shop = index.settings.shop
    if form.kind is COUPONS:
        return shop.currency(values.get("domain", "").strip() or DEFAULT_DOMAIN)
    members = members_of(entry_id, index.coupons)
    return shared_currency(members, shop.currencies) if members else shop.currency("")


async def edit(request: Request) -> Response:
    """Return the form, empty or of a published entry."""
    form, entry_id, index = _asked(request)
    values = {"campaign_id": request.query_params.get("campaign_id", ""), form.key: entry_id}
    if entry_id:
        entries: Mapping[str, Any] = (index.campaigns if form.kind is CAMPAIGNS else index.coupons).entries
        if (entry := entries.get(entry_id)) is None:
            raise HTTPException(404, f"no {form.kind.noun} {entry_id!r} is published")
        values |= {"domain": getattr(entry, "domain", "")}
        values |= values_of(entry, form.sections, currency_of(form, values, entry_id, index))
    return _form_page(request, values, [], None)


async def submit(request: Request) -> Response:
    """Show what a form would change, or publish it if that was seen."""
    form, entry_id, index = _asked(request)
    values, settings = await fields(request), request.app.state.settings
    require_token(request, values.get(CSRF))
    values |= {form.key: entry_id} if entry_id else {}
    currency = currency_of(form, values, entry_id, index)
    written, faults = written_of(values, form.sections, currency)
    written |= {form.key: entry_id} if entry_id else {}
    if form.kind is CAMPAIGNS:
        written = {name: value for name, value in written.items() if name not in LIFE_FIELDS}
    found = await asyncio.to_thread(preview, form, written, currency, settings)
    bad = {fault.field for fault in faults}
    faults += [_typed(fault, form, values) for fault in found.reading.faults if fault.field not in bad]
    if faults or found.entry is None:
        return _form_page(request, values, faults, None, status=400)
    if values.get("do") == "what-if":
        title = f"{form.kind.noun} {form.kind.id_of(found.entry)}"
        request.app.state.what_if.start(title, beside(found.entry, index), currency)
        return RedirectResponse("/what-if", 303)
    if values.get("do") != "publish" or values.get("digest") != found.digest:
        return _form_page(request, values, [], found)
    try:
        await asyncio.to_thread(publish, found, values.get("reason", ""), settings)
    except BadConfig as error:
        return _form_page(request, values, [EntryFault(0, "reason", str(error))], found, status=400)
    name, entries = form.kind.id_of(found.entry), index.campaigns if form.kind is CAMPAIGNS else index.coupons
    await until(lambda: entries.records.get(name) == encode(found.entry))
    path = request.url_for(form.kind.noun, **{form.key: name}).path
    return RedirectResponse(path, 303)


def beside(entry: Coupon | Campaign, index: Index) -> list[Coupon | Campaign]:
    """Return an entry with what has to be live for its coupons to be given."""
    if isinstance(entry, Campaign):
        return [entry, *members_of(entry.campaign_id, index.coupons)]
    campaign = index.campaigns.entries.get(entry.campaign_id or "")
    return [entry] if campaign is None else [campaign, entry]


def _asked(request: Request) -> tuple[EntryForm, str, Index]:
    return FORMS[request.url.path.split("/")[1]], request.path_params.get("entry_id", ""), request.app.state.index


def _typed(fault: EntryFault, form: EntryForm, values: Mapping[str, str]) -> EntryFault:
    """Return a fault of a field that was written in other units than it is stored in, with what was typed."""
    unit = next((one.unit for section in form.sections for one in section.fields if one.name == fault.field), "")
    if (unit != "money" and unit not in SCALES) or not values.get(fault.field):
        return fault
    stored = fault.detail.partition("; ")[0]
    return msgspec.structs.replace(fault, detail=f"{values[fault.field]!r} is stored as {stored}")


def _form_page(
    request: Request, values: Mapping[str, str], faults: list[EntryFault], found: EntryPreview | None, status: int = 200
) -> Response:
    form, entry_id, index = _asked(request)
    currency = currency_of(form, values, entry_id, index)
    by_field = {fault.field.replace("[", ".").partition(".")[0]: str(fault.detail) for fault in reversed(faults)}
    return page(
        request,
        "entry_form",
        status=status,
        form=form,
        entry_id=entry_id,
        values=values,
        defaults=defaults_of(form.kind.message, form.sections, currency),
        currency=currency,
        faults=faults,
        by_field=by_field,
        found=found,
        lists={
            "campaign_id": sorted(index.campaigns.entries) if form.kind is COUPONS else [],
            "domain": sorted({one.domain for one in index.coupons.entries.values()}),
        },
        needs_approval=index.settings.approval.required > 0,
    )


ROUTES = [
    route
    for path in ("/coupons/new", "/coupons/{entry_id}/edit", "/campaigns/new", "/campaigns/{entry_id}/edit")
    for route in (Route(path, edit), Route(path, submit, methods=["POST"]))
]

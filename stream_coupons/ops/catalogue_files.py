"""Files of coupons and campaigns: each entry is checked, and each fault is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.money.accounts import within_campaign
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.validation_hints import unknown_fields
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.topics import Topic
from stream_coupons.ops.recordings import BYTE_ORDER_MARK, Line, Refusals, elements, lines
from stream_coupons.ops.times import utc

RECORD_OVERHEAD_BYTES = 4096
"""A record is a little larger than the entry in it."""
FIRST_NAMED = 10
"""Maximum number of ignored attributes that a message names."""

Entry = TypeVar("Entry", Coupon, Campaign)


@dataclass(frozen=True, slots=True)
class Kind(Generic[Entry]):
    """Coupons or campaigns: their topic, and how an entry is checked.

    Attributes
    ----------
    noun : str
        Noun for one entry, for messages.
    faults, doubts : callable
        Functions to the errors of a well-formed entry, and to warnings about allowed but doubtful values. Doubts
        depend on the time, UTC epoch seconds.
    """

    noun: str
    topic: Topic
    faults: Callable[[Entry], list[str]]
    doubts: Callable[[Entry, float], list[str]]

    def id_of(self, entry: Entry) -> str:
        """Return the id of an entry: the key of its record."""
        return self.topic.key_of(entry).decode()


class ParsedFile(Struct, Generic[Entry]):
    """A file as it was read.

    Attributes
    ----------
    place : str
        Unit of the numbers of refusals: lines of a file of JSON lines, or entries of an array.
    numbers : dict
        Numbers of the entries, by id.
    """

    place: str
    entries: list[Entry]
    warnings: list[str]
    refusals: Refusals
    numbers: dict[str, int]


def read_entries(kind: Kind[Entry], data: bytes, name: str, now: float) -> ParsedFile[Entry]:
    """Check every entry of a file.

    Parameters
    ----------
    data : bytes
        A JSON array, or one entry a line.
    name : str
        Name of the file, for messages.
    now : float
        UTC epoch seconds: an entry that is over gets a warning.

    Raises
    ------
    BadConfig
        If the file is neither.
    """
    reading: ParsedFile[Entry] = ParsedFile("line", [], [], Refusals(keep=None), {})
    decode = Decoder(kind.topic)
    data = data.removeprefix(BYTE_ORDER_MARK)
    if data.lstrip().startswith(b"["):
        reading.place = kind.noun
        found = elements(data, name)
    elif _is_one_object(data):
        found = iter([Line(1, data.strip(), len(data))])
    else:
        found = lines(data.splitlines(keepends=True))
    count = 0
    for count, line in enumerate(found, start=1):  # noqa: B007 - used below
        try:
            entry = _checked(kind, decode, line, reading)
        except BadMessage as bad:
            reading.refusals.add(line, bad)
            continue
        reading.entries.append(entry)
        reading.numbers[kind.id_of(entry)] = line.number
        reading.warnings += [f"{kind.noun} {kind.id_of(entry)!r}: {text}" for text in kind.doubts(entry, now)]
    if not count:
        raise BadConfig(
            f"{name}: holds no {kind.noun}, expected a JSON array of {kind.noun}s or one {kind.noun} a line"
        )
    return reading


def _is_one_object(data: bytes) -> bool:
    """Return True if the file is one entry, perhaps over several lines."""
    try:
        msgspec.json.decode(data, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _checked(kind: Kind[Entry], decode: Decoder, line: Line, reading: ParsedFile[Entry]) -> Entry:
    entry: Entry = decode(line.text, kind.topic.max_message_bytes - RECORD_OVERHEAD_BYTES)
    entry_id = kind.id_of(entry)
    # Misspelt names: workers would ignore a `bugdet_minor`, and spend without limit.
    faults = [*unknown_fields(msgspec.json.decode(line.text), type(entry)), *kind.faults(entry)]
    if entry_id in reading.numbers:
        first = reading.numbers[entry_id]
        faults.append(f"{kind.topic.key}: {entry_id!r} is that of {reading.place} {first}, expected another one")
    if faults:
        raise BadMessage(Rejection.INVALID, f"{kind.noun} {entry_id!r}: {'; '.join(faults)}")
    return entry


def _faults_of_coupon(coupon: Coupon) -> list[str]:
    faults = []
    if coupon.valid_from >= coupon.valid_until:
        faults.append(f"valid_until: {coupon.valid_until}, expected later than valid_from ({coupon.valid_from})")
    if not discount_of(coupon).is_stated:
        faults.append("discount_percent, discount_minor: no discount, expected one of them above 0")
    return faults


def _faults_of_campaign(campaign: Campaign) -> list[str]:
    if campaign.starts_at < campaign.ends_at:
        return []
    return [f"ends_at: {campaign.ends_at}, expected later than starts_at ({campaign.starts_at})"]


def _doubts_of_coupon(coupon: Coupon, now: float) -> list[str]:
    found = []
    has_campaign = coupon.campaign_id is not None
    if coupon.stock is None and coupon.budget_minor is None and not has_campaign:
        found.append("neither stock nor budget_minor nor campaign_id: nothing limits what it costs")
    if coupon.stock == 0:
        found.append("stock is 0: it is never issued")
    if coupon.budget_minor is not None and coupon.budget_minor < coupon.max_discount_minor:
        found.append("budget_minor is less than max_discount_minor: it is never issued")
    if any(cap.n == 0 for cap in coupon.caps):
        found.append("caps has an n of 0: it is never issued")
    if coupon.valid_until <= now:
        found.append(f"valid_until is {utc(coupon.valid_until)}: it is over")
    if coupon.discount_minor is not None and coupon.discount_percent is not None:
        found.append("both discount_minor and discount_percent: it is valued by discount_minor")
    if coupon.discount_minor is not None and coupon.discount_minor > coupon.max_discount_minor:
        found.append("discount_minor is above max_discount_minor, which caps it")
    if coupon.redeem_within_s < PolicyRules().trigger_timeout_s:
        found.append(
            "redeem_within_s is below policy.trigger_timeout_s, as old as an event may be: it may be over then"
        )
    # The end of a campaign is one of its coupons, too.
    if not has_campaign:
        found += _doubts_of_budget(coupon, coupon.valid_until, "valid_until")
    return found


def _doubts_of_campaign(campaign: Campaign, now: float) -> list[str]:
    found = []
    if campaign.ends_at <= now:
        found.append(f"ends_at is {utc(campaign.ends_at)}: it is over")
    if campaign.budget_minor == 0:
        found.append("budget_minor is 0: none of its coupons is issued")
    return found + _doubts_of_budget(campaign, campaign.ends_at, "ends_at")


def _doubts_of_budget(terms: Coupon | Campaign, ends_at: float, name: str) -> list[str]:
    """Return doubts about how a budget is spent; `name` is the field of the end."""
    if terms.budget_minor is None:
        defaults = {name: getattr(Campaign(campaign_id="-"), name) for name in ("budget_curve", "budget_hold")}
        named = [field for field, default in defaults.items() if getattr(terms, field) != default]
        return [f"{' and '.join(named)} without budget_minor: no effect"] if named else []
    if terms.budget_curve != "none" and ends_at >= END_OF_TIME:
        return [
            f"budget_minor without {name}: its spending is not steered, first come, first served; "
            f"set {name}, or budget_curve to 'none'"
        ]
    return []


COUPONS: Kind[Coupon] = Kind("coupon", topics.CATALOG, _faults_of_coupon, _doubts_of_coupon)
CAMPAIGNS: Kind[Campaign] = Kind("campaign", topics.CAMPAIGNS, _faults_of_campaign, _doubts_of_campaign)


def overlooked(coupons: Iterable[Coupon], others: Iterable[Coupon]) -> list[str]:
    """Return a warning for each domain with more attributes than become features.

    Parameters
    ----------
    others : iterable of Coupon
        Coupons that are in the catalogue already.
    """
    from stream_coupons.core.catalogue.compiled import MAX_ATTRIBUTES

    pushed = {coupon.coupon_id: coupon for coupon in coupons}
    names: dict[str, set[str]] = {coupon.domain: set() for coupon in pushed.values()}
    for coupon in ({other.coupon_id: other for other in others} | pushed).values():
        if coupon.domain in names:
            names[coupon.domain] |= coupon.attributes.keys()
    found = []
    for domain, of_domain in sorted(names.items()):
        left_out = sorted(of_domain)[MAX_ATTRIBUTES:]
        if left_out:
            named = ", ".join(map(repr, left_out[:FIRST_NAMED])) + (", ..." if len(left_out) > FIRST_NAMED else "")
            found.append(
                f"domain {domain!r}: {len(of_domain)} attributes, the first {MAX_ATTRIBUTES} by name are looked at, "
                f"for all of its coupons; not {named}"
            )
    return found


def unissuable(coupons: Iterable[Coupon], campaigns: Mapping[str, Campaign]) -> list[str]:
    """Return a warning for each coupon that its campaign keeps from being issued, or leaves without a limit.

    Parameters
    ----------
    campaigns : mapping
        All campaigns that are known, by id.
    """
    found = []
    for coupon in coupons:
        campaign = campaigns.get(coupon.campaign_id or "")
        if campaign is not None:
            fault = _fault_in_campaign(coupon, campaign)
        elif coupon.campaign_id is not None:
            fault = "is not known: it is not issued until `campaigns push` publishes the campaign"
        else:
            continue
        if fault is not None:
            found.append(f"coupon {coupon.coupon_id!r}: campaign {coupon.campaign_id!r} {fault}")
    return found


def _fault_in_campaign(coupon: Coupon, campaign: Campaign) -> str | None:
    since, until, _ = within_campaign(coupon, {campaign.campaign_id: campaign})
    if since >= until:
        return "has no time in common with it: it is never issued"
    if campaign.budget_minor is None:
        is_unlimited = coupon.stock is None and coupon.budget_minor is None
        return "has no budget_minor, and it has none of its own: nothing limits what it costs" if is_unlimited else None
    if campaign.budget_minor < coupon.max_discount_minor:
        return (
            f"has a budget_minor ({campaign.budget_minor}) below its max_discount_minor ({coupon.max_discount_minor}): "
            "it is hardly ever issued"
        )
    return None

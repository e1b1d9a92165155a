"""Files of coupons and campaigns: each entry is checked, and each fault is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Generic, TypeVar

from msgspec import Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import DEFAULT_OVERSPEND_RATIO, Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.money.accounts import within_campaign
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.times import utc
from stream_coupons.core.validation_hints import near
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.topics import Topic
from stream_coupons.ops.entry_checks import Fault, checked
from stream_coupons.ops.entry_files import Written, read_written

RECORD_OVERHEAD_BYTES = 4096
"""A record is a little larger than the entry in it."""
BUDGET_FIELDS = ("budget_curve", "budget_hold", "max_overspend_ratio")
"""Fields that have no effect without a budget."""
FIRST_NAMED = 10
"""Maximum number of ignored attributes that a message names."""

Entry = TypeVar("Entry", Coupon, Campaign)


@dataclass(frozen=True, slots=True)
class Kind(Generic[Entry]):
    """Coupons or campaigns: their topic, and how an entry is checked.

    Attributes
    ----------
    noun : str
        Noun for one entry, for messages; its plural is the section of a file.
    faults : callable
        Function to the faults of fields that do not go together, from an entry and the names of the fields given.
    doubts : callable
        Function to warnings about allowed but doubtful values. They depend on the time, UTC epoch seconds.
    """

    noun: str
    topic: Topic
    message: type[Entry]
    faults: Callable[[Entry, Iterable[str]], list[Fault]]
    doubts: Callable[[Entry, float], list[str]]

    def id_of(self, entry: Entry) -> str:
        """Return the id of an entry: the key of its record."""
        return self.topic.key_of(entry).decode()


class EntryFault(Struct, frozen=True, omit_defaults=True):
    """A fault of a file: where it is, and what to do.

    Attributes
    ----------
    line : int
        Line of the field, of its entry if it is missing; 0 if it is not known.
    """

    line: int
    field: str
    detail: str
    campaign: str = ""
    coupon: str = ""

    def __str__(self) -> str:
        """Return the fault as one line of text."""
        coupon, campaign = f"coupon {self.coupon!r}" if self.coupon else "", f"campaign {self.campaign!r}"
        entry = " of ".join(filter(None, (coupon, campaign if self.campaign else "")))
        parts = (f"line {self.line}" if self.line else "", entry, self.field, self.detail)
        return ": ".join(filter(None, parts))


class ParsedFile(Struct):
    """A file as it was read.

    Attributes
    ----------
    coupons, campaigns : dict
        Good entries by id.
    faults : list of EntryFault
        All faults of the others, in the order of the file.
    refused : int
        Number of the others.
    with_state : set of str
        Ids of the campaigns whose entries name a state.
    """

    coupons: dict[str, Coupon] = {}
    campaigns: dict[str, Campaign] = {}
    warnings: list[str] = []
    faults: list[EntryFault] = []
    refused: int = 0
    with_state: set[str] = set()

    @property
    def entries(self) -> Iterator[tuple[Topic, Coupon | Campaign]]:
        """The good entries with their topics, campaigns first, as the coupons need them."""
        yield from ((topics.CAMPAIGNS, campaign) for campaign in self.campaigns.values())
        yield from ((topics.CATALOG, coupon) for coupon in self.coupons.values())


def read_entries(kind: Kind[Any], data: bytes, name: str, now: float, zone: tzinfo = UTC) -> ParsedFile:
    """Check every entry of a file.

    Parameters
    ----------
    kind : Kind
        Kind of entries that no section names.
    data : bytes
        JSON, JSON lines or YAML: entries, or a mapping with the sections `campaigns` and `coupons`.
    name : str
        Name of the file, for messages; its suffix decides its form.
    now : float
        UTC epoch seconds: an entry that is over gets a warning.
    zone : tzinfo
        The shop's zone, of times without an offset.

    Raises
    ------
    BadConfig
        If the file is neither.
    """
    reading, lines = ParsedFile(), {noun: dict[str, int]() for noun in ("campaign", "coupon")}
    found = read_written(data, name)
    if not found:
        raise BadConfig(f"{name}: holds no {kind.noun}, expected a list of {kind.noun}s or one {kind.noun} a line")
    for written in sorted(found, key=lambda each: each.section):  # campaigns first
        of = next((each for each in (CAMPAIGNS, COUPONS) if written.section == f"{each.noun}s"), kind)
        faults, entry = _checked(of, written, zone)
        entry_id = str(written.value.get(of.topic.key, "")) if isinstance(written.value, dict) else ""
        if entry_id and (first := lines[of.noun].get(entry_id)) is not None:
            text = f"{entry_id!r} is the id of line {first}, too: write another one, or remove one of the two"
            faults.append(Fault(of.topic.key, text))
        lines[of.noun].setdefault(entry_id, written.line)
        faults += _unknown_campaign(written, lines["campaign"])
        if faults or entry is None:
            reading.refused += 1
            reading.faults += [_located(of, written, entry_id, fault) for fault in faults]
            continue
        getattr(reading, f"{of.noun}s")[entry_id] = entry
        if of is CAMPAIGNS and "state" in written.value:
            reading.with_state.add(entry_id)
        reading.warnings += [f"{of.noun} {entry_id!r}: {text}" for text in of.doubts(entry, now)]
    reading.faults.sort(key=lambda fault: fault.line)
    return reading


def _unknown_campaign(written: Written, campaigns: Mapping[str, int]) -> list[Fault]:
    """Return a fault if a coupon names none of the campaigns of its file."""
    name = written.value.get("campaign_id") if isinstance(written.value, dict) else None
    if written.section != "coupons" or not campaigns or name is None or name in campaigns:
        return []
    hint = near(str(name), campaigns) or f", expected one of {', '.join([*campaigns][:FIRST_NAMED])}"
    return [Fault("campaign_id", f"{name!r} is no campaign of this file{hint}; or add it to the section campaigns")]


def _located(kind: Kind[Any], written: Written, entry_id: str, fault: Fault) -> EntryFault:
    first = fault.field.replace("[", ".").partition(".")[0]
    line = written.lines.get(first, written.line)
    if kind is CAMPAIGNS:
        return EntryFault(line, fault.field, fault.text, campaign=entry_id)
    campaign = written.value.get("campaign_id") if isinstance(written.value, dict) else None
    return EntryFault(line, fault.field, fault.text, str(campaign or ""), entry_id)


def _checked(kind: Kind[Entry], written: Written, zone: tzinfo) -> tuple[list[Fault], Entry | None]:
    """Return all faults of an entry, and the entry; if it has faults, what is good of it."""
    if written.fault:
        return [Fault("", written.fault)], None
    entry, faults = checked(written.value, kind.message, zone)
    faults += [Fault(name, "is written twice, remove one of the two") for name in written.repeated]
    if entry is None:
        return faults, None
    bad = {fault.field.partition("[")[0] for fault in faults}.intersection(kind.message.__struct_fields__)
    faults += [
        fault
        for fault in kind.faults(entry, written.value)
        if not any(name in f"{fault.field} {fault.text}" for name in bad)
    ]
    size, most = len(encode(entry)), kind.topic.max_message_bytes - RECORD_OVERHEAD_BYTES
    if size > most:
        faults.append(Fault("", f"has {size} bytes, expected at most {most}: shorten its texts and lists"))
    return faults, entry


def _faults_of_coupon(coupon: Coupon, given: Iterable[str]) -> list[Fault]:
    # Here, for they take numpy, which no help needs.
    from stream_coupons.core.catalogue.discount import discount_of
    from stream_coupons.core.catalogue.eligibility_rules import rule_faults

    faults = []
    if coupon.valid_from >= coupon.valid_until:
        faults.append(_swapped("valid_from", coupon.valid_from, "valid_until", coupon.valid_until))
    if not discount_of(coupon).is_stated:
        text = "no discount, write discount_percent (20 for 20 %) or discount_minor (500 for 5.00)"
        faults.append(Fault("discount_percent", text))
    if coupon.discount_percent is not None and coupon.discount_percent < 1:
        percent = f"{coupon.discount_percent:g}"
        faults.append(
            Fault("discount_percent", f"{percent} is {percent} %, write {float(percent) * 100:g} for a share")
        )
    if coupon.campaign_id is None:
        faults += _faults_of_curve(coupon, given, "valid_until", coupon.valid_until)
    return faults + [Fault("eligible_if", fault) for fault in rule_faults(coupon.eligible_if)]


def _faults_of_campaign(campaign: Campaign, given: Iterable[str]) -> list[Fault]:
    from stream_coupons.core.catalogue.eligibility_rules import rule_faults

    faults = _faults_of_curve(campaign, given, "ends_at", campaign.ends_at)
    if campaign.starts_at >= campaign.ends_at:
        faults.append(_swapped("starts_at", campaign.starts_at, "ends_at", campaign.ends_at))
    faults += _faults_of_guardrails(campaign)
    return faults + [Fault("eligible_if", fault) for fault in rule_faults(campaign.eligible_if)]


def _faults_of_guardrails(campaign: Campaign) -> list[Fault]:
    """Return a fault for each guardrail that can never act, or acts at once."""
    found = []
    for place, one in enumerate(campaign.guardrails):
        if one.metric in ("lift", "roi") and not campaign.holdout_ratio:
            text = f"{one.metric!r} needs a holdout of the campaign, write holdout_ratio: 0.1, or another metric"
            found.append(Fault(f"guardrails[{place}].metric", text))
        elif one.metric == "redemption_ratio" and not 0 < one.limit < 1:
            text = f"{one.limit:g}, expected between 0 and 1, write a share: 0.3 for 30 % of the coupons given"
            found.append(Fault(f"guardrails[{place}].limit", text))
        elif one.metric == "spend_a_day" and one.limit <= 0:
            text = f"{one.limit:g}, expected above 0, write money in minor units: 50000 for 500.00"
            found.append(Fault(f"guardrails[{place}].limit", text))
    return found


def _swapped(first: str, since: float, last: str, until: float) -> Fault:
    return Fault(
        last, f"{utc(until)}, expected later than {first} ({utc(since)}); swap them if they are the wrong way round"
    )


def _faults_of_curve(terms: Coupon | Campaign, given: Iterable[str], name: str, ends_at: float) -> list[Fault]:
    if "budget_curve" not in given or terms.budget_curve == "none" or ends_at < END_OF_TIME:
        return []
    return [Fault("budget_curve", f"{terms.budget_curve!r} needs an end, write {name}, or 'none' for no curve")]


def _doubts_of_coupon(coupon: Coupon, now: float) -> list[str]:
    found = []
    has_campaign = coupon.campaign_id is not None
    if coupon.stock is None and coupon.budget_minor is None and not has_campaign:
        found.append("neither stock nor budget_minor nor campaign_id: nothing limits what it costs")
    if coupon.stock == 0:
        found.append("stock is 0: it is never issued")
    if coupon.budget_minor is not None and coupon.budget_minor < coupon.max_discount_minor:
        found.append("budget_minor is less than max_discount_minor: it is never issued")
    found += [f"eligible_if: {fault}: it is never issued" for fault in _faults_for_coupon(coupon, coupon.eligible_if)]
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


def _faults_for_coupon(coupon: Coupon, rule: str) -> list[str]:
    """Return what is wrong with a rule, its own or its campaign's, for one coupon."""
    from stream_coupons.core.catalogue.eligibility_rules import BadRule, clauses, is_for_nobody

    try:
        return (
            ["a clause is not true by the coupon's own fields"]
            if is_for_nobody(clauses([rule], coupon).values())
            else []
        )
    except BadRule as bad:
        return [str(bad)]


def _doubts_of_campaign(campaign: Campaign, now: float) -> list[str]:
    found = []
    if campaign.ends_at <= now:
        found.append(f"ends_at is {utc(campaign.ends_at)}: it is over")
    if campaign.budget_minor == 0:
        found.append("budget_minor is 0: none of its coupons is issued")
    if campaign.ramp_ratio < 1.0 and campaign.state == "running":
        found.append("ramp_ratio without the state 'ramp': no effect")
    if any(cap.n == 0 for cap in campaign.caps):
        found.append("caps has an n of 0: none of its coupons is issued")
    return found + _doubts_of_budget(campaign, campaign.ends_at, "ends_at")


def _doubts_of_budget(terms: Coupon | Campaign, ends_at: float, name: str) -> list[str]:
    """Return doubts about how a budget is spent; `name` is the field of the end."""
    if terms.budget_minor is None:
        defaults = {name: getattr(Campaign(campaign_id="-"), name) for name in BUDGET_FIELDS}
        named = [field for field, default in defaults.items() if getattr(terms, field) != default]
        return [f"{' and '.join(named)} without budget_minor: no effect"] if named else []
    found = []
    if terms.budget_hold == "maximum" and terms.max_overspend_ratio not in (0.0, DEFAULT_OVERSPEND_RATIO):
        found.append("max_overspend_ratio with budget_hold 'maximum': no effect, it is never overspent")
    if terms.budget_curve != "none" and ends_at >= END_OF_TIME:
        found.append(
            f"budget_minor without {name}: its spending is not steered, first come, first served; "
            f"set {name}, or budget_curve to 'none'"
        )
    return found


COUPONS: Kind[Coupon] = Kind("coupon", topics.CATALOG, Coupon, _faults_of_coupon, _doubts_of_coupon)
CAMPAIGNS: Kind[Campaign] = Kind("campaign", topics.CAMPAIGNS, Campaign, _faults_of_campaign, _doubts_of_campaign)


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


def changed_holdouts(campaigns: Mapping[str, Campaign], published: Mapping[str, Campaign]) -> list[str]:
    """Return a warning for each campaign whose `holdout_ratio` differs from that of the published one.

    Parameters
    ----------
    campaigns, published : mapping
        Campaigns to publish, and those that are published, by id.
    """
    pairs = ((one, published[name]) for name, one in campaigns.items() if name in published)
    return [
        f"campaign {one.campaign_id!r}: holdout_ratio was {was.holdout_ratio:g} and becomes {one.holdout_ratio:g}: "
        "shoppers keep the arm that they were enrolled in, so its lift cannot be measured; take another campaign_id"
        for one, was in pairs
        if one.holdout_ratio != was.holdout_ratio
    ]


def late_limits(wanted: Mapping[str, Coupon | Campaign], published: Mapping[str, Coupon | Campaign]) -> list[str]:
    """Return a warning for each stock or budget of an entry that is published without one.

    Parameters
    ----------
    wanted, published : mapping
        Entries of a kind to publish, and those that are published, by id.
    """
    return [
        f"{type(entry).__name__.lower()} {entry_id!r} is published without {limit}: up to half of the new one may be "
        "given beyond it, in partitions that have given nothing so far; to have it kept exactly, take another id"
        for entry_id, entry in wanted.items()
        if (was := published.get(entry_id)) is not None
        for limit in ("stock", "budget_minor")
        if getattr(was, limit, 0) is None and getattr(entry, limit) is not None
    ]


def _fault_in_campaign(coupon: Coupon, campaign: Campaign) -> str | None:
    since, until = within_campaign(coupon, {campaign.campaign_id: campaign})
    if since >= until:
        return "has no time in common with it: it is never issued"
    for fault in _faults_for_coupon(coupon, campaign.eligible_if):
        return f"has an eligible_if that keeps it from everybody: {fault}"
    if campaign.budget_minor is None:
        is_unlimited = coupon.stock is None and coupon.budget_minor is None
        return "has no budget_minor, and it has none of its own: nothing limits what it costs" if is_unlimited else None
    if campaign.budget_minor < coupon.max_discount_minor:
        return (
            f"has a budget_minor ({campaign.budget_minor}) below its max_discount_minor ({coupon.max_discount_minor}): "
            "it is hardly ever issued"
        )
    return None

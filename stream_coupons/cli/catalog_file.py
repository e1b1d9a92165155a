"""A file of coupons: every coupon of it checked, whatever is wrong with one named."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from stream_coupons import topics
from stream_coupons.cli import terminal
from stream_coupons.codec import Decoder
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.events import END_OF_TIME, Coupon
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import PolicyRules
from stream_coupons.recordings import BYTE_ORDER_MARK, Line, Refusals, elements, lines
from stream_coupons.wording import unknown_fields

# A record is a little larger than the coupon in it.
MAX_COUPON_BYTES = topics.CATALOG.max_message_bytes - 4096
FIRST_NAMED = 10
"""Of the attributes that are not looked at."""
_decode = Decoder(topics.CATALOG)


class Reading(Struct):
    """A catalogue file as it was read.

    Attributes
    ----------
    place : str
        What the numbers of refusals count: lines of a file of JSON lines, or coupons of an array.
    """

    place: str
    coupons: list[Coupon]
    warnings: list[str]
    refusals: Refusals
    numbers: dict[str, int]


def read_catalogue(data: bytes, name: str, now: float) -> Reading:
    """Check every coupon of a file.

    Parameters
    ----------
    data : bytes
        A JSON array of coupons, or one coupon a line.
    name : str
        Of the file, for messages.
    now : float
        UTC epoch seconds: a coupon that is over gets a warning.

    Raises
    ------
    BadConfig
        If the file is neither.
    """
    reading = Reading("line", [], [], Refusals(keep=None), {})
    data = data.removeprefix(BYTE_ORDER_MARK)
    if data.lstrip().startswith(b"["):
        reading.place = "coupon"
        entries = elements(data, name)
    elif _is_one_object(data):
        entries = iter([Line(1, data.strip(), len(data))])
    else:
        entries = lines(data.splitlines(keepends=True))
    count = 0
    for count, entry in enumerate(entries, start=1):  # noqa: B007 - used below
        try:
            coupon = _coupon(entry, reading)
        except BadMessage as bad:
            reading.refusals.add(entry, bad)
            continue
        reading.coupons.append(coupon)
        reading.numbers[coupon.coupon_id] = entry.number
        reading.warnings += [f"coupon {coupon.coupon_id!r}: {text}" for text in doubts(coupon, now)]
    if not count:
        raise BadConfig(f"{name}: holds no coupon, expected a JSON array of coupons or one coupon a line")
    return reading


def _is_one_object(data: bytes) -> bool:
    """Whether the file is one coupon, perhaps over several lines."""
    try:
        msgspec.json.decode(data, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _coupon(entry: Line, reading: Reading) -> Coupon:
    coupon: Coupon = _decode(entry.text, MAX_COUPON_BYTES)
    # Misspelt names: workers would ignore a `bugdet_minor`, and spend without limit.
    faults = [*unknown_fields(msgspec.json.decode(entry.text), Coupon), *faults_of(coupon)]
    if coupon.coupon_id in reading.numbers:
        first = reading.numbers[coupon.coupon_id]
        faults.append(f"coupon_id: {coupon.coupon_id!r} is that of {reading.place} {first}, expected another one")
    if faults:
        raise BadMessage(Rejection.INVALID, f"coupon {coupon.coupon_id!r}: {'; '.join(faults)}")
    return coupon


def faults_of(coupon: Coupon) -> list[str]:
    """What makes a coupon of the right form one that cannot be meant: field, value, what was expected."""
    faults = []
    if coupon.valid_from >= coupon.valid_until:
        faults.append(f"valid_until: {coupon.valid_until}, expected later than valid_from ({coupon.valid_from})")
    if coupon.discount_percent is None and not coupon.discount_minor:
        faults.append("discount_percent, discount_minor: no discount, expected one of them above 0")
    ends = {"valid_from": coupon.valid_from > 0, "valid_until": coupon.valid_until < END_OF_TIME}
    if coupon.pacing == "even" and not all(ends.values()):
        missing = " and ".join(name for name, is_given in ends.items() if not is_given)
        faults.append(f"pacing: 'even' without {missing}, expected both ends of the time to spread the budget over")
    return faults


def doubts(coupon: Coupon, now: float) -> list[str]:
    """What is allowed but worth a second look."""
    found = []
    if coupon.stock is None and coupon.budget_minor is None:
        found.append("neither stock nor budget_minor: nothing limits what it costs")
    if coupon.stock == 0:
        found.append("stock is 0: it is never issued")
    if coupon.budget_minor is not None and coupon.budget_minor < coupon.max_discount_minor:
        found.append("budget_minor is less than max_discount_minor: it is never issued")
    if coupon.max_per_user == 0:
        found.append("max_per_user is 0: it is never issued")
    if coupon.valid_until <= now:
        found.append(f"valid_until is {terminal.utc(coupon.valid_until)}: it is over")
    if coupon.discount_minor is not None and coupon.discount_percent is not None:
        found.append("both discount_minor and discount_percent: it is valued by discount_minor")
    if coupon.discount_minor is not None and coupon.discount_minor > coupon.max_discount_minor:
        found.append("discount_minor is above max_discount_minor, which caps it")
    if coupon.redeem_within_s < PolicyRules().trigger_timeout_s:
        found.append(
            "redeem_within_s is below policy.trigger_timeout_s, as old as an event may be: it may be over then"
        )
    return found


def overlooked(coupons: Iterable[Coupon], others: Iterable[Coupon]) -> list[str]:
    """A warning of each domain that has more attributes than are looked at; `others` are in the catalogue already."""
    from stream_coupons.core.coupons import MAX_ATTRIBUTES

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

"""One line of a foreign log: bytes to its type, and what that becomes."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import END_OF_TIME, MAX_WINDOW_S, NO_COUPON, SCHEMA_VERSION, Context
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.core.payload_hints import refused, unlike_json
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka.codec import MAX_EVENT_BYTES
from stream_coupons_lab.datasets.log_records import (
    TYPES,
    BrowseLine,
    CartLine,
    IssueLine,
    LogLine,
    OrderLine,
)

COUPON_FIELDS = frozenset(Coupon.__struct_fields__)
TYPICAL_PRICE_MINOR = PolicyRules().typical_price_minor


class LogFault(StrEnum):
    """Reasons why a line of a foreign log is not used, besides those of `Rejection`."""

    REPEATED = "repeated"  # an issue_id for the second time
    WRONG_USER = "wrong_user"  # feedback by another shopper than the issue's


class _Head(Struct):
    type: Any = None
    schema_version: Any = SCHEMA_VERSION


class _Flat(Struct):
    coupon_id: Any = None


_decode_line: Callable[[bytes], LogLine] = msgspec.json.Decoder(LogLine).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_flat = msgspec.json.Decoder(_Flat).decode
_decode_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse(text: bytes) -> LogLine:
    """One line of the log.

    Raises
    ------
    BadMessage
        With a text that names the field and what was expected.
    """
    if len(text) > MAX_EVENT_BYTES:
        raise BadMessage(Rejection.TOO_LARGE, f"{len(text)} bytes, at most {MAX_EVENT_BYTES}")
    try:
        line = _decode_line(text)
    except msgspec.ValidationError as error:
        raise _refusal(text, refused(error, LogLine, text)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(Rejection.NOT_JSON, f"{error}{unlike_json(text)}") from None
    if line.schema_version != SCHEMA_VERSION:
        raise _refusal(text, "")
    if isinstance(line, IssueLine) and line.coupon is None and line.arm is None:
        _refuse_flat(text)
    return line


def _refuse_flat(text: bytes) -> None:
    """An issue that names its coupon as `observed-issues` do would pass for one that gave nothing."""
    coupon_id = _decode_flat(text).coupon_id
    if coupon_id not in (None, NO_COUPON):
        detail = (
            f'issue: `coupon_id` is {coupon_id!r}, but `coupon` is missing, expected "coupon": {{"coupon_id": ...}}'
        )
        raise BadMessage(Rejection.INVALID, detail)


def type_of(line: LogLine) -> str:
    """Return the `type` of a line."""
    return str(line.__struct_config__.tag)


def unknown_keys(text: bytes, line: LogLine) -> list[str]:
    """Keys of a line that lines of its type do not have: of a later version, or misspelt."""
    return [key for key in _decode_keys(text) if key not in line.__struct_fields__ and key != "type"]


def _refusal(text: bytes, detail: str) -> BadMessage:
    """Return the error of a line: a wrong version or type before a wrong field."""
    try:
        head = _decode_head(text)
    except msgspec.MsgspecError:
        return BadMessage(Rejection.INVALID, detail)
    if head.schema_version != SCHEMA_VERSION:
        detail = f"schema_version {head.schema_version!r}, this program reads {SCHEMA_VERSION}"
        return BadMessage(Rejection.UNKNOWN_VERSION, detail)
    if head.type not in TYPES:
        found = "is missing" if head.type is None else f"is {head.type!r}"
        return BadMessage(Rejection.INVALID, f"`type` {found}, expected one of {', '.join(TYPES)}")
    return BadMessage(Rejection.INVALID, f"{head.type}: {detail}")


def seconds(time: datetime | float, field: str) -> float:
    seconds = time.timestamp() if isinstance(time, datetime) else time
    if not 0 <= seconds <= END_OF_TIME:
        raise BadMessage(Rejection.INVALID, f"{field} is {time}, expected a time from 1970 to 2100")
    return seconds


def event(number: int, line: BrowseLine | CartLine | OrderLine) -> BrowseEvent | CartEvent | OrderEvent:
    at, event_id = seconds(line.occurred_at, "occurred_at"), line.event_id or f"line-{number}"
    who: dict[str, Any] = {
        "event_id": event_id,
        "user_id": line.user_id,
        "occurred_at": at,
        "domain": line.domain,
        "context": line.context or {},
    }
    if isinstance(line, BrowseLine):
        return BrowseEvent(item=line.item, **who)
    if isinstance(line, CartLine):
        return CartEvent(item=line.item, action=line.action, **who)
    return OrderEvent(
        order_id=line.order_id or event_id,
        items=line.items,
        total_minor=line.total_minor,
        discount_minor=line.discount_minor,
        **who,
    )


def arm_of(line: IssueLine, coupon: Coupon | None) -> str:
    """The name of what was chosen; `none` and only that is without a coupon."""
    arm = line.arm or (coupon.coupon_id if coupon is not None else NO_COUPON)
    if (arm == NO_COUPON) != (coupon is None):
        found = "missing" if coupon is None else repr(coupon.coupon_id)
        raise BadMessage(Rejection.INVALID, f"arm is {arm!r}, but `coupon` is {found}")
    names = {arm} if coupon is None else {arm, coupon.coupon_id}
    if line.arms is not None and not names & set(line.arms):
        raise BadMessage(Rejection.INVALID, f"arm {arm!r} is not among `arms`")
    return arm


def read_coupon(description: dict[str, Any], window_s: float) -> Coupon:
    """A coupon as a line describes it: what is null is missing, what is no field of a coupon is an attribute.

    `price_minor`, as items say it, is the typical price. A missing `max_discount_minor` is what the discount comes to
    at that; where no discount is known, it is the least there is.

    Raises
    ------
    BadMessage
    """
    given = {name: _whole(value) for name, value in description.items() if value is not None}
    known = {name: value for name, value in given.items() if name in COUPON_FIELDS}
    others = {name: value for name, value in description.items() if name not in COUPON_FIELDS}
    price = given.get("price_minor")
    if type(price) is int and price > 0:
        known.setdefault("typical_price_minor", price)
    known.setdefault("redeem_within_s", min(window_s, MAX_WINDOW_S))
    try:
        attributes = msgspec.convert(others | known.pop("attributes", {}), Context)
        known.setdefault("max_discount_minor", 1)
        coupon = msgspec.convert(known | {"attributes": attributes}, Coupon)
    except (msgspec.ValidationError, TypeError) as error:
        raise BadMessage(Rejection.INVALID, f"issue: coupon: {error}") from None
    if "max_discount_minor" in given:
        return coupon
    percent = (coupon.discount_percent or 0) / 100 * (coupon.typical_price_minor or TYPICAL_PRICE_MINOR)
    return msgspec.structs.replace(coupon, max_discount_minor=max(1, coupon.discount_minor or round(percent)))


def _whole(value: Any) -> Any:
    """Whole numbers written as 100.0, as table tools do, are whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

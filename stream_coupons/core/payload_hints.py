"""Probable causes of a refusal: what a value is that is no message, for the detail of its dead letter."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from stream_coupons.core.messages.fields import END_OF_TIME, Amount, EpochSeconds
from stream_coupons.core.validation_hints import explained, fields_of, near, options_of, steps_to, type_at

UTF_16 = ": it is UTF-16, expected UTF-8"
MAGIC = {
    b"\x1f\x8b": ": it is compressed by gzip",
    b"\x28\xb5\x2f\xfd": ": it is compressed by Zstandard",
    b"\xef\xbb\xbf": ": it begins with a byte order mark (BOM), expected UTF-8 without one",
    b"\xff\xfe": UTF_16,
    b"\xfe\xff": UTF_16,
    b"{\0": UTF_16,
    b"\0{\0": UTF_16,
    b"Obj\1": ": it is an Avro file, expected JSON",
    b"\xc3\1": ": it is Avro, single-object encoding, expected JSON",
}
LONGEST_MAGIC = max(map(len, MAGIC))
REGISTRY_HEADER_BYTES = 5
"""Length of the header of Confluent's serializers: a zero byte, and the number of the schema in four bytes."""
THOUSANDS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
MAX_NAMES = 200
"""Names of an object that are compared with those expected: a record may have thousands."""
MAX_BYTES = 64 * 1024
"""Length of the longest value that is read again for a hint: a refusal must not cost much more than a decode."""
_MISSING = re.compile(r"missing required field `(\w+)`")
_PART_OF_JSON = re.compile(rb'\s*(?:[{\[]|[}\]]+,?|"[^"\n]*"\s*:[^\n]*)\s*')
_CSV = re.compile(rb"[^{}\[\]\n,;\t]+(?:[,;\t][^{}\[\]\n,;\t]*){2,}\s*(?:\n|$)")


def refused(error: msgspec.ValidationError, kind: Any, data: bytes) -> str:
    """Return the text of an error with its probable cause.

    Parameters
    ----------
    error : msgspec.ValidationError
        The error.
    kind : type
        The expected type of the data.
    data : bytes
        The refused JSON.

    Examples
    --------
    >>> from stream_coupons.core.messages.inputs import Tick
    >>> try:
    ...     msgspec.json.decode(b'{"At": 1}', type=Tick)
    ... except msgspec.ValidationError as error:
    ...     print(refused(error, Tick, b'{"At": 1}'))
    Object missing required field `at`: found At, expected at
    """
    text, steps = explained(error, kind), steps_to(str(error))
    if len(data) > MAX_BYTES:
        return text
    wanted, found = type_at(kind, steps), _within(data, steps)
    if (missing := _MISSING.search(text)) and isinstance(found, dict):
        fields = [field for option in options_of(wanted) for field in fields_of(option)]
        return text + ((not steps and _envelope(found)) or _other_spelling(found, fields, missing[1]))
    if not steps and isinstance(found, list):
        return f"{text}: send each event as a record of its own"
    if not steps and isinstance(found, str):
        return f"{text}: it is a text that contains JSON, encode it once"
    return text + _other_value(found, wanted)


def _within(data: bytes, steps: Iterable[str]) -> Any:
    """Return the value at a place within JSON; None if it is not known."""
    try:
        found = msgspec.json.decode(data)
        for step in steps:
            found = found[int(step)] if isinstance(found, list) else found.get(step)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError, ValueError, IndexError):
        return None
    return found


def _envelope(found: dict[str, Any]) -> str:
    """Return the envelope around an event, if its fields show one."""
    payload = found.get("payload", found)
    if "specversion" in found:
        return ": it is a CloudEvents envelope, set kafka.formats of this topic to cloudevents"
    if isinstance(payload, dict) and "op" in payload and "after" in payload:
        return ": it is a Debezium envelope, set kafka.formats of this topic to debezium"
    if found.keys() == {"schema", "payload"}:
        return ": it is JSON of Kafka Connect with its schema, set value.converter.schemas.enable=false there"
    return ""


def _other_spelling(found: dict[str, Any], fields: list[str], missing: str) -> str:
    """Return the absent fields that are there by another spelling."""
    others = {re.sub(r"\W|_", "", name).lower(): name for name in list(found)[:MAX_NAMES] if name not in fields}
    absent = {name: others.get(name.replace("_", "")) for name in fields if name not in found}
    if absent.get(missing) is None:
        absent[missing] = next((name for name in list(found)[:MAX_NAMES] if near(name, [missing])), None)
    pairs = [f"found {other}, expected {name}" for name, other in absent.items() if other is not None]
    return f": {'; '.join(pairs)}" if pairs else ""


def _other_value(found: Any, wanted: Any) -> str:
    """Return the value that was probably meant by one of another type or range, as the end of a sentence."""
    kinds = (wanted, *get_args(wanted))
    number = _number(found)
    if EpochSeconds in kinds:
        if isinstance(found, str) and number is None:
            number = _epoch_seconds(found)
            return f": times are UTC epoch seconds, expected {number:.0f}?" if number is not None else ""
        if number is not None and number >= 0:
            return _in_seconds(number)
    if Amount in kinds and number is not None and number >= 0:
        if not number.is_integer():
            return f": money is in minor units (cents), expected {round(number * 100)}?"
        return f": money is a whole number of minor units (cents), expected {number:.0f}?"
    if isinstance(found, int | float) and any(option is str for option in options_of(wanted)):
        return f': expected a text in quotes, "{found}"?'
    return ""


def _in_seconds(number: float) -> str:
    """Return the time that was probably meant by a number of another unit, or by one in quotes."""
    for power, unit in enumerate(THOUSANDS):
        if (seconds := number / 1000.0**power) <= END_OF_TIME:
            what = "numbers without quotes" if power == 0 else f"in seconds, not in {unit}"
            return f": times are {what}, expected {seconds:.10g}?"
    return ""


def _number(found: Any) -> float | None:
    """Return a number, or the number in a text; None for anything else."""
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,9})?", found):
        return float(found)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number and abs(found) < 1e300 else None


def _epoch_seconds(text: str) -> float | None:
    """Return the UTC epoch seconds of ISO 8601, without an offset in UTC; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def unlike_json(data: bytes) -> str:
    """Return the form of bytes that are no plain UTF-8, if their first `LONGEST_MAGIC` show it.

    Examples
    --------
    >>> unlike_json(bytes.fromhex("1f8b0800")), unlike_json(b"{")
    (': it is compressed by gzip', '')
    """
    return next((form for magic, form in MAGIC.items() if data.startswith(magic)), "")


def unlike_event(data: bytes) -> str:
    """Return the form of a record's value that is no JSON object, as the end of a sentence; empty if it is not known.

    Examples
    --------
    >>> unlike_event(b"{"), unlike_event(b"e1,u1,1767348000")
    (': it is one line of an object, send the whole object as one record', ': it is CSV, expected JSON')
    """
    if form := unlike_json(data):
        return form
    if data[:1] == b"\0" and len(data) > REGISTRY_HEADER_BYTES:
        schema, rest = int.from_bytes(data[1:REGISTRY_HEADER_BYTES]), data[REGISTRY_HEADER_BYTES:]
        of = "JSON Schema" if rest[:1] == b"{" else "Avro or Protobuf"
        return f": it has the header of Confluent's schema registry (schema {schema}, {of}), expected plain JSON"
    try:
        data.decode()
    except UnicodeDecodeError:
        is_latin = is_json(data.decode("latin-1").encode())
        return ": its text is Latin-1 (ISO 8859-1), expected UTF-8" if is_latin else ""
    first, _, rest = data.strip().partition(b"\n")
    if rest and is_json(first):
        return ": it has several lines of JSON, send each as a record of its own"
    if _PART_OF_JSON.fullmatch(data):
        return ": it is one line of an object, send the whole object as one record"
    if first.startswith(b"{'"):
        return ": it has single quotes, as Python prints a dict, expected JSON by json.dumps"
    if first.startswith(b"<"):
        return ": it is XML, expected JSON"
    return ": it is CSV, expected JSON" if _CSV.match(data) else ""


def is_json(data: bytes) -> bool:
    """Return True if bytes are one value of JSON."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True

"""What is wrong with data, in words that help who wrote it: names that come near, values that are allowed."""

import bisect
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from stream_coupons.core.messages.fields import END_OF_TIME, EpochSeconds

IN_SECONDS = "times are in seconds, not in milliseconds"
MAGIC = {
    b"\x1f\x8b": "it is compressed by gzip",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd",
    b"PK\x03\x04": "it is a zip archive",
    b"\xff\xfe": "it is UTF-16, expected UTF-8",
    b"\xfe\xff": "it is UTF-16, expected UTF-8",
    b"\xef\xbb\xbf": "it begins with a byte order mark (BOM), expected UTF-8 without one",
}
LOOKED_AT_BYTES = 64
HALF_A_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
NO_NUMBER = re.compile(rb"[:,\[]\s*(-?(?:NaN|Infinity))\s*[,}\]]")
PYTHON_NAME = re.compile(rb"^\s*\{\s*'")
SHOWN_CHARACTERS = 64
_PLACE = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$")
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")


def near(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant, as the end of a sentence; empty if none comes near.

    >>> near("titel", ["title", "stock"]), near("x", ["title"])
    (', expected title?', '')
    """
    found = difflib.get_close_matches(name, list(names), 1)
    return f", expected {found[0]}?" if found else ""


def explained(error: msgspec.ValidationError, kind: Any, read: Callable[[], Any]) -> str:
    """What msgspec says, and what it leaves out: which values are allowed, which key it was, which name was meant.

    Parameters
    ----------
    kind : type
        That the data should have had.
    read : callable
        The data as dicts and lists; asked only where it is needed.
    """
    text = str(error)
    place = _PLACE.search(text)
    steps = _STEP.findall(place[1]) if place else []
    wanted = _at(kind, [name or index for name, index in steps])
    if f"<= {int(END_OF_TIME)}" in text:
        return f"{text}: {IN_SECONDS}"
    if wanted is None:
        return text
    if "unknown field `" in text:
        name = text.split("unknown field `")[1].split("`")[0]
        return text + near(name, [field for option in _options(wanted) for field in _fields(option)])
    if text.startswith("Invalid enum value") and (allowed := list(_allowed(wanted))):
        return f"{text}, expected one of {', '.join(allowed)}"
    if EpochSeconds in (wanted, *get_args(wanted)) and "got `str`" in text:
        return f"{text}: times are UTC epoch seconds, such as 1767348000.0"
    if steps and steps[-1][1] == "..." and (key := _bad_key(kind, steps, read)) is not None:
        return f"{text}, of the key {key!r}"
    return text


def unlike_text(data: bytes) -> str:
    """What bytes are that are no plain UTF-8, if that shows at their beginning, as the end of a sentence."""
    for magic, what in MAGIC.items():
        if data.startswith(magic):
            return f": {what}"
    return ": it is binary, expected text" if min(data[:LOOKED_AT_BYTES], default=32) < 9 else ""


def unlike_json(data: bytes) -> str:
    r"""What one message is that is no JSON, if that shows, as the end of a sentence.

    >>> unlike_json(bytes.fromhex("1f8b0800")), unlike_json(b"{")
    (': it is compressed by gzip', '')
    >>> unlike_json(rb'"\ud83d\ude00"'), unlike_json(rb'"\ud83d"')
    ('', ': a text holds half of a surrogate pair, as of an emoji that was cut in two')
    """
    if what := unlike_text(data):
        return what
    if HALF_A_PAIR.search(data):
        return ": a text holds half of a surrogate pair, as of an emoji that was cut in two"
    if no_number := NO_NUMBER.search(data):
        return f": JSON has no {no_number[1].decode()}, leave out what is not known"
    if PYTHON_NAME.search(data):
        return ": it looks like a dict of Python, whose quotes are single, expected double ones"
    return ""


def unknown_fields(found: Any, kind: Any, path: str = "") -> Iterator[str]:
    """Names within data that its type does not have, and what was probably meant; readers ignore these.

    >>> from stream_coupons.core.messages.inputs import BrowseEvent
    >>> list(unknown_fields({"item": {"categry": "tea"}, "context": {"any": 1}}, BrowseEvent))
    ['item.categry: no such field, expected category?']
    """
    for option in _options(kind):
        if isinstance(found, dict):
            fields = _fields(option)
            for name, value in found.items() if fields else ():
                if name in fields:
                    yield from unknown_fields(value, fields[name], f"{path}{name}.")
                else:
                    yield f"{path}{name}: no such field{near(name, fields)}"
        elif isinstance(found, list) and get_origin(option) is list:
            for each in found:
                yield from unknown_fields(each, get_args(option)[0], path)


def _options(kind: Any) -> Iterator[Any]:
    """The types that a value may have, without what is said of their range."""
    if get_origin(kind) is Annotated:
        yield from _options(kind.__origin__)
    elif get_origin(kind) in (Union, UnionType):
        for each in get_args(kind):
            yield from _options(each)
    else:
        yield kind


@lru_cache
def _fields(kind: Any) -> dict[str, Any]:
    """Types of the fields of a struct; none of what is no struct."""
    is_struct = isinstance(kind, type) and issubclass(kind, Struct)
    return get_type_hints(kind, include_extras=True) if is_struct else {}


def _at(kind: Any, steps: Iterable[str]) -> Any:
    """The type at a place within another; None if that cannot be told."""
    for step in steps:
        for option in _options(kind):
            if step in _fields(option):
                kind = _fields(option)[step]
                break
            if not step.isidentifier() and get_args(option):
                kind = get_args(option)[-1 if step == "..." else 0]
                break
        else:
            return None
    return kind


def _allowed(kind: Any) -> Iterator[str]:
    for option in _options(kind):
        if get_origin(option) is Literal:
            yield from map(str, get_args(option))
        elif isinstance(option, type) and issubclass(option, Enum):
            yield from (str(member.value) for member in option)


def _bad_key(kind: Any, steps: list[tuple[str, str]], read: Callable[[], Any]) -> str | None:
    """The first key of a mapping whose entry is not what it should be."""
    outer = [name or index for name, index in steps[:-1]]
    table = next((option for option in _options(_at(kind, outer)) if get_origin(option) is dict), None)
    try:
        found = read()
        for step in outer:
            found = found[step if isinstance(found, dict) else int(step)]
        entries = list(found.items())
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None

    def fails(count: int) -> bool:
        try:
            msgspec.convert(dict(entries[:count]), table)
        except msgspec.ValidationError:
            return True
        return False

    # Halving, since there may be tens of thousands: all that begins with the bad entry fails, all before it does not.
    first = bisect.bisect_left(range(len(entries) + 1), True, key=fails)
    return entries[first - 1][0][:SHOWN_CHARACTERS] if 0 < first <= len(entries) else None

"""All faults of an entry at once: each field is checked for itself, and each fault states a remedy."""

import json
from datetime import tzinfo
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from stream_coupons.core.messages.fields import EpochSeconds
from stream_coupons.core.times import EXPECTED, epoch_seconds, is_time, utc
from stream_coupons.core.validation_hints import explained, fields_of, near, options_of
from stream_coupons.ops.synonyms import meant

YEAR_2000 = 946_684_800
LONGEST_SHOWN = 60
REMEDIES = {
    "_minor": "write money in minor units as a whole number: 500 for 5.00",
    "_percent": "write a number: 20 for 20 %",
    "_ratio": "write a share: 0.3 for 30 %",
    "_s": "write a number of seconds: 604800 for 7 days",
}
"""Remedies by the end of the field's name, which states the unit."""

AnyStruct = TypeVar("AnyStruct", bound=Struct)


class Fault(NamedTuple):
    """A fault of an entry: the path of its field, empty for the whole, and a text with the remedy."""

    field: str
    text: str


def checked(found: Any, kind: type[AnyStruct], zone: tzinfo) -> tuple[AnyStruct | None, list[Fault]]:
    """Return an entry and all faults of its fields.

    Parameters
    ----------
    found : any
        The entry as dicts and lists.
    zone : tzinfo
        The zone of times without an offset.

    Returns
    -------
    entry : struct or None
        The entry. If it has faults, what is left of it without the faulty fields, so that those that depend on each
        other can be compared; None if that is none.
    faults : list of Fault
        Empty if it is good.
    """
    check = _Check(zone)
    if not isinstance(found, dict):
        return None, [Fault("", f"{_shown(found)} is no entry, write its fields as `name: value`")]
    values = check.fields(found, kind, "")
    missing = _required(kind).keys() - values.keys() if check.faults else ()
    for name in missing:
        values |= _imputed(name, kind)
    try:
        return msgspec.convert(values, kind), check.faults
    except msgspec.ValidationError as error:  # of fields that do not go together
        text = str(error)
        if any(fault.field in text for fault in check.faults):
            return None, check.faults
        named = next((name for name in kind.__struct_fields__ if name in text), "")
        return None, [*check.faults, Fault(named, f"{text}; change it")]


def _imputed(name: str, kind: type[Struct]) -> dict[str, Any]:
    """Return a value for a required field that has none."""
    candidates: tuple[Any, ...] = ("?", 1, [], {})
    for value in candidates:
        try:
            return {name: msgspec.convert(value, _required(kind)[name])}
        except msgspec.ValidationError:
            continue
    return {}


@lru_cache
def _required(kind: type[Struct]) -> dict[str, Any]:
    """Return the types of the fields without a default."""
    return {each.name: each.type for each in msgspec.structs.fields(kind) if each.required}


class _Check:
    """A walk through data beside its type that goes on after a fault."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.faults: list[Fault] = []

    def fields(self, found: dict[Any, Any], kind: type[Struct], path: str) -> dict[str, Any]:
        """Return the good fields of a struct, with times as numbers."""
        known, values, count = fields_of(kind), {}, 0
        for name, value in found.items():
            if name not in known:
                hint = meant(str(name), known) or "; remove it, or see the list of fields in the schema"
                self.faults.append(Fault(f"{path}{name}", f"no such field{hint}"))
                continue
            count = len(self.faults)
            one = self._value(value, known[name], f"{path}{name}")
            if len(self.faults) == count:
                values[name] = one
        for name, of_field in _required(kind).items():
            if name not in found:
                what = next((f": {of.description}" for of in get_args(of_field) if getattr(of, "description", "")), "")
                self.faults.append(Fault(f"{path}{name}", f"is missing, add it{what}"))
        return values

    def _value(self, value: Any, kind: Any, path: str) -> Any:
        """Return a value with times as numbers, and note its faults."""
        if is_time(kind) and value is not None:
            return self._time(value, path)
        before = len(self.faults)
        for option in options_of(kind):
            of = get_args(option)
            if isinstance(value, dict) and fields_of(option):
                value = self.fields(value, option, f"{path}.")
            elif isinstance(value, dict) and get_origin(option) is dict:
                value = {name: self._value(each, of[1], f"{path}.{name}") for name, each in value.items()}
            elif isinstance(value, list) and get_origin(option) is list:
                value = [self._value(each, of[0], f"{path}[{place}]") for place, each in enumerate(value)]
        if len(self.faults) == before:
            try:
                msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                text = explained(error, kind)
                self.faults.append(
                    Fault(path, f"{_shown(value)}: {text[:1].lower()}{text[1:]}{_remedy(value, kind, path)}")
                )
        return value

    def _time(self, value: Any, path: str) -> Any:
        """Return the epoch seconds of an ISO 8601 time; a date alone includes its day in a field that is an end."""
        if isinstance(value, str):
            try:
                return epoch_seconds(value, self._zone, ends=path.endswith(("until", "ends_at", "expires_at")))
            except ValueError as error:
                self.faults.append(Fault(path, str(error)))
        elif isinstance(value, bool) or not isinstance(value, int | float):
            self.faults.append(Fault(path, f"{_shown(value)} is not a time; {EXPECTED}"))
        elif 0 < value < YEAR_2000:
            self.faults.append(Fault(path, f"{_shown(value)} is {utc(value)} as epoch seconds; {EXPECTED}"))
        else:
            try:
                return msgspec.convert(value, EpochSeconds)
            except msgspec.ValidationError:
                ms = f" ({utc(value / 1000)} if it is in milliseconds)" if value > 0 else ""
                self.faults.append(Fault(path, f"{_shown(value)} is not a time from 1970 to 2099{ms}; {EXPECTED}"))
        return value


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _remedy(value: Any, kind: Any, path: str) -> str:
    """Return what to do about a value that its type refuses, as the end of a sentence."""
    options = list(options_of(kind))
    of_unit = next((text for end, text in REMEDIES.items() if path.endswith(end)), "")
    if value is None:
        return "; write a value, or remove the field"
    if value in (-1, 0) and type(None) in options:
        return "; remove the field for no limit"
    if of_unit:
        return f"; {of_unit}"
    if bool in options:
        return "; write true or false"
    for option in options:
        if get_origin(option) is Literal:
            return near(str(value), map(str, get_args(option))) or "; write one of these"
        if get_origin(option) is list:
            return f"; write a list: [{value}]" if isinstance(value, str) else "; write a list of at most that length"
        if option is dict or get_origin(option) is dict:
            return "; write names and values: {season: winter}"
    if str in options:
        write = (
            f'write it in quotes: "{value}"'
            if not isinstance(value, str)
            else "shorten it"
            if value
            else "write a name"
        )
        return f"; {write}"
    return "; write a whole number without quotes" if int in options else "; write a number without quotes"

"""Fields of the forms of coupons and campaigns: how each is written for people, and read again."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC
from decimal import Decimal
from typing import Any, NamedTuple, get_args

import msgspec

from stream_coupons.core.caps import CapPeriod
from stream_coupons.core.currencies import decimals
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import (
    BudgetCurve,
    BudgetHold,
    Campaign,
    Coupon,
    GuardrailAction,
    GuardrailMetric,
    Weekday,
    WhileHeld,
)
from stream_coupons.core.times import epoch_seconds, utc
from stream_coupons.ops.campaign_verbs import LIFE_FIELDS
from stream_coupons.ops.catalogue_files import EntryFault
from stream_coupons.ops.entry_files import read_written

EXTRA = "extra"
"""Name of the text area with all other fields."""
ACTION = "guardrails.action"
SCALES = {"days": Decimal(86400), "percent": Decimal("0.01")}
_NUMBER = re.compile(r"-?([0-9]{1,18}|[0-9]{1,3}(,[0-9]{3}){1,5})(\.[0-9]{1,18})?")
_POWERS = {Decimal(10) ** places for places in (2, 3, 4)}
IN_MONEY = ("lift", "spend_a_day")


class Field(NamedTuple):
    """A field of a form.

    Attributes
    ----------
    name : str
        Field of the entry.
    unit : str
        `text`, `rule`, `time`, `number`, `money` (written in units of the currency), `percent` (of a share), `days`
        (of seconds), `names` (separated by commas), `caps`, `guardrails`, or `choice`.
    choices : tuple of str
        Values of a choice.
    """

    name: str
    label: str
    unit: str = "text"
    hint: str = ""
    choices: tuple[str, ...] = ()


class Section(NamedTuple):
    """A part of a form; `is_rare` ones are folded."""

    title: str
    fields: tuple[Field, ...]
    is_rare: bool = False


_BUDGET = (
    Field("budget_curve", "Spend it", "choice", "Over the time from start to end.", get_args(BudgetCurve)),
    Field("budget_hold", "Held for open coupons", "choice", "maximum is never overspent.", get_args(BudgetHold)),
    Field("max_overspend_ratio", "Beyond the budget at most", "percent", "If every open coupon were used in full."),
)
_WHO = (
    Field("caps", "Most for one shopper", "caps", "Per day, week and month of the calendar, and for life."),
    Field("eligible_if", "Only if (CEL)", "rule", "For example shopper.days_since_order >= 30."),
)
_HOURS = (
    Field("weekdays", "Only on", "weekdays", "None for every day.", get_args(Weekday)),
    Field("from_hour", "From hour", "number", "On the shopper's clock."),
    Field("until_hour", "Until hour", "number", "The same as from: all day."),
)
COUPON_SECTIONS = (
    Section("Coupon", (
        Field("coupon_id", "Id", hint="Its name for systems; it never changes."),
        Field("title", "Title", hint="Its name for people."),
        Field("domain", "Domain", hint="Which shop or market its shoppers are in."),
        Field("campaign_id", "Campaign", hint="Whose budget and time it shares."),
    )),
    Section("Discount: fill in one kind", (
        Field("discount_percent", "Per cent off", "number"),
        Field("discount_minor", "Amount off", "money"),
        Field("max_discount_minor", "At most", "money", "The most that one use can cost; always needed."),
        Field("min_spend_minor", "From a basket of", "money", "Value of the items that it is for."),
    )),
    Section("Other kinds of discount", (
        Field("free_delivery_minor", "Free delivery, which costs", "money"),
        Field("gift_item", "A gift: this item"),
        Field("gift_cost_minor", "Cost of the gift", "money"),
        Field("buy_pieces", "Buy so many pieces", "number"),
        Field("get_pieces", "to get so many", "number"),
        Field("get_percent", "at so many per cent off", "number", "100 for free."),
        Field("min_pieces", "From so many pieces on", "number"),
    ), is_rare=True),
    Section("What it is for", (
        Field("categories", "Categories", "names", "Separated by commas; none for all."),
        Field("brands", "Brands", "names"),
        Field("items", "Items", "names"),
        Field("typical_price_minor", "Typical order value", "money", "Of what it is for."),
        Field("margin_ratio", "Margin", "percent", "Of these orders, before the discount."),
    )),
    Section("When", (
        Field("valid_from", "Given from", "time", "2026-01-02 or 2026-01-02T18:00, on the shop's clock."),
        Field("valid_until", "Given until", "time", "A date includes its day."),
        Field("redeem_within_s", "Good for", "days"),
        *_HOURS,
    )),
    Section("How many, and for whom", (
        Field("stock", "Coupons at most", "number"),
        Field("budget_minor", "Budget of its own", "money"),
        *_WHO,
        Field("not_while_held", "Not to holders of", "choice", choices=get_args(WhileHeld)),
        Field("priority", "Priority", "number", "The highest worthwhile one is given."),
        Field("exclusion_group", "Exclusion group"),
        Field("channels", "Channels", "names"),
    )),
    Section("Spending of its own budget", _BUDGET, is_rare=True),
)  # fmt: skip
CAMPAIGN_SECTIONS = (
    Section("Campaign", (
        Field("campaign_id", "Id", hint="Its name for systems; it never changes."),
        Field("title", "Title", hint="Its name for people."),
        Field("starts_at", "Starts", "time", "2026-01-02 or 2026-01-02T18:00, on the shop's clock."),
        Field("ends_at", "Ends", "time", "A date includes its day."),
    )),
    Section("Money", (Field("budget_minor", "Budget", "money", "Shared by all of its coupons."), *_BUDGET)),
    Section("Measurement and guardrails", (
        Field("holdout_ratio", "Left out to measure it", "percent", "Shoppers who get none of its coupons."),
        Field("guardrails", "Stop it", "guardrails", "As soon as the whole interval of a figure is beyond its limit."),
    )),
    Section("For whom, and when", (*_WHO, *_HOURS)),
)  # fmt: skip


def written_of(
    values: Mapping[str, str], sections: tuple[Section, ...], currency: str | None
) -> tuple[dict[str, Any], list[EntryFault]]:
    """Return an entry as a file would have it, and the faults of its inputs.

    Parameters
    ----------
    values : mapping of str to str
        Texts of the inputs by name. Fields of the text area `EXTRA` count before all others.
    currency : str or None
        Currency of amounts; None for minor units.

    Returns
    -------
    written : dict
        Fields by name.
    faults : list of EntryFault
        Empty if all inputs can be read.
    """
    written, faults = dict[str, Any](), list[EntryFault]()
    for field in (each for section in sections for each in section.fields):
        try:
            value = _read(field, values, currency)
        except ValueError as error:
            faults.append(EntryFault(0, field.name, str(error)))
            continue
        if value not in (None, "", []):
            written[field.name] = value
    if text := values.get(EXTRA, "").strip():
        try:
            [extra] = [one.value for one in read_written(text.encode(), "all other fields")]
            written |= extra
        except (BadConfig, ValueError, TypeError) as error:
            why = (
                str(error) if isinstance(error, BadConfig) else "expected the fields of one entry, each as name: value"
            )
            faults.append(EntryFault(0, EXTRA, why))
    return written, faults


def values_of(entry: Coupon | Campaign, sections: tuple[Section, ...], currency: str | None) -> dict[str, str]:
    """Return the texts of the inputs for an entry; parameters as of `written_of`.

    What the inputs cannot state is in the text area.
    """
    fields = {name: value for name, value in msgspec.to_builtins(entry).items() if name not in LIFE_FIELDS}
    values, rest = dict[str, str](), dict(fields)
    for field in (each for section in sections for each in section.fields if each.name in fields):
        shown = _shown(field, fields[field.name], currency)
        with suppress(ValueError):
            back = _read(field, shown, currency)
            if (epoch_seconds(back, UTC) if field.unit == "time" else back) == fields[field.name]:
                values |= shown
                del rest[field.name]
    return values | ({EXTRA: msgspec.json.format(msgspec.json.encode(rest), indent=2).decode()} if rest else {})


def defaults_of(kind: type[Coupon | Campaign], sections: tuple[Section, ...], currency: str | None) -> dict[str, str]:
    """Return the texts that stand for empty inputs, by name; parameters as of `written_of`."""
    found = dict[str, str]()
    known = {one.name: one.default for one in msgspec.structs.fields(kind)}
    for field in (each for section in sections for each in section.fields):
        if isinstance(default := known[field.name], str | int | float) and field.unit != "time":
            found |= _shown(field, default, currency)
    return found


def _read(field: Field, values: Mapping[str, str], currency: str | None) -> Any:
    """Return the value of a field, empty or None if there is none."""
    match field.unit:
        case "weekdays":
            return [day for day in field.choices if values.get(f"{field.name}.{day}")]
        case "names":
            return [name for part in values.get(field.name, "").split(",") if (name := part.strip())]
        case "caps":
            found = ((per, values.get(f"caps.{per}", "").strip()) for per in get_args(CapPeriod))
            return [{"per": per, "n": _number(n)} for per, n in found if n]
        case "guardrails":
            return [*_guardrails(values, currency)]
    text = values.get(field.name, "").strip().replace("\r\n", "\n")
    if not text or field.unit in ("text", "rule", "time", "choice"):
        return text
    return _number(text, _scale(field.unit, currency))


def _shown(field: Field, value: Any, currency: str | None) -> Mapping[str, str]:
    """Return the texts of the inputs of a field."""
    match field.unit:
        case "weekdays":
            return {f"{field.name}.{day}": "on" for day in value}
        case "names":
            return {field.name: ", ".join(value)}
        case "caps":
            return {f"caps.{cap['per']}": str(cap["n"]) for cap in value}
        case "guardrails":
            shown = {one["metric"]: _text(one.get("limit", 0), _limit_scale(one["metric"], currency)) for one in value}
            return {f"guardrails.{name}": text for name, text in shown.items()} | {
                ACTION: value[0].get("action", "hold") if value else ""
            }
        case "time":
            return {field.name: utc(value)}
        case "number" | "money" | "percent" | "days":
            return {field.name: _text(value, _scale(field.unit, currency))}
    return {field.name: str(value)}


def _guardrails(values: Mapping[str, str], currency: str | None) -> Iterator[dict[str, Any]]:
    for metric in get_args(GuardrailMetric):
        if text := values.get(f"guardrails.{metric}", "").strip():
            limit = {"limit": found} if (found := _number(text, _limit_scale(metric, currency))) else {}
            action = {"action": of} if (of := values.get(ACTION, "hold")) != get_args(GuardrailAction)[0] else {}
            yield {"metric": metric} | limit | action


def _limit_scale(metric: str, currency: str | None) -> Decimal:
    return _scale("money", currency) if metric in IN_MONEY else Decimal(1)


def _scale(unit: str, currency: str | None) -> Decimal:
    return Decimal(10) ** decimals(currency) if unit == "money" else SCALES.get(unit, Decimal(1))


def _number(text: str, scale: Decimal = Decimal(1)) -> int | float:
    """Return a number times a scale: whole if it is.

    Raises
    ------
    ValueError
        If the text is no number, or is money with more decimals than its currency has.
    """
    plain = text.removesuffix("%").strip()
    if not _NUMBER.fullmatch(plain):
        raise ValueError(f"{text!r} is no number, write one such as 12.50 or 1,250")
    found = Decimal(plain.replace(",", "")) * scale
    if found == found.to_integral_value():
        return int(found)
    if scale in _POWERS:
        raise ValueError(f"{text!r} has more decimals than its currency")
    return float(found)


def _text(value: float, scale: Decimal) -> str:
    """Return a number over a scale without trailing zeros."""
    text = f"{Decimal(str(value)) / scale:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

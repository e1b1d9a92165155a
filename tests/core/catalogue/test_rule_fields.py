"""Values of the fields of rules, from the steps that fold events."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.catalogue.rule_fields import (
    MAX_SEGMENTS,
    NEEDS_TRIGGER,
    NEVER_DAYS,
    OCCASION_FIELDS,
    Occasion,
)
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.shopper.state import History, Shopper
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, HOUR_S, browse, cart, knowledge, order, see

TEA = item("tea-1", category="tea", brand="green", price_minor=500)


def after(*events: ShopEvent) -> Shopper:
    """A shopper whose events were processed."""
    shopper, known = Shopper(), knowledge(coupon())
    for event in events:
        see(shopper, event, known)
    return shopper


def value(name: str, shopper: Shopper, at: float = AT, trigger: ShopEvent | None = None, zone: str = "UTC") -> Any:
    return OCCASION_FIELDS[name].read(Occasion(shopper, at, trigger, zone))


def test_orders_are_counted_and_dated() -> None:
    shopper = after(order("a", AT - 9.5 * DAY_S, TEA), order("b", AT - 2.5 * DAY_S, TEA))
    names = ("orders", "days_since_order", "days_since_first_order", "is_new")
    assert [value(f"shopper.{name}", shopper) for name in names] == [2, 2, 9, False]
    assert [value(f"shopper.{name}", Shopper()) for name in names] == [0, NEVER_DAYS, NEVER_DAYS, True]
    assert value("shopper.days_since_order", shopper, AT - 5 * DAY_S) == 0


def test_a_shopper_was_seen_on_the_last_active_day_before_today() -> None:
    noon = math.floor(AT / DAY_S) * DAY_S + 12 * HOUR_S
    past = [browse(f"b{days}", noon - days * DAY_S, TEA) for days in (30, 8)]
    assert value("shopper.days_since_seen", after(*past), noon) == 8
    shopper = after(*past, browse("now", noon, TEA))
    assert value("shopper.days_since_seen", shopper, noon) == 8
    assert value("shopper.days_since_seen", shopper, noon + DAY_S) == 1
    assert value("shopper.days_since_seen", shopper, noon - 9 * DAY_S) == 21
    assert value("shopper.active_days", shopper, noon) == 3
    assert value("shopper.days_since_seen", after(browse("now", noon, TEA)), noon) == NEVER_DAYS
    assert value("shopper.days_since_seen", Shopper(), noon) == NEVER_DAYS


@given(st.sets(st.integers(0, 63), max_size=6), st.integers(-70, 3))
def test_days_since_seen_are_those_of_the_dates(ages: set[int], ahead: int) -> None:
    today = int(AT // DAY_S)
    shopper = Shopper()
    shopper.profile.days_until = today + ahead
    shopper.profile.category_days = {number: 1 << age for number, age in enumerate(ages)}
    before = [today + ahead - age for age in ages if today + ahead - age < today]
    assert value("shopper.days_since_seen", shopper) == (today - max(before) if before else NEVER_DAYS)


def test_events_fade() -> None:
    shopper = after(*(browse(f"b{n}", AT, TEA) for n in range(4)))
    assert [value("shopper.events", shopper, AT + days * DAY_S) for days in (0, 14, 28, 365)] == [4, 2, 1, 0]
    assert value("shopper.events", Shopper()) == 0


def test_coupons_are_counted_and_dated() -> None:
    shopper = Shopper(history=History(issued=3, clicked=2, redeemed=1, last_issued_at=AT - 3 * DAY_S))
    names = ("coupons_received", "coupons_clicked", "coupons_redeemed", "days_since_coupon")
    assert [value(f"shopper.{name}", shopper) for name in names] == [3, 2, 1, 3]


def test_the_trigger_is_read_with_its_item_and_its_context() -> None:
    context = {"channel": "app", "age": 30.0}
    trigger = cart("k", AT, TEA, context=context)
    names = ("kind", "item", "category", "brand", "price_minor", "channel", "context")
    found = [value(f"trigger.{name}", Shopper(), AT, trigger) for name in names]
    assert found == ["cart", "tea-1", "tea", "green", 500, "app", context]
    first = value("trigger.item", Shopper(), AT, order("o", AT, TEA, item("ham-1")))
    assert (first, value("trigger.item", Shopper(), AT, order("o", AT))) == ("tea-1", "")
    bare = [value(f"trigger.{name}", Shopper(), AT, browse("b", AT)) for name in names]
    assert bare == ["browse", "", "", "", 0, "", {}]
    assert [value(f"trigger.{name}", Shopper()) for name in names] == ["", "", "", "", 0, "", {}]


@pytest.mark.parametrize(
    ("at", "zone", "weekday", "hour"),
    [
        (0.0, "UTC", 4, 0),
        (1709251199.0, "UTC", 4, 23),
        (1709251200.0, "UTC", 5, 0),
        (1709251199.0, "Asia/Kolkata", 5, 5),
        (1709251200.0, "America/New_York", 4, 19),
    ],
)
def test_time_is_that_of_the_trigger_on_the_shoppers_clock(at: float, zone: str, weekday: int, hour: int) -> None:
    found = [value(f"trigger.{name}", Shopper(), at, zone=zone) for name in ("weekday", "hour")]
    assert found == [weekday, hour]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, []),
        ("", []),
        ("vip", ["vip"]),
        (" vip,, student of art ,", ["vip", "student of art"]),
        (3.0, []),
        (",".join("x" * (MAX_SEGMENTS + 9)), ["x"] * MAX_SEGMENTS),
    ],
)
def test_segments_are_names_between_commas(text: Any, expected: list[str]) -> None:
    trigger = browse("b", AT, context={} if text is None else {"segments": text})
    assert value("shopper.segments", Shopper(), AT, trigger) == expected


def test_fields_that_need_no_trigger_do_not_change_with_it() -> None:
    shopper = after(order("a", AT, TEA))
    trigger = cart("k", AT, TEA, context={"channel": "app", "segments": "vip"})
    differ = {name for name in OCCASION_FIELDS if value(name, shopper) != value(name, shopper, AT, trigger)}
    assert differ == NEEDS_TRIGGER

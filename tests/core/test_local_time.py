"""Local time: changes of the clock, leap days and ends of years, against the standard library."""

import datetime as dt
import math
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_coupons.core.local_time import DAY_S, LocalTime, local_time
from stream_coupons.core.rules import ShopRules
from stream_coupons.core.time_zones import is_zone

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Pacific/Kiritimati",  # +14
    "Etc/GMT+12",
    "Asia/Kolkata",  # half an hour
    "Asia/Kathmandu",  # a quarter
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Havana",  # changes at midnight
    "America/Nuuk",  # comes back to the hour before midnight
]


def from_package(zone: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file)


def dates(of: LocalTime) -> tuple[int, int, int]:
    return of.day, of.week, of.month


def epoch(*of: int) -> float:
    return dt.datetime(*of, tzinfo=dt.UTC).timestamp()  # type: ignore[arg-type, misc]


def in_parts(at: float) -> float:
    """Round down to parts of a second that `datetime`, which rounds to microseconds, does not round up to the next."""
    return math.floor(at * 1024) / 1024


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.floats(epoch(2013, 1, 1), epoch(2099, 12, 31)).map(in_parts), st.sampled_from(ZONES))
@example(epoch(2026, 3, 29, 0, 59, 59), "Europe/Berlin")
@example(epoch(2026, 3, 29, 1), "Europe/Berlin")
@example(epoch(2026, 10, 25, 0, 30), "Europe/Berlin")
@example(epoch(2026, 10, 25, 1, 30), "Europe/Berlin")
@example(epoch(2026, 10, 3, 15, 29, 59), "Australia/Lord_Howe")
@example(epoch(2026, 10, 3, 15, 30), "Australia/Lord_Howe")
@example(epoch(2028, 2, 29, 9, 59, 59), "Pacific/Kiritimati")
@example(epoch(2026, 12, 31, 23, 59, 59), "UTC")
@example(epoch(2027, 1, 1, 11, 59, 59), "Etc/GMT+12")
def test_day_hour_weekday_week_and_month_are_those_of_the_standard_library(at: float, zone: str) -> None:
    there = dt.datetime.fromtimestamp(at, from_package(zone))
    found = local_time(at, zone)
    assert found.day == there.toordinal() - dt.date(1970, 1, 1).toordinal()
    seconds = there.hour * 3600 + there.minute * 60 + there.second + there.microsecond / 1e6
    assert found.hour * 3600 == pytest.approx(seconds, abs=1e-3)
    assert found.weekday == there.weekday()
    assert found.month == there.year * 12 + there.month - 1
    monday = there.date() - dt.timedelta(days=there.weekday())
    assert found.week == (monday.toordinal() - dt.date(1969, 12, 29).toordinal()) // 7


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.integers(0, 366 * 96), st.sampled_from(ZONES))
def test_days_weeks_and_months_never_go_back_while_the_clock_may(quarters: int, zone: str) -> None:
    at = epoch(2026, 1, 1) + quarters * 900.0
    earlier, later = local_time(at - 900.0, zone), local_time(at, zone)
    assert all(one <= other for one, other in zip(dates(earlier), dates(later), strict=True))


def test_a_gap_has_no_hour_between_and_an_overlap_has_one_twice() -> None:
    hours = [int(local_time(epoch(2026, 3, 29, hour), "Europe/Berlin").hour) for hour in range(4)]
    assert hours == [1, 3, 4, 5]
    hours = [int(local_time(epoch(2026, 10, 25, hour), "Europe/Berlin").hour) for hour in range(4)]
    assert hours == [2, 2, 3, 4]


def test_a_day_of_the_change_has_23_or_25_hours() -> None:
    def hours_of(month: int, day: int) -> int:
        first = epoch(2026, month, day) - DAY_S
        days = [local_time(first + hour * 3600.0, "Europe/Berlin").day for hour in range(72)]
        return days.count(local_time(epoch(2026, month, day, 12), "Europe/Berlin").day)

    assert [hours_of(3, 29), hours_of(10, 25), hours_of(7, 1)] == [23, 25, 24]


@pytest.mark.parametrize("name", ["Bonn", "", "../UTC", "Europe", None, 3.0, True])
def test_what_is_no_zone_is_none(name: object) -> None:
    assert not is_zone(name)


def test_a_shop_in_an_unknown_zone_is_refused_with_the_one_that_is_meant() -> None:
    with pytest.raises(ValueError, match="time zone 'Berlin' is no IANA name, expected Europe/Berlin"):
        ShopRules(time_zone="Berlin")

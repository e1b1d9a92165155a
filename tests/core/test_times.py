"""Times of files and the command line: a zone's clock, also on the days on which it changes."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.time_zones import zone
from stream_coupons.core.times import epoch_seconds

DAYS = st.dates(date(2000, 1, 1), date(2098, 12, 31))
ZONES = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe"]
).map(ZoneInfo)


@given(day=DAYS, where=ZONES)
def test_days_follow_each_other_without_a_gap(day: date, where: ZoneInfo) -> None:
    end = epoch_seconds(day.isoformat(), where, ends=True)
    assert end == epoch_seconds((day + timedelta(days=1)).isoformat(), where)
    assert end >= epoch_seconds(day.isoformat(), where)


@given(at=st.datetimes(datetime(2000, 1, 1), datetime(2098, 12, 31)), where=ZONES)
def test_a_time_with_its_offset_is_that_moment_and_without_one_never_another(at: datetime, where: ZoneInfo) -> None:
    moment = at.replace(tzinfo=UTC, microsecond=0)
    local = moment.astimezone(where)
    assert epoch_seconds(local.isoformat(), where) == moment.timestamp()
    text = local.replace(tzinfo=None).isoformat()
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        with pytest.raises(ValueError, match="write the offset"):
            epoch_seconds(text, where)
    else:
        assert epoch_seconds(text, where) == moment.timestamp()


def test_a_leap_day_is_a_day() -> None:
    assert epoch_seconds("2028-02-29", UTC, ends=True) == datetime(2028, 3, 1, tzinfo=UTC).timestamp()
    with pytest.raises(ValueError, match="day is out of range"):
        epoch_seconds("2027-02-29", UTC)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Europe/Berln", "Europe/Berlin"),
        ("", "one such as"),
    ],
)
def test_an_unknown_zone_is_an_error_that_suggests_one(name: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"expected {expected}"):
        zone(name)

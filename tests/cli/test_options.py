"""Times on the command line."""

import time

import pytest

from stream_coupons.cli.options import parse_duration, parse_time
from stream_coupons.core.errors import BadConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1767348000.5", 1767348000.5),
        ("2026-01-02", 1767312000.0),
        ("2026-01-02 11:00+01:00", 1767348000.0),
        ("2026-01-02T10:00:00Z", 1767348000.0),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: str, expected: float) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["noon", "", "nan", "-1", "1767348000000", "2200-01-01", "2026-13-01"])
def test_no_time_is_an_error(text: str) -> None:
    with pytest.raises(BadConfig, match="is no time before 2100"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("45m", 2700), ("12h", 43200), ("7d", 604800), ("2w", 1209600)]
)
def test_a_duration_is_a_time_before_now(text: str, expected: float) -> None:
    assert parse_duration(text) == expected
    before = time.time()
    assert before <= parse_time(text) + expected <= time.time()


@pytest.mark.parametrize("text", ["d", "7 d", "-7d", "1.5h", "７d", "7"])
def test_no_duration_is_an_error(text: str) -> None:
    with pytest.raises(BadConfig, match="is no duration, expected a whole number and one of s, m, h, d, w, as in 7d"):
        parse_duration(text)

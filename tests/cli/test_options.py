"""Times on the command line."""

import time

import pytest

from stream_coupons.cli.options import parse_duration, parse_time
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import ShopRules
from stream_coupons.settings import Settings

BERLIN = Settings(shop=ShopRules(time_zone="Europe/Berlin"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1767348000.5", 1767348000.5),
        ("2026-01-02", 1767312000.0),
        ("2026-01-02 11:00+01:00", 1767348000.0),
        ("2026-01-02T10:00:00Z", 1767348000.0),
    ],
)
def test_times_are_utc_unless_they_or_the_shop_say_otherwise(text: str, expected: float) -> None:
    assert parse_time(text, Settings()) == expected
    assert parse_time(text, BERLIN) == expected - 3600.0 * (text == "2026-01-02")


def test_a_number_with_a_unit_is_so_long_ago() -> None:
    before = time.time()
    assert before - 7 * 86400 <= parse_time("7d", Settings()) <= time.time() - 7 * 86400


@pytest.mark.parametrize(
    "text", ["noon", "", "nan", "-1", "1767348000000", "2200-01-01", "2026-13-01", "99999d", "-1d", "d"]
)
def test_no_time_is_an_error(text: str) -> None:
    with pytest.raises(BadConfig, match="use 2026-01-02T18:00 or epoch seconds, or 7d for a week ago"):
        parse_time(text, Settings())


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("45m", 2700), ("12h", 43200), ("7d", 604800), ("2w", 1209600)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["d", "7 d", "-7d", "1.5h", "７d", "7"])
def test_no_duration_is_an_error(text: str) -> None:
    with pytest.raises(BadConfig, match="is no duration, expected a whole number and one of s, m, h, d, w, as in 7d"):
        parse_duration(text)

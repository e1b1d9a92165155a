"""Texts and charts of pages."""

import math

from stream_coupons_console.web.render import ago, interval, line_chart, percent, utc


def test_a_chart_names_a_colour_for_each_line_and_leaves_gaps() -> None:
    spec = line_chart([0.0, 86400.0], {"given": {"y": [1.0, math.nan]}, "used": {"y": [0.0, 1.0]}}, label="coupons")
    assert [(one["name"], one["colour"], one["y"]) for one in spec["series"]] == [
        ("given", "c0", [1.0, None]),
        ("used", "c1", [0.0, 1.0]),
    ]
    assert spec["x"]["unit"] == "date"


def test_what_is_not_known_is_a_dash_or_said() -> None:
    assert percent(None) == percent(math.nan) == utc(math.inf) == "–"
    assert interval(math.nan, 120.0, math.nan, "EUR") == "+1.20 EUR (too early for an interval)"
    assert interval(-100.0, 120.0, 340.0, "EUR") == "+1.20 EUR (-1.00 EUR to +3.40 EUR)"


def test_a_duration_is_in_its_largest_unit() -> None:
    assert [ago(seconds) for seconds in (-1, 59, 60, 7200, 200_000)] == ["0 s", "59 s", "1 min", "2 h", "2 d"]

"""A report is one escaped file with one library that needs no network; its charts leave gaps and keep spikes."""

import json
import math
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from stream_coupons_lab.reports.axes import DAY_S, Unit
from stream_coupons_lab.reports.report import Axis, HtmlReport, format_value

START = 1485907200.0  # 2017-02-01
NASTY = """</script><script>alert("x")</script> & 'quoted' <!-- {{ 7 * 7 }}"""
LIBRARY = (files("stream_coupons_console.web") / "static" / "uPlot.js").read_text(encoding="utf-8").strip()


def full_report(text: str = "text") -> HtmlReport:
    report = HtmlReport(text, text, text)
    for _ in range(3):
        report.section(text, f"{text}\n\n{text}")
    report.stats([(text, text, text), ("count", 126415, "")])
    points = [(START + i * DAY_S, 0.1 + i / 100) for i in range(30)]
    bands = {text: [(x, y - 0.1, y + 0.1) for x, y in points]}
    report.line_chart(text, {text: points}, Axis(text, "date"), Axis(text), bands, note=text)
    report.point_chart(text, [(text, 300, 200, 400), ("b", 1, math.nan, math.nan)], Axis(text, "money"), note=text)
    report.table([text, "value"], [[text, 0.5]])
    return report


class Scripts(HTMLParser):
    """Every script of a page by its type, and every other tag and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._inside = dict(attrs).get("type") or "text/javascript"

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.scripts.append((self._inside, data))
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._inside = None

    def specs(self) -> list[dict[str, Any]]:
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


def specs(report: HtmlReport) -> list[dict[str, Any]]:
    return Scripts(report.html()).specs()


def test_the_file_needs_nothing_from_outside(tmp_path: Path) -> None:
    full_report().write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Scripts(text)
    assert text.startswith("<!doctype html>")
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "base", "object"}
        assert not {"src", "srcset", "action"} & attributes.keys()
        assert attributes.get("href", "#").startswith("#")
    own = text.replace(LIBRARY, "")
    for word in ("http:", "https:", "@import", "url("):
        assert word not in own, word
    policy = next(tag["content"] for _, tag in page.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "eval" not in policy


def test_a_page_has_one_library_however_many_charts_and_none_without() -> None:
    report = full_report()
    report.line_chart("other", {"a": [(0.0, 1.0)]})
    page = Scripts(report.html())
    assert len(page.specs()) == 2
    assert sum(text.strip() == LIBRARY for _, text in page.scripts) == 1
    empty = HtmlReport("no lines")
    empty.point_chart("points", [("a", 1.0, 0.5, 2.0)])
    assert len(empty.html()) < 20_000


def test_every_text_is_escaped() -> None:
    page = Scripts(full_report(NASTY).html())
    assert [kind for kind, _ in page.scripts].count("text/javascript") == 2
    assert NASTY in page.text
    (line,) = page.specs()
    assert [one["name"] for one in line["series"]] == [NASTY]
    assert {attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img"} == {NASTY}


def test_a_chart_has_a_description_and_its_values_as_a_table() -> None:
    report = HtmlReport("table")
    report.line_chart("Loss", {"model": [(0, 0.25), (1, 0.2)], "base": [(0, 0.3)]}, Axis("day"), Axis("loss"))
    page = report.html()
    assert 'role="img" aria-label="Loss"' in page
    assert ">day</th>" in page
    assert '<th scope="row" class="n">0</th><td class="n">0.25</td><td class="n">0.3</td>' in page
    assert '<th scope="row" class="n">1</th><td class="n">0.2</td><td class="n">–</td>' in page


def test_the_table_of_a_long_line_is_short_and_ends_with_its_last_value() -> None:
    report = HtmlReport("table")
    report.line_chart("Loss", {"model": [(float(i), i / 2) for i in range(1000)]})
    page = report.html()
    assert 20 <= page.count('<th scope="row"') <= 25
    assert '<th scope="row" class="n">999</th><td class="n">500</td>' in page


def test_what_has_no_values_says_so() -> None:
    report = HtmlReport("empty")
    report.line_chart("no points", {"a": []})
    report.line_chart("no series", {})
    report.line_chart("nothing finite", {"a": [(0, math.nan)]})
    report.point_chart("no rows", [])
    page = report.html()
    assert page.count("No data yet.") == 4
    assert specs(report) == []


def test_no_value_is_undefined_when_the_data_are() -> None:
    report = HtmlReport("gaps")
    report.line_chart("gap", {"a": [(0, 1.0), (1, math.nan), (2, 3.0), (3, math.inf)], "none": [(0, math.nan)]})
    report.line_chart("constant", {"a": [(1, 0.0)]})
    report.point_chart("unknown", [("a", math.nan, math.nan, math.nan), ("b", 0.0, math.nan, math.nan)])
    report.point_chart("no interval", [("a", 1.0, math.nan, math.nan)])
    for spec in specs(report):
        assert not re.search(r"NaN|Infinity", json.dumps(spec))
    assert "nan" not in re.sub(r"<script.*?</script>", "", report.html(), flags=re.DOTALL)


def lines(report: HtmlReport) -> tuple[list[float], list[list[float | None]]]:
    """The x of the only line chart, and the heights of its lines."""
    (spec,) = specs(report)
    return spec["x"]["values"], [one["y"] for one in spec["series"]]


def test_a_gap_breaks_the_line() -> None:
    report = HtmlReport("gap")
    report.line_chart("gap", {"a": [(0, 1.0), (1, math.nan), (2, 3.0), (3, 4.0)], "b": [(0.5, 1.0), (2.5, 2.0)]})
    assert lines(report) == (
        [0, 0.5, 1, 2, 2.5, 3],
        [[1.0, None, None, 3.0, 3.5, 4.0], [None, 1.0, 1.25, 1.75, 2.0, None]],
    )


def test_long_series_are_thinned_but_keep_their_spikes() -> None:
    report = HtmlReport("spike")
    report.line_chart("spike", {"a": [(i, 1000.0 if i == 54_321 else 1.0) for i in range(100_000)]})
    _, (heights,) = lines(report)
    assert len(heights) < 500
    assert set(heights) == {1.0, 1000.0}


def test_a_band_is_on_the_x_of_its_line() -> None:
    report = HtmlReport("band")
    report.line_chart("band", {"a": [(0, 1.0), (1, 2.0)], "b": [(2, 1.0)]}, bands={"a": [(0, 0.5, 1.5), (1, 1.5, 2.5)]})
    (spec,) = specs(report)
    assert spec["series"] == [
        {
            "name": "a",
            "colour": "c0",
            "dash": 0,
            "y": [1.0, 2.0, None],
            "low": [0.5, 1.5, None],
            "high": [1.5, 2.5, None],
        },
        {"name": "b", "colour": "c1", "dash": 0, "y": [None, None, 1.0]},
    ]


def test_money_and_rates_are_drawn_in_the_units_that_people_write() -> None:
    report = HtmlReport("money")
    report.line_chart("margin", {"a": [(0.25, 12_345)]}, Axis(unit="percent"), Axis("margin", "money"))
    assert lines(report) == ([25.0], [[123.45]])


def spans(report: HtmlReport, kind: str) -> list[tuple[float, float]]:
    """Left end and width in per cent of the marks of a kind."""
    found = re.findall(rf'<i class="{kind}" style="left:([\d.]+)%;width:([\d.]+)%">', report.html())
    return [(float(left), float(width)) for left, width in found]


def test_dots_are_on_one_scale_with_their_intervals() -> None:
    report = HtmlReport("points")
    rows = [("a", 50, 0, 100), ("b", 100, math.nan, math.nan)]
    report.point_chart("points", rows, Axis(unit="money"), highlight="b")
    assert report.html().count('class="row quiet"') == 1
    assert spans(report, "dot") == [(50.0, 0.0), (pytest.approx(95.45, abs=0.01), 0.0)]
    assert spans(report, "whisker") == [(pytest.approx(4.55, abs=0.01), pytest.approx(90.9, abs=0.01))]
    assert 'title="0.00 to 1.00"' in report.html()


def test_zero_is_marked_where_it_is_on_the_scale() -> None:
    within, beyond = HtmlReport("within"), HtmlReport("beyond")
    within.point_chart("within", [("a", 1.0, -1.0, 3.0)])
    beyond.point_chart("beyond", [("a", 2.0, 1.0, 3.0)])
    assert len(spans(within, "zero")) == 1
    assert spans(beyond, "zero") == []


def test_table_columns_share_their_decimals() -> None:
    report = HtmlReport("table")
    report.table(["model", "loss", "rows"], [["a", 0.07, 51000], ["b", 0.113, 200]])
    page = report.html()
    assert '<td class="n">0.070</td><td class="n">51,000</td>' in page


def test_a_column_of_numbers_written_as_text_is_aligned_and_one_of_words_is_not() -> None:
    report = HtmlReport("table")
    report.table(["policy", "margin", "rate", "note"], [["a", "-257.46", "4.6%", "1 of 2"], ["b", "1,117.89", "", "x"]])
    page = report.html()
    assert '<td class="n">−257.46</td><td class="n">4.6%</td><td>1 of 2</td>' in page


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (126415, "number", "126,415"),
        (-0.5, "number", "−0.5"),
        (math.nan, "number", "–"),
        (0.0049, "percent", "0.49%"),
        (-1830, "money", "−18.30"),
        (START, "date", "1 Feb 2017"),
        (START + 3600, "date", "1 Feb 2017, 01:00"),
    ],
)
def test_values_are_written_with_human_units(value: float, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


def test_one_highlighted_line_is_in_colour_and_the_others_are_grey_and_differ_in_their_dashes() -> None:
    report = HtmlReport("lines")
    report.line_chart("lines", {name: [(0, 1.0)] for name in "abcde"}, highlight="c")
    (spec,) = specs(report)
    assert [(one["colour"], one["dash"]) for one in spec["series"]] == [
        ("quiet", 0),
        ("quiet", 1),
        ("c0", 0),
        ("quiet", 2),
        ("quiet", 3),
    ]

"""A report is one escaped file with one bundle that needs no network; its charts leave gaps and keep spikes."""

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
from stream_coupons_lab.reports.vega_bundle import bundle

START = 1485907200.0  # 2017-02-01
NASTY = """</script><script>alert("x")</script> & 'quoted' <!-- {{ 7 * 7 }}"""
BUNDLE = files("stream_coupons_lab.reports") / "report_page" / "vega.js"


def full_report(text: str = "text") -> HtmlReport:
    report = HtmlReport(text, text)
    for _ in range(3):
        report.section(text, f"{text}\n\n{text}")
    report.stats([(text, text, text), ("count", 126415, "")])
    points = [(START + i * DAY_S, 0.1 + i / 100) for i in range(30)]
    bands = {text: [(x, y - 0.1, y + 0.1) for x, y in points]}
    report.line_chart(text, {text: points}, Axis(text, "date"), Axis(text), bands, note=text)
    report.bar_chart(text, {text: 3.0, "b": -1.0}, Axis(text), {text: (2.0, 4.0)}, highlight="b", note=text)
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


def rows(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    """The data of the first layer with a mark."""
    layer = next(layer for layer in spec["layer"] if layer["mark"]["type"] == mark)
    found = layer.get("data", spec.get("data"))
    values: list[dict[str, Any]] = spec["datasets"][found["name"]] if "name" in found else found["values"]
    return values


def test_the_file_needs_nothing_from_outside(tmp_path: Path) -> None:
    full_report().write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Scripts(text)
    assert text.startswith("<!doctype html>")
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "base", "object"}
        assert not {"src", "srcset", "action"} & attributes.keys()
        assert attributes.get("href", "#").startswith("#")
    own = text.replace(BUNDLE.read_text(encoding="utf-8").strip(), "")
    for word in ("http:", "https:", "@import", "url("):
        assert word not in own, word
    policy = next(tag["content"] for _, tag in page.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "eval" not in policy


def test_a_page_has_one_bundle_however_many_charts_and_none_without() -> None:
    page = Scripts(full_report().html())
    assert len(page.specs()) == 3
    assert sum("vegaEmbed=" in text for _, text in page.scripts) == 1
    empty = HtmlReport("no charts")
    empty.table(["a"], [["b"]])
    assert len(empty.html()) < 20_000


@pytest.mark.long
def test_the_bundle_is_what_the_locked_packages_make() -> None:
    assert BUNDLE.read_text(encoding="utf-8") == bundle(), "make bundle"


def test_every_text_is_escaped() -> None:
    page = Scripts(full_report(NASTY).html())
    assert [kind for kind, _ in page.scripts].count("text/javascript") == 2
    assert NASTY in page.text
    line, _, _ = page.specs()
    assert line["description"] == NASTY
    assert {row["series"] for row in rows(line, "line")} == {NASTY}


def test_a_chart_has_a_description_and_its_values_as_a_table() -> None:
    report = HtmlReport("table")
    report.line_chart("Loss", {"model": [(0, 0.25), (1, 0.2)], "base": [(0, 0.3)]}, Axis("day"), Axis("loss"))
    page = report.html()
    assert specs(report)[0]["description"] == "Loss"
    assert ">day</th>" in page
    assert '<th scope="row" class="n">1</th><td class="n">0.2</td><td class="n">0.3</td>' in page


def test_what_has_no_values_says_so() -> None:
    report = HtmlReport("empty")
    report.line_chart("no points", {"a": []})
    report.line_chart("no series", {})
    report.line_chart("nothing finite", {"a": [(0, math.nan)]})
    report.bar_chart("no bars", {})
    report.point_chart("no rows", [])
    report.scatter_chart("no points", [("unknown", math.nan, 1.0, False)])
    page = report.html()
    assert page.count("No data yet.") == 6
    assert specs(report) == []


def test_no_value_is_undefined_when_the_data_are() -> None:
    report = HtmlReport("gaps")
    report.line_chart("gap", {"a": [(0, 1.0), (1, math.nan), (2, 3.0), (3, math.inf)], "none": [(0, math.nan)]})
    report.line_chart("constant", {"a": [(1, 0.0)]})
    report.bar_chart("zero", {"a": 0.0})
    report.bar_chart("unknown", {"a": math.nan, "b": 1.0})
    report.point_chart("no interval", [("a", 1.0, math.nan, math.nan)])
    for spec in specs(report):
        assert not re.search(r"NaN|Infinity", json.dumps(spec))


def test_a_gap_breaks_the_line_and_a_point_without_neighbours_is_a_dot() -> None:
    report = HtmlReport("gap")
    report.line_chart("gap", {"a": [(0, 1.0), (1, math.nan), (2, 3.0), (3, 4.0)]})
    (spec,) = specs(report)
    assert [row["y"] for row in rows(spec, "line")] == [1.0, None, 3.0, 4.0]
    assert [row["x"] for row in rows(spec, "circle")] == [0]


def test_long_series_are_thinned_but_keep_their_spikes() -> None:
    report = HtmlReport("spike")
    report.line_chart("spike", {"a": [(i, 1000.0 if i == 54_321 else 1.0) for i in range(100_000)]})
    (spec,) = specs(report)
    drawn = rows(spec, "line")
    assert len(drawn) < 500
    assert {row["y"] for row in drawn} == {1.0, 1000.0}


def test_the_strip_under_the_pointer_names_the_moment_and_every_value() -> None:
    report = HtmlReport("hover")
    series = {"model": [(START, 0.0834), (START + DAY_S, 0.08)], "base": [(START, 0.1), (START + DAY_S, 0.1)]}
    report.line_chart("hover", series, Axis(unit="date"))
    (spec,) = specs(report)
    first, last = rows(spec, "rect")
    assert (first["at"], first["v0"], first["v1"]) == ("1 Feb 2017", "0.0834", "0.1")
    assert (first["start"], first["end"], last["end"]) == (
        START * 1e3,
        (START + DAY_S / 2) * 1e3,
        (START + DAY_S) * 1e3,
    )


def test_between_two_points_the_strip_says_where_the_line_is() -> None:
    report = HtmlReport("hover")
    series = {"model": [(x / 10, x / 20) for x in range(11)], "chance": [(0.0, 0.0), (1.0, 1.0)]}
    report.line_chart("hover", series, Axis("x"), Axis("y"))
    strips = rows(specs(report)[0], "rect")
    assert ("0.3", "0.15", "0.3") in [(row["at"], row["v0"], row["v1"]) for row in strips]


def test_money_is_drawn_in_major_units() -> None:
    report = HtmlReport("money")
    report.point_chart("margin", [("learned", 12_345, 10_000, 15_000)], Axis("margin", "money"))
    (spec,) = specs(report)
    (row,) = rows(spec, "circle")
    assert (row["x"], row["low"], row["high"]) == (123.45, 100, 150)
    assert (row["text"], row["interval"]) == ("123.45", "100.00 to 150.00")


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

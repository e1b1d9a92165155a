"""The report is one escaped file without scripts or network, and its axes read as a person writes."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from stream_coupons.evaluation.report import Axis, Report, Unit, format_value, ticks

DAY_S = 86400.0
START = 1485907200.0  # 2017-02-01
NASTY = """<script>alert("x")</script> & 'quoted'"""


def full_report(text: str = "text") -> Report:
    report = Report(text, text)
    for _ in range(3):
        report.section(text, f"{text}\n\n{text}")
    report.stats([(text, text, text), ("count", 126415, "")])
    points = [(START + i * DAY_S, 0.1 + i / 100) for i in range(30)]
    bands = {text: [(x, y - 0.1, y + 0.1) for x, y in points]}
    report.line_chart(text, {text: points}, Axis(text, "date"), Axis(text), bands, note=text)
    report.bar_chart(text, {text: 3.0, "b": -1.0}, Axis(text), {text: (2.0, 4.0)}, highlight="b", note=text)
    report.table([text, "value"], [[text, 0.5]])
    return report


def drawings(report: Report) -> list[str]:
    return ["<svg" + rest.partition("</svg>")[0] + "</svg>" for rest in report.html().split("<svg")[1:]]


def test_the_file_needs_nothing_from_outside(tmp_path: Path) -> None:
    full_report().write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    for word in ("<script", "http:", "https:", "src=", "@import", "url(", "<link"):
        assert word not in page, word


def test_every_text_is_escaped() -> None:
    page = full_report(NASTY).html()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "& '" not in page


def test_drawings_are_well_formed_even_with_nasty_names() -> None:
    report = full_report(NASTY)
    assert len(drawings(report)) == 4  # two charts, each for a desk and for a phone
    for drawing in drawings(report):
        ElementTree.fromstring(drawing)


def test_no_coordinate_is_undefined_when_values_are() -> None:
    report = Report("gaps")
    report.line_chart("gap", {"a": [(0, 1.0), (1, math.nan), (2, 3.0), (3, math.inf)], "none": [(0, math.nan)]})
    report.line_chart("empty", {"a": []})
    report.line_chart("constant", {"a": [(1, 0.0)]})
    report.line_chart("log", {"a": [(1, 0.0), (2, 10.0), (3, 1000.0)]}, y=Axis(log=True))
    report.bar_chart("zero", {"a": 0.0})
    report.bar_chart("empty", {})
    report.table(["a"], [])
    for drawing in drawings(report):
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing.lower().replace("nan</title>", "")
        assert "inf" not in drawing


def test_a_gap_breaks_the_line() -> None:
    report = Report("gap")
    report.line_chart("gap", {"a": [(0, 1.0), (1, math.nan), (2, 3.0), (3, 4.0)]})
    line = ElementTree.fromstring(drawings(report)[0]).find("path[@class='line c0']")
    assert line is not None
    assert line.attrib["d"].count("M") == 2


def test_long_series_are_thinned_but_keep_their_spikes() -> None:
    report = Report("spike")
    report.line_chart("spike", {"a": [(i, 1000.0 if i == 54_321 else 1.0) for i in range(100_000)]})
    drawing = drawings(report)[0]
    assert len(drawing) < 60_000
    line = ElementTree.fromstring(drawing).find("path[@class='line c0']")
    assert line is not None
    heights = {part.split()[1] for part in line.attrib["d"].replace("h0", "").replace("M", "L").split("L")[1:]}
    assert len(heights) == 2


def test_hovering_names_the_moment_and_every_value() -> None:
    report = Report("hover")
    series = {"model": [(START, 0.0834), (START + DAY_S, 0.08)], "base": [(START, 0.1), (START + DAY_S, 0.1)]}
    report.line_chart("hover", series, Axis(unit="date"))
    titles = [element.text for element in ElementTree.fromstring(drawings(report)[0]).iter("title")]
    assert titles[0] == "1 Feb 2017\nmodel: 0.0834\nbase: 0.1"


def test_table_columns_share_their_decimals() -> None:
    report = Report("table")
    report.table(["model", "loss", "rows"], [["a", 0.07, 51000], ["b", 0.113, 200]])
    page = report.html()
    assert '<td class="n">0.070</td><td class="n">51,000</td>' in page


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (126415, "number", "126,415"),
        (-0.5, "number", "−0.5"),
        (math.nan, "number", "–"),
        (0.0049, "percent", "0.49%"),
        (-1830, "money", "−18.30"),
        (0.0042, "seconds", "4.2 ms"),
        (90, "seconds", "90 s"),
        (10_800, "seconds", "3 h"),
        (5 * DAY_S, "seconds", "5 d"),
        (1536, "bytes", "1.5 KiB"),
        (1020, "bytes", "1,020 B"),
        (0, "bytes", "0"),
        (0.5, "bytes", "0.5 B"),
        (START, "date", "1 Feb 2017"),
        (START + 3600, "date", "1 Feb 2017, 01:00"),
    ],
)
def test_values_are_written_with_human_units(value: float, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize(
    ("low", "high", "axis", "labels"),
    [
        (0, 1, Axis(), ["0.0", "0.5", "1.0"]),
        (0, 12_000, Axis(), ["0", "5k", "10k"]),
        (0, 0.02, Axis(unit="percent"), ["0.0%", "0.5%", "1.0%", "1.5%", "2.0%"]),
        (0, 3 * 3600, Axis(unit="seconds"), ["0", "1 h", "2 h", "3 h"]),
        (0, 4096, Axis(unit="bytes"), ["0", "1 KiB", "2 KiB", "3 KiB", "4 KiB"]),
        (START, START + 8 * 3600, Axis(unit="date"), ["1 Feb", "03:00", "06:00"]),
        (START, START + 20 * DAY_S, Axis(unit="date"), ["6 Feb", "13 Feb", "20 Feb"]),
        (START, START + 300 * DAY_S, Axis(unit="date"), ["Apr 2017", "Jul 2017", "Oct 2017"]),
        (0.001, 2, Axis(unit="seconds", log=True), ["1 ms", "10 ms", "100 ms", "1 s"]),
    ],
    ids=str,
)
def test_ticks_fall_on_round_values(low: float, high: float, axis: Axis, labels: list[str]) -> None:
    assert [label for _, label in ticks(low, high, axis, 4)] == labels


def test_hovering_between_two_points_says_where_the_line_is() -> None:
    report = Report("r", "r")
    series = {"model": [(x / 10, x / 20) for x in range(11)], "chance": [(0.0, 0.0), (1.0, 1.0)]}
    report.line_chart("c", series, Axis("x"), Axis("y"))
    titles = [(one.text or "").split("\n") for one in ElementTree.fromstring(drawings(report)[0]).iter("title")]
    assert ["0.3", "model: 0.15", "chance: 0.3"] in titles
    assert all(at == chance.removeprefix("chance: ") for at, _, chance in titles)

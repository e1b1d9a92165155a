"""What a reader sees: a report opened in a real browser, at a desk and on a phone, light, dark and printed."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_coupons_lab.reports.report import Axis, HtmlReport

from .browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]

DRAWN = "document.documentElement?.dataset.drawn"
DAY = Axis("simulated day", from_zero=True)
POLICIES = ("random", "learned (live)", "the best coupon on average", "highest P(redeem)", "optimum")


def a_report() -> HtmlReport:
    report = HtmlReport("stream_coupons", "What the demonstration did")
    for title in ("Shoppers", "Learning", "Tables"):
        report.section(title, "Two sentences. They say what follows.\n\nAnd another.")
        report.stats(
            [("Margin", "1,234.50", "95% interval 980.00 to 1,480.00"), ("Audit", "clean", "one issue a trigger")]
        )
    margins = {name: [(day, 1000.0 * day * rank) for day in range(22)] for rank, name in enumerate(POLICIES)}
    bands = {name: [(x, y - 3000, y + 3000) for x, y in points] for name, points in margins.items()}
    report.line_chart("Incremental margin so far", margins, DAY, Axis("margin", "money"), bands=bands)
    dated = {"P(redeem)": [(1485907200.0 + week * 604800, 0.3 - week / 500) for week in range(52)]}
    report.line_chart("Log loss", dated, Axis("", "date"), Axis("log loss"))
    report.line_chart("Gap", {"a": [(0, 1.0), (1, math.nan), (2, 3.0), (3, 4.0)]})
    report.line_chart("Empty", {"a": []})
    policies = [(name, rank * 10_000, rank * 10_000 - 9000, rank * 10_000 + 9000) for rank, name in enumerate(POLICIES)]
    report.point_chart("Margin by policy", policies, Axis("margin", "money"), highlight="learned (live)")
    long_name = "20 % off everything in the category of household articles and cleaning"
    report.bar_chart("Rate by coupon", {long_name: 0.2, "b": 0.0}, Axis("", "percent"), {long_name: (0.1, 0.3)})
    report.scatter_chart(
        "Trials", [("one", 0.001, 0.5, True), ("other", 1.0, 0.4, False)], Axis("rate"), Axis("log loss"), is_log=True
    )
    report.table(["policy", *(f"column {n}" for n in range(12))], [[name, *range(12)] for name in POLICIES])
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("report") / "report.html"
    a_report().write(written)
    return written


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_chart_is_drawn_within_the_page_without_an_error_or_a_request(
    browser: Browser, path: Path, width: int, scheme: str
) -> None:
    browser.open(path, width=width, scheme=scheme, is_drawn=DRAWN)
    marks = browser.evaluate(
        "Array.from(document.querySelectorAll('figure[data-kind]'), "
        "one => one.querySelectorAll('.chart svg .role-mark path, .chart svg .role-mark line').length)"
    )
    assert len(marks) == 6
    assert min(marks) > 0
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    widest = (
        "Math.max(...Array.from(document.querySelectorAll('.chart svg'), one => one.getBoundingClientRect().right))"
    )
    assert width / 2 < browser.evaluate(widest) < width
    assert browser.console == []
    assert browser.requests == [path.resolve().as_uri()]


def test_texts_of_charts_are_readable_and_within_them_on_a_phone(browser: Browser, path: Path) -> None:
    browser.open(path, width=390, scheme="light", is_drawn=DRAWN)
    texts = browser.evaluate(
        "Array.from(document.querySelectorAll('.chart svg text')).filter(one => +getComputedStyle(one).opacity)"
        ".map(one => [one.textContent, parseFloat(getComputedStyle(one).fontSize), "
        "one.getBoundingClientRect().left, one.getBoundingClientRect().right])"
    )
    assert len(texts) > 30
    assert [text for text, size, _, _ in texts if size < 11] == []
    assert [text for text, _, left, right in texts if left < 0 or right > 390] == []


def test_the_chart_follows_the_colour_scheme_and_is_dark_on_white_in_print(browser: Browser, path: Path) -> None:
    colour = "getComputedStyle(document.querySelector('.mark-line path')).stroke"
    ground = "getComputedStyle(document.querySelector('figure')).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        browser.open(path, width=1280, scheme=scheme, is_drawn=DRAWN)
        seen[scheme] = (browser.evaluate(colour), browser.evaluate(ground))
    assert seen["light"] == ("rgb(29, 95, 196)", "rgb(255, 255, 255)")
    assert seen["dark"] == ("rgb(110, 166, 255)", "rgb(23, 28, 34)")
    assert (browser.print_colour(colour), browser.print_colour(ground)) == seen["light"]


def middle_of_the_first_chart(browser: Browser) -> tuple[float, float]:
    x, y = browser.evaluate(
        "(() => { const one = document.querySelector('.chart svg'); one.scrollIntoView({block: 'center'}); "
        "const box = one.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    return x, y


def test_the_wheel_scrolls_the_page_and_zooms_a_chart_with_the_control_key(browser: Browser, path: Path) -> None:
    browser.open(path, width=1280, scheme="light", is_drawn=DRAWN)
    ticks = (
        "Array.from(document.querySelectorAll('figure:first-of-type .role-axis-label text'), one => one.textContent)"
    )
    x, y = middle_of_the_first_chart(browser)
    drawn, scrolled = browser.evaluate(ticks), browser.evaluate("scrollY")
    browser.wheel(x, y, -200, with_control=True)
    browser.until(f"!{ticks}.includes('0') || !{ticks}.includes('20')")
    assert browser.evaluate("scrollY") == scrolled
    zoomed = browser.evaluate(ticks)
    assert zoomed != drawn
    browser.wheel(x, y, 200, with_control=False)
    browser.until(f"scrollY > {scrolled}")
    assert browser.evaluate(ticks) == zoomed


def test_the_pointer_shows_the_values_of_all_series(browser: Browser, path: Path) -> None:
    browser.open(path, width=1280, scheme="light", is_drawn=DRAWN)
    browser.move(*middle_of_the_first_chart(browser))
    browser.until("document.querySelector('#vg-tooltip-element.visible')")
    tip = browser.evaluate("document.querySelector('#vg-tooltip-element').textContent")
    assert "simulated day" in tip
    assert all(name in tip for name in POLICIES)
    assert "undefined" not in tip


def test_a_name_of_the_legend_highlights_its_series(browser: Browser, path: Path) -> None:
    browser.open(path, width=1280, scheme="light", is_drawn=DRAWN)
    browser.evaluate("document.querySelectorAll('.legend button')[1].click()")
    opacities = "Array.from(document.querySelectorAll('figure')[0].querySelectorAll('.mark-line path'), "
    opacities += "one => +getComputedStyle(one).opacity)"
    browser.until(f"new Set({opacities}).size == 2")
    assert browser.evaluate(opacities) == [0.15, 1, 0.15, 0.15, 0.15]
    assert browser.evaluate("document.querySelector('.legend button[aria-pressed=true]').dataset.series") == POLICIES[1]
    browser.evaluate("document.querySelectorAll('.legend button')[1].click()")
    browser.until(f"new Set({opacities}).size == 1")


def test_without_its_charts_the_page_has_their_values(browser: Browser, path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(path.read_text(encoding="utf-8").replace("vegaEmbed(place", "missing(place"), encoding="utf-8")
    browser.open(broken, width=1280, scheme="light", is_drawn=DRAWN)
    assert browser.evaluate("document.querySelectorAll('details[open] table').length") == 6
    assert browser.console

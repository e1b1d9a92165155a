"""Reports in a real browser: wide and narrow windows, light and dark schemes, and print."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.browser import CHROMIUM, Browser
from stream_coupons_lab.reports.report import Axis, HtmlReport

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
    report.point_chart("Rate by coupon", [(long_name, 0.2, 0.1, 0.3), ("b", 0.0, 0.0, 0.0)], Axis("", "percent"))
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


def pixels(figure: int, colour: str) -> str:
    """Expression for the number of pixels of a colour, such as "29,95,196", in the canvas of a figure."""
    return (
        f"(() => {{ const one = document.querySelectorAll('[data-chart]')[{figure}].querySelector('canvas'); "
        "const copy = new OffscreenCanvas(one.width, one.height).getContext('2d', { willReadFrequently: true }); "
        "copy.drawImage(one, 0, 0); const data = copy.getImageData(0, 0, one.width, one.height).data; let count = 0; "
        f"for (let i = 0; i < data.length; i += 4) count += `${{data[i]}},${{data[i + 1]}},${{data[i + 2]}}` === "
        f"'{colour}' && data[i + 3] === 255; return count; }})()"
    )


LIGHT, DARK = "29,95,196", "110,166,255"


@pytest.mark.parametrize(("scheme", "colour"), [("light", LIGHT), ("dark", DARK)])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_chart_is_drawn_within_the_page_without_an_error_or_a_request(
    browser: Browser, path: Path, width: int, scheme: str, colour: str
) -> None:
    browser.open(path, width=width, scheme=scheme, is_drawn=DRAWN)
    assert browser.evaluate("document.querySelectorAll('[data-chart]').length") == 3
    assert all(browser.evaluate(pixels(figure, colour)) > 10 for figure in range(3))
    marks = "Array.from(document.querySelectorAll('.track .dot'), one => one.getBoundingClientRect().width)"
    assert len(browser.evaluate(marks)) == 7
    assert min(browser.evaluate(marks)) >= 1
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    widest = "Math.max(...Array.from(document.querySelectorAll('.chart canvas, .track i'), "
    assert width / 2 < browser.evaluate(widest + "one => one.getBoundingClientRect().right))") < width
    assert browser.console == []
    assert browser.requests == [path.resolve().as_uri()]


def test_texts_are_readable_and_within_the_page_on_a_phone(browser: Browser, path: Path) -> None:
    browser.open(path, width=390, scheme="light", is_drawn=DRAWN)
    texts = browser.evaluate(
        "Array.from(document.querySelectorAll('figure :is(h3, button, .axis-label, .row span, .row b, .ends span)'))"
        ".map(one => [one.textContent, parseFloat(getComputedStyle(one).fontSize), "
        "one.getBoundingClientRect().left, one.getBoundingClientRect().right])"
    )
    fonts = browser.evaluate(
        "Array.from(document.querySelectorAll('[data-chart]'))"
        ".flatMap(one => one.chart.axes.map(axis => parseFloat(axis.font[0]) / devicePixelRatio))"
    )
    assert len(texts) > 30
    assert min(fonts) >= 11
    assert [text for text, size, _, _ in texts if size < 11] == []
    assert [text for text, _, left, right in texts if left < 0 or right > 390] == []


def test_charts_follow_the_colour_scheme_while_open_and_are_dark_on_white_in_print(
    browser: Browser, path: Path
) -> None:
    ground = "getComputedStyle(document.querySelector('figure')).backgroundColor"
    browser.open(path, width=1280, scheme="light", is_drawn=DRAWN)
    assert browser.evaluate(ground) == "rgb(255, 255, 255)"
    browser.show_as(scheme="dark")
    browser.until(f"{pixels(0, DARK)} > 10 && {pixels(0, LIGHT)} === 0")
    assert browser.evaluate(ground) == "rgb(23, 28, 34)"
    browser.show_as(media="print", scheme="dark")
    browser.until(f"{pixels(0, LIGHT)} > 10 && {pixels(0, DARK)} === 0")
    assert browser.evaluate(ground) == "rgb(255, 255, 255)"


def middle_of_the_first_chart(browser: Browser) -> tuple[float, float]:
    x, y = browser.evaluate(
        "(() => { const one = document.querySelector('.chart'); one.scrollIntoView({block: 'center'}); "
        "const box = one.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    return x, y


def test_the_wheel_scrolls_the_page_and_a_drag_zooms_a_chart(browser: Browser, path: Path) -> None:
    browser.open(path, width=1280, scheme="light", is_drawn=DRAWN)
    shown = "(({ min, max }) => [min, max])(document.querySelector('[data-chart]').chart.scales.x)"
    x, y = middle_of_the_first_chart(browser)
    assert browser.evaluate(shown) == [0, 21]
    scrolled = browser.evaluate("scrollY")
    browser.wheel(x, y, 200)
    browser.until(f"scrollY > {scrolled}")
    assert browser.evaluate(shown) == [0, 21]
    x, y = middle_of_the_first_chart(browser)
    browser.drag((x - 200, y), (x + 100, y))
    browser.until(f"{shown}[0] > 0 && {shown}[1] < 21")
    browser.double_click(x, y)
    browser.until(f"{shown}[0] === 0 && {shown}[1] === 21")


def test_the_pointer_shows_the_values_of_all_series(browser: Browser, path: Path) -> None:
    browser.open(path, width=1280, scheme="light", is_drawn=DRAWN)
    values = "Array.from(document.querySelector('[data-chart]').querySelectorAll('.legend b'), one => one.textContent)"
    at = "document.querySelector('.at').textContent"
    last = browser.evaluate(values)
    x, y = middle_of_the_first_chart(browser)
    browser.move(x, y)
    browser.until(at)
    day = int(browser.evaluate(at).removeprefix("simulated day "))
    assert 8 < day < 13
    assert browser.evaluate(values) == [f"{10 * day * rank:.2f}" for rank in range(len(POLICIES))]
    browser.move(5, 5)
    browser.until(f"!{at}")
    assert browser.evaluate(values) == last


def test_a_name_of_the_legend_highlights_its_series(browser: Browser, path: Path) -> None:
    browser.open(path, width=1280, scheme="light", is_drawn=DRAWN)
    press = "document.querySelectorAll('.legend button')[1].click()"
    before = browser.evaluate(pixels(0, LIGHT))
    browser.evaluate(press)
    browser.until(f"{pixels(0, LIGHT)} === 0 && {pixels(0, '192,77,18')} > 10")
    browser.evaluate(press)
    browser.until(f"{pixels(0, LIGHT)} === {before}")


def test_hostile_names_are_texts_wherever_they_are_shown(browser: Browser, tmp_path: Path) -> None:
    name = """</script><img src=x onerror="document.title='owned'"> $title"""
    report, axis = HtmlReport(name, name), Axis(name)
    report.line_chart(name, {name: [(0, 1.0), (1, 2.0)], "b": [(0, 2.0)]}, axis, axis, note=name)
    report.point_chart(name, [(name, 1.0, 0.5, 2.0)], axis)
    report.table([name], [[name]])
    report.write(tmp_path / "hostile.html")
    browser.open(tmp_path / "hostile.html", width=1280, scheme="light", is_drawn=DRAWN)
    browser.move(*middle_of_the_first_chart(browser))
    browser.until("document.querySelector('.at').textContent")
    assert name in browser.evaluate("document.querySelector('.at').textContent")
    assert browser.evaluate("document.title") == name
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert (browser.console, len(browser.requests)) == ([], 1)


def test_without_its_charts_the_page_has_their_values(browser: Browser, path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(path.read_text(encoding="utf-8").replace("new uPlot(", "new missing("), encoding="utf-8")
    browser.open(broken, width=1280, scheme="light", is_drawn=DRAWN)
    assert browser.evaluate("document.querySelectorAll('details[open] table').length") == 3
    assert browser.console


def test_without_javascript_every_value_is_in_a_table(browser: Browser, path: Path) -> None:
    with browser.without_scripts():
        browser.open(path, width=1280, scheme="light", is_drawn="document.querySelectorAll('table').length === 6")
        assert browser.evaluate("document.querySelectorAll('noscript p').length") == 1
        assert browser.evaluate("document.querySelectorAll('details table').length") == 5
        assert browser.evaluate("document.querySelectorAll('canvas').length") == 0

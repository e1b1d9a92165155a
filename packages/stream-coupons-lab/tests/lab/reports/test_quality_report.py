"""The page of an evaluation: one file, every head, nothing from outside."""

import pytest

from lab.foreign_logs import AT, HOUR_S, drawn, issue, read
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.progressive_run import run
from stream_coupons_lab.offline.quality import judged, quality
from stream_coupons_lab.offline.segments import by_coupon, by_segment
from stream_coupons_lab.reports.quality_report import TITLES, page

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def html() -> str:
    log = read(drawn(issues=250, seed=2), 12 * HOUR_S)
    series = judged(run(log, Settings()))
    catalogue = {coupon.coupon_id: coupon for coupon in log.coupons}
    slices = [each for one in series for each in (*by_coupon(one), *by_segment(one, catalogue))]
    return page("<log>", series, [quality(one) for one in series], slices).html()


def test_it_is_one_page_with_a_section_for_every_head(html: str) -> None:
    assert html.startswith("<!doctype html>")
    for title in TITLES.values():
        assert f">{title}</h2>" in html
    for chart in ("Log loss over time", "Calibration"):
        assert f"<h3>{chart}</h3>" in html
    assert "weather" in html
    assert ">nan" not in html


def test_the_log_is_named_and_its_name_escaped(html: str) -> None:
    assert "<h1>Evaluation of &lt;log&gt;</h1>" in html
    assert "<log>" not in html


def test_a_log_without_labels_still_has_a_page() -> None:
    series = judged(run(read([issue("i1", AT)]), Settings()))
    html = page("log", series, [quality(one) for one in series], []).html()
    assert html.count("No issue of this kind had a label by the end of the log.") == 3

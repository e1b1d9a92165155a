"""Logs in which some coupons were never seen: what is learnt of them and what is judged."""

import random

import pytest

from lab.foreign_logs import AT, DAY_S, HOUR_S, Record, browse, feedback, issue, read, settings
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.progressive_run import run
from stream_coupons_lab.offline.quality import judged, quality
from stream_coupons_lab.offline.scored import Scored

SEEN_RATIO, CLICK_RATIO = 0.4, 0.3
ISSUES = 1500
REPORTED = settings(impression_domains=frozenset({"ecommerce"}))


def partly_seen() -> list[Record]:
    """Issues of which only some are seen, by chance; of those seen some are clicked."""
    rng = random.Random(7)
    records: list[Record] = []
    for n in range(ISSUES):
        at = AT + n * 600.0
        records.append(issue(f"i{n}", at, user_id=f"u{rng.randrange(200)}"))
        is_seen, is_clicked = rng.random() < SEEN_RATIO, rng.random() < CLICK_RATIO
        if is_seen:
            records.append(feedback("impression", f"i{n}", at + 60))
        if is_seen and is_clicked:
            records.append(feedback("click", f"i{n}", at + 120))
    return [*records, browse(AT + ISSUES * 600.0 + DAY_S)]


def predicted(scored: list[Scored]) -> float:
    """Mean P(click) once the model has learnt something."""
    late = scored[len(scored) // 2 :]
    return sum(one.p_click for one in late) / len(late)


@pytest.mark.slow
def test_probabilities_are_of_a_coupon_that_is_seen_where_channels_report_and_of_any_elsewhere() -> None:
    log = partly_seen()
    reported, other = run(read(log, HOUR_S), REPORTED), run(read(log, HOUR_S), Settings())
    assert predicted(reported) == pytest.approx(CLICK_RATIO, rel=0.15)
    assert predicted(other) == pytest.approx(SEEN_RATIO * CLICK_RATIO, rel=0.2)
    click, of_all = quality(judged(reported)[0]), quality(judged(other)[0])
    assert (click.issues, click.unseen) == ("seen", ISSUES - click.examples)
    assert click.examples / ISSUES == pytest.approx(SEEN_RATIO, rel=0.1)
    assert click.calibration_ratio.value == pytest.approx(1.0, abs=0.15)
    assert (of_all.issues, of_all.unseen, of_all.examples) == ("all", 0, ISSUES)
    assert of_all.positives == click.positives


def seen(*records: Record, known: Settings = REPORTED) -> list[bool | None]:
    return [one.seen for one in run(read([*records, browse(AT + 9 * DAY_S)], HOUR_S), known)]


def test_settings_decide_which_domains_report() -> None:
    travel = issue("i3", coupon={"coupon_id": "t1", "domain": "travel"})
    records = [issue("i1"), issue("i2"), feedback("impression", "i2", AT + 1), travel]
    assert seen(*records) == [False, True, None]
    assert seen(*records, known=Settings()) == [None, None, None]


def test_an_impression_dated_before_its_issue_counts_and_one_after_the_window_does_not() -> None:
    assert seen(feedback("impression", "i1", AT - 1), issue("i1")) == [True]
    assert seen(issue("i1"), feedback("impression", "i1", AT + DAY_S)) == [False]

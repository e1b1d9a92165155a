"""Logs in which some coupons were never seen: what is learnt of them, what is judged, and when impressions count."""

import random
from typing import Any

import pytest

from lab.foreign_logs import AT, DAY_S, HOUR_S, Record, browse, feedback, issue, read
from stream_coupons.core.rules import AttributionRules
from stream_coupons.settings import Settings
from stream_coupons_lab.offline.impressions import Impressions
from stream_coupons_lab.offline.progressive_run import ProgressiveRun
from stream_coupons_lab.offline.quality import judged, quality
from stream_coupons_lab.offline.scored import Scored

SEEN_RATIO, CLICK_RATIO = 0.4, 0.3
ISSUES = 1500
MIXED = 800


def partly_seen(*, reports: bool) -> list[Record]:
    """Issues of which only some are seen, by chance; of those seen some are clicked."""
    rng = random.Random(7)
    records: list[Record] = []
    for n in range(ISSUES):
        at = AT + n * 600.0
        records.append(issue(f"i{n}", at, user_id=f"u{rng.randrange(200)}"))
        is_seen, is_clicked = rng.random() < SEEN_RATIO, rng.random() < CLICK_RATIO
        if is_seen and reports:
            records.append(feedback("impression", f"i{n}", at + 60))
        if is_seen and is_clicked:
            records.append(feedback("click", f"i{n}", at + 120))
    return [*records, browse(AT + ISSUES * 600.0 + DAY_S)]


def ran(records: list[Record], settings: Settings | None = None) -> ProgressiveRun:
    running = ProgressiveRun(read(records, HOUR_S), settings or Settings())
    for record in running.log.records():
        running.feed(record)
    running.finish()
    return running


def predicted(scored: list[Scored]) -> float:
    """Mean P(click) once the model has learnt something."""
    late = scored[len(scored) // 2 :]
    return sum(one.p_click for one in late) / len(late)


@pytest.mark.slow
def test_with_impressions_probabilities_are_of_a_coupon_that_is_seen_and_without_of_any() -> None:
    with_them = ran(partly_seen(reports=True)).scored()
    without = ran(partly_seen(reports=False)).scored()
    assert predicted(with_them) == pytest.approx(CLICK_RATIO, rel=0.15)
    assert predicted(without) == pytest.approx(SEEN_RATIO * CLICK_RATIO, rel=0.2)

    click = quality(judged(with_them)[0])
    assert (click.issues, click.unseen) == ("seen", ISSUES - click.examples)
    assert click.examples / ISSUES == pytest.approx(SEEN_RATIO, rel=0.1)
    assert click.calibration_ratio == pytest.approx(1.0, abs=0.15)
    of_all = quality(judged(without)[0])
    assert (of_all.issues, of_all.unseen, of_all.examples) == ("all", 0, ISSUES)
    assert of_all.positives == click.positives


def seen(*records: Record, settings: Settings | None = None) -> list[bool | None]:
    return [one.seen for one in ran(list(records), settings).scored()]


END = browse(AT + 9 * DAY_S)
LATER = AT + DAY_S


def test_an_impression_counts_from_its_moment_on_and_not_before() -> None:
    assert seen(issue("i1"), issue("i2", LATER), feedback("impression", "i2", LATER + 1), END) == [None, True]
    # The window of the first is open when the first impression comes.
    assert seen(issue("i1"), issue("i2", AT + 60), feedback("impression", "i2", AT + 120), END) == [False, True]


def test_an_impression_dated_before_its_issue_counts() -> None:
    assert seen(feedback("impression", "i1", AT - 1), issue("i1"), issue("i2"), END) == [True, False]


def test_an_impression_after_the_window_or_where_nothing_was_given_shows_nothing() -> None:
    late = [issue("i1"), feedback("impression", "i1", LATER), issue("i2", LATER + 1), END]
    assert seen(*late) == [None, None]
    assert seen(issue("i1", coupon=None), feedback("impression", "i1"), issue("i2", AT + 1), END) == [None, None]


def test_each_domain_reports_for_itself() -> None:
    travel = {"coupon_id": "t1", "domain": "travel"}
    records = [issue("i1"), issue("i2", coupon=travel), feedback("impression", "i2", AT + 1), END]
    assert seen(*records) == [None, True]


def test_settings_decide_if_they_name_a_domain() -> None:
    named = Settings(attribution=AttributionRules(impression_domains=frozenset({"ecommerce"})))
    other = Settings(attribution=AttributionRules(impression_domains=frozenset({"travel"})))
    records = [issue("i1"), issue("i2"), feedback("impression", "i2", AT + 1), END]
    assert seen(issue("i1"), END, settings=named) == [False]
    assert seen(*records, settings=named) == [False, True]
    assert seen(*records, settings=other) == [None, None]


def test_impressions_of_one_channel_say_nothing_of_another_that_reports_none() -> None:
    """Else every coupon by the second channel that is learnt would be a success."""
    records: list[Record] = []
    for n in range(20):
        at = LATER + n * HOUR_S * 2
        records += [
            issue(f"app{n}", at),
            feedback("impression", f"app{n}", at + 1),
            feedback("click", f"app{n}", at + 2),
        ]
        records += [issue(f"sms{n}", at), feedback("click", f"sms{n}", at + 2), issue(f"silent{n}", at + 3)]
    running = ran([*records, END])
    late = [one.seen for one in running.scored() if one.occurred_at > LATER + 3 * HOUR_S]
    assert set(late) == {None}
    # The first of them was given before anything was reported.
    assert running.doubtful_impressions == {"ecommerce": 19}


def test_coupons_of_one_mailing_that_were_never_seen_teach_nothing_though_all_were_given_before_an_impression() -> None:
    mailing = [issue(f"i{n}", user_id=f"u{n}") for n in range(10)]
    seen_by = [feedback("impression", f"i{n}", AT + 60, user_id=f"u{n}") for n in range(4)]
    used = [feedback(kind, "i4", AT + 60, user_id="u4") for kind in ("impression", "click", "purchase")]
    running = ran([*mailing, *seen_by, *used, END])
    heads = running.models["ecommerce"].snapshot().quality
    assert {name: head.examples for name, head in heads.items()} == {"click": 5, "redeem": 5}


def test_few_lost_impressions_are_borne() -> None:
    impressions = Impressions()
    for n in range(20):
        impressions.add(f"i{n}", "shop", AT)
        impressions.close(f"i{n}", f"u{n}", "shop", AT, has_response=True)
    for n in range(3):
        assert impressions.reported == {"shop"}
        impressions.close(f"lost{n}", f"lost{n}", "shop", AT, has_response=True)
    assert impressions.doubtful == {"shop"}
    assert (impressions.responses["shop"], impressions.responses_unseen["shop"]) == (23, 3)


def mixed(*, silent_channel: float = 0.0, bots: int = 0) -> list[Record]:
    """A hundred shoppers; of what they are shown some impressions get lost, and some channel may report none at all."""
    rng = random.Random(3)
    records: list[Record] = []
    for n in range(MIXED):
        at, user = AT + n * 600.0, rng.randrange(100)
        records.append(issue(f"i{n}", at, user_id=f"u{user}"))
        is_seen, is_lost, is_clicked = rng.random() < 0.6, rng.random() < 0.04, rng.random() < CLICK_RATIO
        if is_seen and not is_lost and rng.random() >= silent_channel:
            records.append(feedback("impression", f"i{n}", at + 60))
        if (is_seen and is_clicked) or user < bots:
            records.append(feedback("click", f"i{n}", at + 120))
    return [*records, browse(AT + MIXED * 600.0 + DAY_S)]


@pytest.mark.slow
def test_few_who_click_on_everything_make_no_impression_doubtful() -> None:
    running = ran(mixed(bots=4))
    responses, unseen = running.impressions.responses["ecommerce"], running.impressions.responses_unseen["ecommerce"]
    assert unseen > 0.1 * responses, "or else it shows nothing"
    assert running.doubtful_impressions == {}
    click = quality(judged(running.scored())[0])
    assert (click.issues, click.unseen) == ("seen", MIXED - click.examples)
    assert click.examples / MIXED == pytest.approx(0.6, abs=0.05)


@pytest.mark.long
@pytest.mark.parametrize("bots", [0, 4])
@pytest.mark.slow
def test_a_channel_that_reports_none_is_told_from_impressions_that_get_lost(bots: int) -> None:
    running = ran(mixed(silent_channel=0.2, bots=bots))
    assert running.doubtful_impressions.keys() == {"ecommerce"}
    click = quality(judged(running.scored())[0])
    assert (click.issues, click.unseen, click.examples) == ("all", 0, MIXED), "as the warning says"


def test_what_was_seen_is_told_in_the_end_as_all_of_the_log_shows_it() -> None:
    records = [issue("first"), feedback("impression", "first", AT + 1)]
    for n in range(11):
        at = LATER + n * 2 * HOUR_S
        records += [issue(f"i{n}", at, user_id=f"u{n}"), feedback("click", f"i{n}", at + 2)]
        records += [feedback("impression", f"i{n}", at + 1)] if n else []
        records += [issue(f"silent{n}", at, user_id=f"u{n}")]
    running = ran([*records, END])
    told = {one.issue_id: one.seen for one in running.scored()}
    assert [told[f"i{n}"] for n in range(11)] == [True] * 11
    # The first click had no impression, so for long nobody could know.
    assert [told[f"silent{n}"] for n in range(11)] == [False] * 11


def test_clicks_from_before_anything_was_reported_say_nothing_of_what_is_reported_since() -> None:
    impressions = Impressions()
    for n in range(50):
        impressions.close(f"before{n}", f"u{n}", "shop", AT, has_response=True)
    assert impressions.reported == impressions.doubtful == frozenset()
    impressions.add("first", "shop", LATER)
    impressions.close("first", "u1", "shop", LATER - 1, has_response=True)
    assert (impressions.reported, impressions.responses["shop"]) == ({"shop"}, 0)
    impressions.close("without", "u2", "shop", LATER, has_response=True)
    assert impressions.doubtful == {"shop"}


@pytest.mark.long
@pytest.mark.slow
def test_what_is_predicted_before_a_moment_does_not_depend_on_impressions_after_it() -> None:
    moment = AT + 400 * 600.0
    records = partly_seen(reports=True)[:1200]
    changed = [each for each in records if each["occurred_at"] < moment or each.get("kind") != "impression"]

    def told(log: list[Record]) -> list[Any]:
        return [(one.issue_id, one.p_click) for one in ran(log).scored() if one.occurred_at < moment]

    assert len(changed) < len(records)
    assert told(records) == told(changed)

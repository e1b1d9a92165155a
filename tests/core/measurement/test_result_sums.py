"""Results of a coupon by day: what counts, when a day is final, and what is safe against lost reports."""

from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.measurement.result_sums import (
    MAX_NUMBER,
    RESTS_S,
    CouponResults,
    GivenTerms,
    Numbers,
    ResultChange,
)
from tests.core.builders import restarted

CLOSES = 5000.0
GIVEN = Numbers(given=1)
USED = Numbers(used=1, uses=1, discount_minor=80)


def give(day: int, closes_at: float = CLOSES) -> ResultChange:
    return ResultChange("tea", day, GIVEN, GivenTerms("spring", "shop", closes_at))


def summed(*changes: ResultChange) -> CouponResults:
    found = CouponResults()
    for change in changes:
        found.add(change)
    return found


@given(st.permutations(range(12)))
def test_feedback_in_any_order_makes_the_same_results(order: list[int]) -> None:
    feedback = [ResultChange("tea", day, Numbers(clicked=day, discount_minor=n)) for day in (1, 2, 3) for n in range(4)]
    given_first = [give(1), give(2), give(3)]
    assert summed(*given_first, *(feedback[place] for place in order)) == summed(*given_first, *feedback)


def test_a_day_closes_when_the_last_of_its_coupons_is_over() -> None:
    found = summed(give(1, CLOSES), give(1, CLOSES - 9), ResultChange("tea", 1, USED))
    [day] = found.days
    assert (day.closes_at, day.campaign_id, day.domain, day.version) == (CLOSES, "spring", "shop", 3)
    assert day.numbers == Numbers(given=2, used=1, uses=1, discount_minor=80)


def test_a_final_day_is_dropped_a_day_after_its_last_report_and_takes_no_more() -> None:
    found = summed(give(1), give(2, 9 * RESTS_S))
    assert [one.day for one in found.pass_time(CLOSES, 30.0)] == [1, 2]
    assert not found.is_news(CLOSES + RESTS_S - 1, 30.0)
    assert found.is_news(CLOSES + RESTS_S, 30.0)
    assert found.pass_time(CLOSES + RESTS_S, 30.0) == []
    assert [one.day for one in found.days] == [2]
    for late in (ResultChange("tea", 1, USED), give(1)):
        found.add(late)
    assert [one.day for one in found.days] == [2]


def test_discounts_that_are_reported_on_a_day_are_told_apart_from_those_of_the_days_before() -> None:
    """In Berlin a day begins at 23:00 UTC in winter; a tick that is applied again repeats its report."""
    found, told, midnight = summed(give(1, 99 * RESTS_S)), list[int](), 20 * RESTS_S - 3600.0
    for at, minor in ((-60, 80), (-30, 40), (0, 0), (30, 25), (30, 0), (60, -10), (RESTS_S, -40), (RESTS_S + 30, 50)):
        found.add(ResultChange("tea", 1, Numbers(discount_minor=minor, seen=1)))
        [day] = found.pass_time(midnight + at, 0.0, "Europe/Berlin")
        told.append(day.recent_minor)
    assert told == [80, 120, 0, 25, 25, 15, 0, 10]


def test_a_final_day_that_was_not_reported_is_kept_until_it_is() -> None:
    found = summed(give(1))
    [first] = found.pass_time(9 * RESTS_S, 30.0)
    assert first.numbers == GIVEN
    [again] = restarted(found).pass_time(9 * RESTS_S, 30.0)
    assert again == first, "the tick is applied again after a crash"


def test_feedback_on_a_day_without_an_issue_counts_for_nothing() -> None:
    assert summed(ResultChange("tea", 4, USED)).days == ()


def test_numbers_stay_within_what_a_message_can_hold() -> None:
    vast = ResultChange("tea", 1, Numbers(discount_minor=MAX_NUMBER))
    [day] = summed(give(1), vast, vast, ResultChange("tea", 1, Numbers(clicked=-1))).days
    assert (day.numbers.discount_minor, day.numbers.clicked) == (MAX_NUMBER, 0)

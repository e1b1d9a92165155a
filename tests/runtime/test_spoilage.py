"""When most of what comes in is bad the agent stops, before any of that batch is delivered, and says why."""

from collections import Counter

import pytest

from stream_coupons.core.reasons import Rejection
from stream_coupons.runtime.attempt import Result
from stream_coupons.runtime.spoilage import Spoilage


def batch(good: int, bad: int = 0, reason: str = "invalid_json") -> Result:
    return Result(0, applied=Counter({"browse-events": good}), dead=Counter({("cart-events", reason): bad}))


def test_it_stops_when_more_than_the_ratio_of_a_window_is_bad_and_says_what(caplog: pytest.LogCaptureFixture) -> None:
    spoilage = Spoilage("users", window=100, max_ratio=0.5)
    assert not spoilage.is_over_with([batch(50, 50)])
    assert spoilage.is_over_with([batch(10, 60), batch(20, 10, "no_key")])
    assert spoilage.is_over
    assert "users has stopped" in caplog.text
    assert "cart-events because of invalid_json" in caplog.text


def test_nothing_is_said_of_fewer_records_than_a_window() -> None:
    spoilage = Spoilage("users", window=100, max_ratio=0.5)
    assert not any(spoilage.is_over_with([batch(0, 1)]) for _ in range(99))
    assert spoilage.is_over_with([batch(0, 1)])


def test_only_the_latest_records_count() -> None:
    spoilage = Spoilage("users", window=100, max_ratio=0.5)
    assert not spoilage.is_over_with([batch(1000)])
    assert not spoilage.is_over_with([batch(49, 50)])
    assert spoilage.is_over_with([batch(0, 2)])


@pytest.mark.parametrize("reason", [Rejection.LATE, Rejection.UNKNOWN_ISSUE, Rejection.WRONG_COUPON])
def test_what_is_refused_for_its_coupon_is_not_bad(reason: Rejection) -> None:
    spoilage = Spoilage("users", window=1000, max_ratio=0.5)
    assert not spoilage.is_over_with([batch(0, 600, reason)])
    assert not spoilage.is_over_with([batch(0, 600)])
    assert spoilage.is_over_with([batch(0, 1)])


def test_a_ratio_of_one_never_stops() -> None:
    spoilage = Spoilage("users", window=10, max_ratio=1.0)
    assert not any(spoilage.is_over_with([batch(0, 10)]) for _ in range(20))

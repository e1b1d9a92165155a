"""A topic of which most records are bad is read slowly until good ones come; no other topic is."""

from collections import Counter

import pytest

from stream_coupons.core.reasons import Rejection
from stream_coupons.runtime.circuit_breaker import PROBE_EVERY_S, CircuitBreaker
from stream_coupons.runtime.steps import Result

CART, BROWSE = "cart-events", "browse-events"


class Circuits:
    """A breaker, its clock, and what changed."""

    def __init__(self, window: int = 100, max_ratio: float = 0.5) -> None:
        self.now = 1000.0
        self.changes: list[tuple[str, str, bool]] = []
        self.breaker = CircuitBreaker("users", window, max_ratio, self.note, lambda: self.now)

    def note(self, *change: object) -> None:
        self.changes.append(change)  # type: ignore[arg-type]

    def watch(self, good: int, bad: int = 0, reason: str = "invalid", client: str | None = None) -> bool:
        """Whether a topic is held back after a batch of it."""
        result = Result(0, applied=Counter({CART: good, BROWSE: 5}), dead=Counter({(CART, reason): bad}))
        if client is not None:
            result.refused_of[CART, client] += bad
        self.breaker.watch([result])
        assert self.breaker.may_fetch(BROWSE), "only what is bad is held back"
        return not self.breaker.may_fetch(CART)


def test_a_topic_is_held_back_when_more_than_the_ratio_of_its_window_is_bad_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    circuits = Circuits()
    assert not circuits.watch(50, 50)
    assert circuits.watch(30, 70, client="shop 7.3")
    assert circuits.changes == [(CART, "invalid", True)]
    assert "users reads cart-events only every 10 s: 70 of its last 100 records are bad" in caplog.text
    assert "because of invalid, most of the latest from client 'shop 7.3'" in caplog.text


def test_one_fetch_comes_through_every_so_often_and_good_records_end_it() -> None:
    circuits = Circuits()
    assert circuits.watch(0, 100)
    circuits.now += PROBE_EVERY_S
    assert circuits.breaker.may_fetch(CART)
    circuits.breaker.note_fetched(CART)
    assert not circuits.breaker.may_fetch(CART)
    assert circuits.watch(0, 20), "the probe is bad"
    circuits.now += PROBE_EVERY_S
    circuits.breaker.note_fetched(CART)
    assert not circuits.watch(20, 5)
    assert circuits.changes == [(CART, "invalid", True), (CART, "invalid", False)]
    assert not circuits.watch(0, 99), "it is judged by a whole window again"
    assert circuits.watch(0, 1)


def test_nothing_is_held_back_for_fewer_records_than_a_window() -> None:
    circuits = Circuits()
    assert not any(circuits.watch(0, 1) for _ in range(99))
    assert circuits.watch(0, 1)


def test_only_the_latest_records_count() -> None:
    circuits = Circuits()
    assert not circuits.watch(1000)
    assert not circuits.watch(49, 50)
    assert circuits.watch(0, 2)


@pytest.mark.parametrize("reason", [Rejection.LATE, Rejection.UNKNOWN_ISSUE, Rejection.WRONG_COUPON])
def test_what_is_refused_for_its_coupon_is_not_bad(reason: Rejection) -> None:
    circuits = Circuits(window=1000)
    assert not circuits.watch(0, 600, reason)
    assert not circuits.watch(0, 600)
    assert circuits.watch(0, 1)


def test_a_ratio_of_one_holds_nothing_back() -> None:
    circuits = Circuits(window=10, max_ratio=1.0)
    assert not any(circuits.watch(0, 10) for _ in range(20))

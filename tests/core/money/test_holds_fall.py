"""Holds fall by ticks: a coupon that is over, but not closed, frees nothing of what others hold."""

from stream_coupons.core.effects import Booking, Stake
from stream_coupons.core.money import purses
from stream_coupons.core.money.purses import Purse

AT = 1_000_000_000.0


def booking(before: Stake, after: Stake, at: float, issued_at: float, length_s: float = 100.0) -> Booking:
    return Booking("c", None, before, after, at, issued_at, issued_at + length_s, is_falling=True)


def test_others_keep_their_holds_while_a_coupon_that_is_over_waits_for_a_tick() -> None:
    purse = Purse(granted=1000)
    purses.book(purse, booking(Stake(), Stake(50), AT, AT))
    for number in range(3):
        later = AT + 400.0 + number
        purses.book(purse, booking(Stake(), Stake(40), later, later))
    assert purse.committed == 50 + 3 * 40
    purses.book(purse, booking(Stake(50), Stake(), AT + 403.0, AT))
    purses.fall(purse, AT + 403.0)
    assert 115 <= purse.committed <= 120


def test_a_redemption_frees_what_is_left_of_its_hold_at_once() -> None:
    purse = Purse(granted=1000)
    for number in range(2):
        purses.book(purse, booking(Stake(), Stake(80), AT, AT + number * 0.0))
    purses.fall(purse, AT + 25.0)
    assert purse.committed == 120
    purses.book(purse, booking(Stake(80), Stake(spent_minor=100), AT + 10.0, AT))  # reported late
    assert purse.committed == 60 + 100

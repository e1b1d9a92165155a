"""A purse under any draws, purchases, corrections, refunds, cancellations and ends: its totals add up."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from stream_coupons.core.effects import Booking, Stake
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.money import purses
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.holds import cost_of, hold_of
from stream_coupons.core.money.purses import Purse, PurseTotals, draw_for_new, drawn_by_new, hourly_bound
from stream_coupons.core.shopper.state import OpenIssue
from tests.core.builders import AT, DAY_S, HOUR_S, opened, opening, restarted, used

MOST = 1000
EVERYTHING = 10**9
"""A lease that no limit of a test can exhaust."""
amounts = st.integers(0, MOST)


def totals(purse: Purse) -> tuple[int, ...]:
    """All totals of a purse, each of which only grows."""
    return tuple(getattr(purse, name) for name in PurseTotals.__struct_fields__)


class Books(RuleBasedStateMachine):
    """One purse, and beside it every coupon that draws on it."""

    issues: Any = Bundle("issues")

    @initialize(
        holds_maximum=st.booleans(),
        granted=st.sampled_from([0, 3 * MOST, EVERYTHING]),
        ratio=st.sampled_from([0.0, 0.05, 1.0, 100.0]),
    )
    def begin(self, holds_maximum: bool, granted: int, ratio: float) -> None:
        self.is_maximum = holds_maximum
        self.ratio = 0.0 if holds_maximum else ratio
        self.purse = Purse(granted=granted, max_overspend_ratio=self.ratio)
        self.now = AT
        self.number = 0
        self.open: dict[str, OpenIssue] = {}
        self.spent_by_closed = 0
        self.drawn = 0
        self.before = totals(self.purse)

    # ------------------------------------------------------------ what may happen

    @rule(target=issues, most=st.integers(1, MOST), redeems=st.floats(0.0, 1.0), risk=st.none() | st.floats(0.0, 0.1))
    def draw(self, most: int, redeems: float, risk: float | None) -> str:
        """Give a coupon, if the purse has what it holds."""
        hold = "maximum" if self.is_maximum else "quantile"
        held = int(hold_of(hold, most, redeems, 0.7 * most, float("inf") if risk is None else risk))  # type: ignore[arg-type]
        self.number += 1
        expected, variance = cost_of(redeems, 0.7 * most)
        issue = opened(
            at=self.now,
            issue_id=f"i{self.number}",
            held_minor=held,
            most_minor=most,
            expected_minor=expected,
            variance=variance,
        )
        limit = Limit(EVERYTHING, MOST, max_overspend_ratio=self.ratio)
        if self.purse.available >= purses.needed(self.purse, limit, held, most):
            self.open[issue.issue_id] = issue
            self._book(opening(issue))
        else:
            purses.want(self.purse, held)
        return issue.issue_id

    @rule(issue_id=issues, spent=amounts, ago_s=st.sampled_from([0.0, HOUR_S, DAY_S]))
    def buy(self, issue_id: str, spent: int, ago_s: float) -> None:
        """A purchase, a correction of it up or down, or a refund: the amount that counts now."""
        if issue_id in self.open:
            self._change(issue_id, is_redeemed=True, spent=min(spent, self.open[issue_id].most_minor), ago_s=ago_s)

    @rule(issue_id=issues)
    def cancel(self, issue_id: str) -> None:
        if issue_id in self.open:
            self._change(issue_id, is_redeemed=False, spent=0)

    @rule(issue_id=consumes(issues), late_s=st.sampled_from([0.0, 1.0, DAY_S]))
    def close(self, issue_id: str, late_s: float) -> None:
        """End a coupon when it can no longer be used, or somewhat later."""
        if issue_id in self.open:
            self.now = max(self.now, self.open[issue_id].expires_at + late_s)
            self._close(issue_id)

    @rule(granted=st.integers(0, 2 * MOST), keep=st.none() | st.integers(0, 2 * MOST))
    def lease(self, granted: int, keep: int | None) -> None:
        """The owner grants more, or calls back what is idle."""
        version, total = self.purse.version + 1, self.purse.granted + granted
        purses.receive(
            self.purse, Lease(account_id="money:c", partition=0, at=AT, version=version, granted=total, keep=keep)
        )

    @rule(seconds=st.floats(0.0, 3 * DAY_S))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def report(self) -> None:
        """Report now and then, as the ticks do."""
        if purses.is_news(self.purse, self.now):
            purses.fall(self.purse, self.now)
            purses.report("money:c", 0, self.purse, self.now)
            assert self.purse.told == purses.sum_of_totals(self.purse)

    @rule()
    @precondition(lambda self: self.number % 5 == 4)
    def restart(self) -> None:
        again = restarted(self.purse)
        assert again == self.purse
        self.purse = again

    def _change(self, issue_id: str, *, is_redeemed: bool, spent: int, ago_s: float = 0.0) -> None:
        issue = self.open[issue_id]
        before = issue.stake
        issue.uses = used(spent, is_used=is_redeemed)
        self._book_change(issue, before, issue.stake, self.now - ago_s)

    def _close(self, issue_id: str) -> None:
        issue = self.open.pop(issue_id)
        self.spent_by_closed += issue.spent_minor
        self._book_change(issue, issue.stake, Stake(spent_minor=issue.spent_minor), self.now)

    def _book_change(self, issue: OpenIssue, before: Stake, after: Stake, at: float) -> None:
        span = issue.at, issue.expires_at
        self._book(Booking("c1", None, before, after, at, *span, issue.is_falling))

    def _book(self, booking: Booking) -> None:
        for name in ("held_minor", "spent_minor"):
            self.drawn += max(getattr(booking.after, name) - getattr(booking.before, name), 0)
        purses.book(self.purse, booking)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def adds_up(self) -> None:
        purse, spent = self.purse, self.spent_by_closed + sum(issue.spent_minor for issue in self.open.values())
        worst = self.spent_by_closed + sum(issue.most_minor for issue in self.open.values())
        assert purse.worst == worst, "as if each open coupon took the most that it can"
        assert worst <= (1.0 + self.ratio) * (purse.granted - purse.returned) + 1e-6, "the bound that was chosen"
        after = totals(purse)
        assert all(new >= old for new, old in zip(after, self.before, strict=True)), "a total has shrunk"
        self.before = after
        assert purse.drawn == self.drawn, "all that was ever held, and all that was ever spent"
        assert purse.spent - purse.refunded == spent
        assert purse.committed >= spent
        held = sum(issue.stake.held_minor for issue in self.open.values())
        reserved = purse.reserved - purse.unreserved
        assert 0 <= reserved <= max(worst - spent, 0)
        assert reserved == 0 or purse.committed - 1 < worst / (1.0 + self.ratio), "no more than the bound requires"
        assert purse.committed - reserved - purses.fallen(purse, self.now) <= spent + held
        assert 0 <= purse.falling_held <= purse.committed - reserved - spent
        if self.is_maximum:
            assert purse.available >= 0
            assert (purse.committed, reserved) == (spent + held, 0)
            assert purse.falling_held == 0

    def teardown(self) -> None:
        """When all has ended, money is spent or free, and nothing is expected any more."""
        if not hasattr(self, "purse"):
            return
        self.now = max([self.now, *(issue.expires_at for issue in self.open.values())])
        for issue_id in list(self.open):
            self._close(issue_id)
        purses.fall(self.purse, self.now)  # the tick that ended them
        self.adds_up()
        assert self.purse.committed == self.spent_by_closed
        assert self.purse.falling_held == 0
        assert self.purse.reserved == self.purse.unreserved
        assert self.purse.expected.at(self.now) == pytest.approx(0.0, abs=1e-3)
        assert self.purse.variance.at(self.now) == pytest.approx(0.0, abs=1.0)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=40, derandomize=True)


def test_a_hold_falls_evenly_and_what_it_has_lost_can_be_drawn() -> None:
    purse = Purse(granted=100, max_overspend_ratio=float("inf"))
    issue = opened(held_minor=80, most_minor=500)
    purses.book(purse, opening(issue))
    available = []
    for days in (0, 2, 4, 6, 8, 9):
        purses.fall(purse, AT + days * DAY_S)
        available.append(purse.available)
    assert available == [20, 40, 60, 80, 100, 100]


def test_what_a_hold_has_lost_stays_reserved_as_far_as_the_bound_requires() -> None:
    purse = Purse(granted=500, max_overspend_ratio=0.25)
    issue = opened(held_minor=450, most_minor=500)
    purses.book(purse, opening(issue))
    left = [450]
    for days in (1, 4, 8):
        purses.fall(purse, AT + days * DAY_S)
        left.append(purse.committed)
    assert left == [450, 400, 400, 400], "the most over 1.25"
    before, issue.uses = issue.stake, used(10)
    span = AT + 8 * DAY_S, AT, issue.expires_at
    purses.book(purse, Booking("c1", None, before, issue.stake, *span, issue.is_falling))
    assert purse.committed == 400, "a correction may still take the rest"
    purses.book(purse, Booking("c1", None, issue.stake, Stake(spent_minor=10), *span, issue.is_falling))
    assert (purse.committed, purse.worst) == (10, 10)


def test_a_hold_of_the_most_stays_until_the_end() -> None:
    purse = Purse(granted=100)
    purses.book(purse, opening(opened(held_minor=80, most_minor=80)))
    purses.fall(purse, AT + 7 * DAY_S)
    assert (purse.available, purse.falling_held) == (20, 0)


def test_a_hold_that_comes_back_is_what_would_be_left_of_it() -> None:
    purse = Purse(granted=1000, max_overspend_ratio=float("inf"))
    issue = opened(held_minor=80, most_minor=500)
    purses.book(purse, opening(issue))
    for day, (is_redeemed, spent, committed) in enumerate([(True, 300, 300), (False, 0, 60), (True, 50, 69)], start=1):
        purses.fall(purse, AT + day * DAY_S)
        before = issue.stake
        issue.uses = used(spent, is_used=is_redeemed)
        change = Booking("c1", None, before, issue.stake, AT + day * DAY_S, AT, issue.expires_at, issue.is_falling)
        purses.book(purse, change)
        assert purse.committed == committed
    assert (purse.spent, purse.refunded) == (350, 300)


@pytest.mark.parametrize("partitions", [1, 4, 7, 16])
@pytest.mark.parametrize("most", [0, 1, 5, 60, 1_000])
def test_all_partitions_together_have_the_share_or_one_coupon_each(most: int, partitions: int) -> None:
    bounds = [hourly_bound(Limit(most, 1), 0.1, partitions, number) or 0 for number in range(partitions)]
    assert min(bounds) >= 1
    assert sum(bounds) <= max(most // 10, partitions) + partitions
    assert sum(each for each in bounds if each > 1) <= most // 10


@pytest.mark.parametrize(
    ("limit", "ratio", "bound"),
    [
        (Limit(None, 1), 0.1, None),
        (Limit(1_000, 1), 1.0, None),
        (Limit(1_000, 1, starts_at=AT, ends_at=AT + 2 * HOUR_S), 0.1, None),
        (Limit(1_000, 1, starts_at=AT, ends_at=AT + DAY_S), 0.1, 125),
        (Limit(1_000, 1, starts_at=AT, ends_at=AT + 30 * DAY_S), 0.1, 100),
        (Limit(1_000, 400), 0.1, 400),
        (Limit(1_000, 1), 0.0, 1),
    ],
)
def test_the_bound_is_the_ratio_or_three_mean_hours(limit: Limit, ratio: float, bound: int | None) -> None:
    assert hourly_bound(limit, ratio, 1, 0) == bound


def test_an_event_of_an_earlier_hour_begins_no_new_share() -> None:
    purse = Purse()
    draw_for_new(purse, AT, 3)
    draw_for_new(purse, AT - DAY_S, 2)
    assert (drawn_by_new(purse, AT), drawn_by_new(purse, AT - DAY_S)) == (5, 5)
    assert drawn_by_new(purse, AT + HOUR_S) == 0

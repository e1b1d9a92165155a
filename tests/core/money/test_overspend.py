"""Budgets with quantile holds, attacked: whatever shoppers do, no more is spent than the worst case that was stated."""

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec import Struct

from stream_coupons.core.decision.open_issues import booking, opening
from stream_coupons.core.effects import Effects, Stake
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money import leases
from stream_coupons.core.money.accounts import Accounts, money_of
from stream_coupons.core.money.holds import cost_of
from stream_coupons.core.money.leases import Account
from stream_coupons.core.money.purses import ASK_AGAIN_S, Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import Shortage
from stream_coupons.core.shopper.state import OpenIssue
from stream_coupons.testing import coupon
from tests.core.builders import AT, DAY_S, opened, purses

MONEY, MOST = money_of("c1"), 100


class Shop:
    """The wallets of all partitions, and the owner of the budget of one coupon: all messages arrive at once."""

    def __init__(self, partitions: int, **terms: Any) -> None:
        self.limits = Accounts([coupon(max_discount_minor=MOST, **terms)]).of(coupon())[1:]
        self.limit = self.limits[0]
        self.partitions, self.now, self.account = partitions, AT, Account()
        self.shared = [purses() for _ in range(partitions)]
        self.wallets = [Wallet(shared, number, partitions) for number, shared in enumerate(self.shared)]
        self.open: list[tuple[int, OpenIssue]] = []
        self.lacked: set[Shortage] = set()

    @property
    def purses(self) -> list[Purse]:
        """The purses of all partitions that have one."""
        return [purse for purse in (shared.get(MONEY) for shared in self.shared) if purse is not None]

    @property
    def spent(self) -> int:
        """Money spent so far."""
        return sum(purse.spent - purse.refunded for purse in self.purses)

    def give(self, number: int, redeems: float) -> bool:
        """Give a coupon in a partition if it can be had; else ask for what it lacks."""
        holds, effects = self.wallets[number], Effects()
        charge = holds.charge(self.limits, MOST, redeems, MOST)
        if charge.shortage is None:
            expected, variance = cost_of(redeems, MOST)
            about = {"held_minor": charge.held_minor, "expected_minor": expected, "variance": variance}
            issue = opened(at=self.now, expires_at=self.now + 8 * DAY_S, most_minor=MOST, **about)
            holds.draw(self.limits, opening(issue), effects)
            self.open.append((number, issue))
        else:
            self.lacked.add(charge.shortage)
            holds.want(self.limits, charge.held_minor, MOST, self.now, effects)
        self.send(effects.messages)
        return charge.shortage is None

    def flood(self, redeems: float, most_open: int = 10**9) -> None:
        """Give as many coupons as can be had, while leases move."""
        idle = 0
        while idle < 20 and len(self.open) < most_open:
            given = [self.give(number, redeems) for number in range(self.partitions)]
            idle = 0 if any(given) else idle + 1
            self.pass_time(ASK_AGAIN_S)

    def redeem_all(self) -> None:
        """Every open coupon is used, and takes the most that it can."""
        for number, issue in self.open:
            before = issue.stake
            issue.redeemed, issue.spent_minor = True, MOST
            self.wallets[number].book([booking(issue, before, issue.stake, self.now)])

    def end_all(self) -> None:
        """The time of every coupon is over."""
        self.now = max([self.now, *(issue.expires_at for _, issue in self.open)])
        for number, issue in self.open:
            over = booking(issue, issue.stake, Stake(spent_minor=issue.spent_minor), self.now, issue.expected_minor)
            self.wallets[number].book([over])
        self.open.clear()
        self.pass_time(ASK_AGAIN_S)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for holds in self.wallets:
            self.send(holds.tell(self.now).messages)

    def send(self, messages: Iterable[Struct]) -> None:
        waiting = list(messages)
        while waiting:
            message = waiting.pop(0)
            if isinstance(message, LeaseReport):
                waiting += leases.take_report(self.account, message, self.limit, self.partitions)
            elif isinstance(message, Lease):
                waiting += self.wallets[message.partition].receive(message).messages


def attacked(partitions: int, unused: int = 200, **terms: Any) -> Shop:
    """Return a shop whose first 200 coupons nobody used, and all of whose later ones everybody uses."""
    shop = Shop(partitions, **terms)
    while unused > 0:
        before = len(shop.open)
        shop.flood(0.05, most_open=unused)
        unused -= len(shop.open) - before
        shop.end_all()
    for _ in range(4):
        shop.flood(0.005)
        shop.redeem_all()
        shop.pass_time(ASK_AGAIN_S)
    shop.end_all()
    shop.flood(0.005)
    return shop


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("budget", [2_000, 10_000, 50_000])
def test_a_budget_that_a_model_believes_nobody_uses_is_not_overspent_when_everybody_does(
    budget: int, partitions: int
) -> None:
    shop = attacked(partitions, budget_minor=budget)
    assert budget - MOST < shop.spent <= 1.05 * budget

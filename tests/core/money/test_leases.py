"""Leases: no limit is ever passed, whatever is lost, doubled or reordered; and nothing lies idle where it is wanted."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_coupons.core.effects import Booking, Stake
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money import leases, purses
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.holdings import Account, Holding
from stream_coupons.core.money.holds import cost_of, hold_of
from stream_coupons.core.money.price import demand_of
from stream_coupons.core.money.purses import Purse, PurseTotals
from stream_coupons.core.shopper.state import OpenIssue
from tests.core.builders import OwnedAccount, as_read, opened, opening, restarted, used

WINDOW_S = 60.0
REDEEMS, DISCOUNT_RATIO = 0.3, 0.7
"""P(redeem), and E(discount | redeem) over the most."""


def units(most: int | None) -> Limit:
    """A stock."""
    return Limit(most, 1, "units:c", is_stock=True, unit_minor=100)


def money(most: int | None, quantum: int, hold: Any = "maximum", **terms: Any) -> Limit:
    """A budget; with an end it has a price."""
    return Limit(most, quantum, "money:c", hold, **terms)


def totals(purse: Purse) -> tuple[int, ...]:
    """All totals of a purse, each of which only grows."""
    return tuple(getattr(purse, name) for name in PurseTotals.__struct_fields__)


@dataclass
class Machine:
    """An account, its partitions, and a network between them that loses, doubles and reorders."""

    limit: Limit
    partitions: int
    chance: random.Random
    account: OwnedAccount = field(default_factory=OwnedAccount)
    purses: dict[int, Purse] = field(default_factory=dict)
    on_way: list[Lease | LeaseReport] = field(default_factory=list)
    given: int = 0
    now: float = 0.0
    open: list[tuple[int, OpenIssue]] = field(default_factory=list)
    closed_minor: int = 0
    """Spent by coupons that have ended."""
    widest: int = 0
    """The greatest limit so far."""
    restarts: bool = False
    """Whether the owner starts anew before each report."""
    leased: dict[tuple[int, int], Lease] = field(default_factory=dict)
    """Leases by partition and version."""
    before: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Totals of purses at the last check."""
    log: list[bytes] = field(default_factory=list)
    """All messages that were sent."""
    quiet: int = 0
    """How many partitions have no shoppers."""

    def __post_init__(self) -> None:
        self.widest = self.limit.most or 0

    def purse(self, number: int) -> Purse:
        if number not in self.purses:
            self.purses[number] = purses.open_purse(self.limit, self.partitions, number)
        return self.purses[number]

    def shopper(self, number: int, most: int) -> bool:
        """A decision in a partition on a coupon that costs so much at most, or on a unit."""
        purse, limit = self.purse(number), self.limit
        expected, variance = cost_of(REDEEMS, DISCOUNT_RATIO * most)
        risk = float("inf") if purse.risk is None else purse.risk
        held = int(np.ceil(hold_of(limit.hold, most, REDEEMS, DISCOUNT_RATIO * most, risk)))
        value = 10.0 * self.chance.lognormvariate(0.0, 1.0)
        if limit.is_priced:
            [demand] = demand_of(np.array([[value]]), np.array([[expected]]), np.zeros(1))
            purses.add_demand(purse, demand)
        is_available = purse.available >= held
        if is_available and limit.is_stock:
            purse.drawn += 1
        elif is_available:
            about: dict[str, Any] = {
                "held_minor": held,
                "most_minor": most,
                "expected_minor": expected,
                "variance": variance,
            }
            issue = opened(at=self.now, expires_at=self.now + WINDOW_S, **about)
            self.open.append((number, issue))
            purses.book(purse, opening(issue))
        else:
            purses.want(purse, held)
        self.given += held * is_available
        if purses.is_low(purse, limit) and purses.may_ask(purse, self.now):
            self.send(purses.report(limit.account_id, number, purse, self.now, asks=True))
        return is_available

    def learn(self, place: int, *, is_redeemed: bool, spent: int) -> None:
        """A purchase, correction, refund or cancellation."""
        number, issue = self.open[place]
        before = issue.stake
        issue.uses = used(spent, is_used=is_redeemed)
        self._book(number, issue, before, issue.stake)

    def end(self, place: int) -> None:
        """Nothing can come of a coupon any more."""
        number, issue = self.open.pop(place)
        self.closed_minor += issue.spent_minor
        self._book(number, issue, issue.stake, Stake(spent_minor=issue.spent_minor))

    def _book(self, number: int, issue: OpenIssue, before: Stake, after: Stake) -> None:
        span = self.now, issue.at, issue.expires_at
        purses.book(self.purses[number], Booking("c", None, before, after, *span, issue.is_falling))

    def tell(self) -> None:
        """Every partition reports what has changed."""
        for number, purse in self.purses.items():
            if purses.is_news(purse, self.now):
                purses.fall(purse, self.now)
                self.send(purses.report(self.limit.account_id, number, purse, self.now))

    def send(self, message: Lease | LeaseReport) -> None:
        """Send a message, which is read as its type says."""
        read = as_read(message)
        if isinstance(read, Lease):
            same = msgspec.structs.replace(read, at=0.0)
            assert self.leased.setdefault((read.partition, read.version), same) == same, "one version says one thing"
        self.on_way.append(read)
        self.log.append(msgspec.json.encode(message))

    def deliver(self, message: Lease | LeaseReport) -> None:
        if isinstance(message, LeaseReport):
            self.account = restarted(self.account) if self.restarts else self.account
            for lease in self.account.take(message, self.limit, self.partitions):
                self.send(lease)
        else:
            purse = self.purses.setdefault(message.partition, Purse())
            if message.version <= purse.version or purses.receive(purse, message):  # as in a wallet
                self.send(purses.report(message.account_id, message.partition, purse, self.now))

    def deliver_all(self) -> None:
        while self.on_way:
            self.deliver(self.on_way.pop(0))

    def check(self) -> None:
        """What must hold at every prefix."""
        granted, first = 0, purses.first_lease
        for number in range(self.partitions):
            purse = self.purses.get(number)
            if purse is None:
                granted += first(self.limit, self.partitions, number)
                continue
            granted += purse.granted - purse.returned
            self._check_purse(number, purse)
        assert granted <= self.widest
        spent = self.closed_minor + sum(issue.spent_minor for _, issue in self.open)
        assert sum(purse.spent - purse.refunded for purse in self.purses.values()) == spent
        if self.limit.hold == "maximum":
            assert spent <= sum(purse.committed for purse in self.purses.values()) <= granted

    def _check_purse(self, number: int, purse: Purse) -> None:
        after = totals(purse)
        assert all(new >= old for new, old in zip(after, self.before.get(number, after), strict=True))
        self.before[number] = after
        if purse.version:
            newest = self.leased[number, purse.version]
            assert (purse.price, purse.risk) == (newest.price, newest.risk)
        if self.limit.hold == "maximum":
            assert purse.available >= 0


def steps(machine: Machine, count: int) -> Iterator[None]:
    chance, quantum = machine.chance, machine.limit.quantum
    for _ in range(count):
        machine.now += chance.expovariate(1.0)
        what = chance.random()
        if what < 0.35:
            machine.shopper(chance.randrange(machine.partitions - machine.quiet), quantum)
        elif what < 0.5 and machine.open:
            live(machine)
        elif what < 0.6:
            machine.tell()
        elif machine.on_way:
            message = machine.on_way.pop(chance.randrange(len(machine.on_way)))
            fate = chance.random()
            if fate > 0.1:
                machine.deliver(message)
            if fate > 0.9:
                machine.on_way.append(message)
        yield


def live(machine: Machine) -> None:
    """Let something happen to an open coupon: its end, if it is due."""
    chance = machine.chance
    place = chance.randrange(len(machine.open))
    _, issue = machine.open[place]
    if machine.now >= issue.expires_at:
        machine.end(place)
    elif issue.redeemed or chance.random() < REDEEMS:
        is_redeemed = chance.random() < 0.8
        machine.learn(place, is_redeemed=is_redeemed, spent=chance.randrange(issue.most_minor + 1))


def restful(machine: Machine) -> None:
    """Let the network heal: every coupon ends, and every message arrives."""
    machine.now += WINDOW_S
    while machine.open:
        machine.end(0)
    for _ in range(3):
        machine.now += purses.REPORT_EVERY_S
        machine.tell()
        machine.deliver_all()
    machine.check()
    for number in range(machine.partitions - machine.quiet):  # a quiet one is called again when somebody asks
        holding = machine.account.holdings().get(number)
        assert holding is None or not holding.is_called, "a call-back was lost"


def use_up(machine: Machine) -> None:
    """Let shoppers of one partition take and use all that is left."""
    tries = 0
    while tries < 20:
        machine.now += purses.ASK_AGAIN_S
        tries = 0 if machine.shopper(0, machine.limit.quantum) else tries + 1
        for place in range(len(machine.open)):
            machine.learn(place, is_redeemed=True, spent=machine.limit.quantum // 2)
        while machine.open and machine.open[0][1].expires_at <= machine.now:
            machine.end(0)
        machine.tell()
        machine.deliver_all()
        machine.check()
    restful(machine)


LASTS_S = 15_000.0
STEERED: dict[str, Any] = {"curve": "even", "starts_at": 100.0, "ends_at": LASTS_S, "lag_s": 0.4 * WINDOW_S}
RUNS = [(0, 5_000), pytest.param(1, 20_000, marks=pytest.mark.slow)]
"""Seeds, and numbers of steps."""
LIMITS = {
    "a stock": (units(40), 4),
    "three units for many": (units(3), 16),
    "one partition": (units(100), 1),
    "money": (money(5_000, 300), 8),
    "money with a price": (money(50_000, 300, **STEERED), 4),
    "money for one with a price": (money(350, 300, **STEERED), 4),
    "too little for one with a price": (money(250, 300, **STEERED), 4),
    "a quantile": (money(20_000, 300, "quantile", **STEERED), 4),
    "a quantile without a price": (money(5_000, 300, "quantile"), 8),
}


@pytest.mark.parametrize(("seed", "count"), RUNS)
@pytest.mark.parametrize(("limit", "partitions"), LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("is_partly_quiet", [False, True])
def test_no_limit_is_passed_though_messages_are_lost_doubled_and_reordered(
    seed: int, count: int, limit: Limit, partitions: int, *, is_partly_quiet: bool
) -> None:
    machine = Machine(limit, partitions, random.Random(seed), quiet=is_partly_quiet * partitions // 2)
    for _ in steps(machine, count):
        machine.check()
    restful(machine)
    committed = sum(purse.committed for purse in machine.purses.values())
    assert committed == machine.closed_minor or limit.is_stock
    assert machine.account.state.sums.drawn == committed
    use_up(machine)
    if not limit.is_stock:
        assert machine.closed_minor <= (1.1 if limit.hold == "quantile" else 1.0) * machine.widest
        assert machine.closed_minor > machine.widest - 2 * limit.quantum, "what lay idle was called back"


@pytest.mark.parametrize("name", ["a stock", "a quantile", "money with a price"])
def test_an_owner_that_starts_anew_before_every_report_sends_the_same_leases(name: str) -> None:
    limit, partitions = LIMITS[name]
    machines = [Machine(limit, partitions, random.Random(7), restarts=restarts) for restarts in (False, True, False)]
    for machine in machines:
        for _ in steps(machine, 4_000):
            pass
    plain, restarting, again = machines
    assert plain.log == restarting.log == again.log
    states = [msgspec.msgpack.encode([machine.account, machine.purses]) for machine in machines]
    assert states[0] == states[1] == states[2]
    assert any(b'"granted"' in message for message in plain.log)


@pytest.mark.parametrize(("seed", "count"), RUNS)
@pytest.mark.parametrize("limit", [units(50), money(50, 1), money(50, 1, "maximum", **STEERED)], ids=str)
def test_no_limit_is_passed_that_the_catalogue_ever_had(seed: int, count: int, limit: Limit) -> None:
    chance = random.Random(seed)
    machine = Machine(limit, 4, chance)
    for _ in steps(machine, count):
        if chance.random() < 0.01:
            machine.limit = limit._replace(most=chance.choice([0, 10, 50, 200]))
            machine.widest = max(machine.widest, machine.limit.most or 0)
        machine.check()


def test_a_price_that_comes_amid_a_call_back_calls_back_too() -> None:
    limit = money(1_000, 100, **STEERED)
    holdings = {"money:c:0": Holding(granted=1_000, is_known=True), "money:c:1": Holding(is_known=True)}
    account = OwnedAccount(Account(told=(5.0, None, 1.0, False)), holdings)
    asks = LeaseReport(account_id="money:c", partition=1, at=1_000.0, version=0, granted=0, asks=True)
    [called] = [lease for lease in account.take(asks, limit, 2) if lease.partition == 0]
    assert called.keep == 500
    account.state.told = (1.0, None, 1.0, False)
    priced = account.take(msgspec.structs.replace(asks, at=5_000.0, asks=False), limit, 2)
    [again] = [lease for lease in priced if lease.partition == 0]
    assert (again.version, again.keep, again.price) == (called.version + 1, 500, account.state.price.value)
    purse = Purse(granted=1_000)
    assert purses.receive(purse, again)
    assert (purse.returned, purse.available) == (500, 500)
    assert not purses.receive(purse, called), "it is older"


@pytest.mark.parametrize("partitions", [1, 4, 12])
@pytest.mark.parametrize("stock", [1, 5, 37, 1000])
def test_all_is_given_where_it_is_wanted_in_all_partitions(stock: int, partitions: int) -> None:
    machine = Machine(units(stock), partitions, random.Random(stock))
    for _ in range(20 * stock + 200):
        machine.now += 1.0
        machine.shopper(machine.chance.randrange(partitions), 1)
        machine.deliver_all()
    assert machine.given == stock


@pytest.mark.parametrize("stock", [1, 8, 100])
def test_all_is_given_where_only_one_partition_wants_it(stock: int) -> None:
    machine = Machine(units(stock), 8, random.Random(0))
    tries = 0
    while machine.given < stock:
        machine.now += purses.ASK_AGAIN_S
        machine.shopper(3, 1)
        machine.deliver_all()
        tries += 1
    assert tries < stock + 20


def test_what_lies_idle_comes_back_though_its_partition_draws_nothing_any_more() -> None:
    machine = Machine(units(100), 2, random.Random(0))
    for number in (0, 1):
        machine.shopper(number, 1)
        machine.deliver_all()
    tries = 0
    while machine.given < 100:
        machine.now += 1.0
        machine.shopper(0, 1)
        machine.deliver_all()
        tries += 1
    assert tries < 98 + 5 * (purses.ASK_AGAIN_S + leases.RESTS_S)


def test_the_last_unit_wanted_in_all_partitions_is_given_once_and_soon() -> None:
    machine = Machine(units(1), 16, random.Random(1))
    given = []
    for shopper in range(200):
        machine.now += 0.01
        given.append(machine.shopper(shopper % 16, 1))
        machine.deliver_all()
    assert sum(given) == 1
    assert given.index(True) <= 32


def test_money_that_is_too_little_everywhere_is_brought_together() -> None:
    """300 lie in each of two partitions, and one coupon needs 500."""
    machine = Machine(money(600, 500), 2, random.Random(0))
    machine.purses = {0: Purse(granted=300, size=300), 1: Purse(granted=300, size=300)}
    for number in range(20):
        machine.now += 1.0
        machine.shopper(number % 2, 500)
        machine.deliver_all()
    assert machine.given == 500


def test_money_that_is_freed_is_given_again_elsewhere() -> None:
    machine = Machine(money(1_000, 500), 4, random.Random(0))
    while machine.given < 1_000:
        machine.now += purses.ASK_AGAIN_S
        machine.shopper(0, 500)
        machine.deliver_all()
    machine.end(0)
    machine.now += purses.REPORT_EVERY_S
    machine.tell()
    machine.deliver_all()
    machine.now += purses.ASK_AGAIN_S
    tries = 0
    while not machine.shopper(2, 500):
        machine.deliver_all()
        machine.now += purses.ASK_AGAIN_S
        tries += 1
    assert tries <= 2


def test_what_was_drawn_before_there_was_a_limit_counts() -> None:
    machine = Machine(units(None), 2, random.Random(0))
    for _ in range(30):
        machine.purse(0).drawn += 1
    machine.tell()
    machine.deliver_all()
    machine.limit = units(40)
    given = 30
    for _ in range(60):
        machine.now += purses.ASK_AGAIN_S
        given += machine.shopper(machine.chance.randrange(2), 1)
        machine.deliver_all()
    assert given == 40


def test_demand_decides_who_gets_how_much() -> None:
    """One partition sees ten times as many shoppers: it is not sold out long before the other."""
    machine = Machine(units(1_100), 2, random.Random(5))
    dry_at: dict[int, int] = {}
    for number in range(1_600):
        machine.now += 0.1
        home = 0 if machine.chance.random() < 10 / 11 else 1
        if machine.shopper(home, 1):
            dry_at.pop(home, None)
        else:
            dry_at.setdefault(home, number)
        machine.deliver_all()
    assert machine.given == 1_100
    assert all(number > 1_000 for number in dry_at.values())


@pytest.mark.parametrize("partitions", [2, 3, 7, 16])
def test_first_leases_are_half_of_the_limit_in_even_parts_whatever_a_coupon_takes(partitions: int) -> None:
    for most in range(200):
        parts = [purses.first_lease(Limit(most, 1), partitions, number) for number in range(partitions)]
        assert sum(parts) == most // 2
        assert max(parts) - min(parts) in (0, 1)
        for quantum in (3, 100, 1_000):
            assert parts == [purses.first_lease(Limit(most, quantum), partitions, n) for n in range(partitions)]


@pytest.mark.parametrize("partitions", [4, 16])
@pytest.mark.parametrize(("before", "after"), [(100, 5_000), (5_000, 100), (7, 300), (2_500, 2_499)])
def test_no_limit_is_passed_when_a_coupon_that_costs_more_or_less_comes_later(
    before: int, after: int, partitions: int
) -> None:
    """It joins a running campaign in which some partitions have drawn, and some have not."""
    for drawing in (1, partitions // 2, partitions - 1):
        machine = Machine(money(10_000, before), partitions, random.Random(drawing))
        while any(machine.shopper(number, before) for number in range(drawing)):
            machine.deliver_all()
        machine.limit = money(10_000, after)
        machine.check()
        for _ in range(200):
            machine.now += purses.ASK_AGAIN_S
            for number in range(partitions):
                machine.shopper(number, after)
                machine.check()
            machine.deliver_all()
            machine.check()
        assert machine.given > 10_000 - after, "what lay in parts of no use was called back"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("quantum", "partitions"), [(1, 4), (1, 16), (7, 4), (100, 3)])
def test_no_limit_is_passed_that_rises_while_partitions_have_not_opened_their_purses(
    seed: int, quantum: int, partitions: int
) -> None:
    """As the stock of a coupon in the catalogue, or a budget."""
    chance = random.Random(seed)
    for most in range(0, 3 * partitions * quantum, max(quantum // 2, 1)):
        machine = Machine(money(most, quantum), partitions, chance)
        for _ in range(12):  # the first partition takes all that it can get
            machine.now += purses.ASK_AGAIN_S
            machine.shopper(0, quantum)
            machine.deliver_all()
        for rise in (chance.choice([1, 2, quantum, 3 * quantum]), chance.randrange(2 * partitions * quantum)):
            machine.limit = money((machine.limit.most or 0) + rise, quantum)
            machine.widest = machine.limit.most or 0
            for number in chance.sample(range(partitions), partitions // 2):
                machine.shopper(number, quantum)
                machine.check()
            machine.deliver_all()
            machine.check()


def test_a_lost_call_for_what_lies_idle_is_repeated() -> None:
    machine = Machine(units(100), 2, random.Random(0))
    while machine.shopper(0, 1):
        machine.deliver_all()
    for _ in range(3):
        machine.now += purses.ASK_AGAIN_S
        machine.shopper(0, 1)
        machine.on_way = [one for one in machine.on_way if isinstance(one, LeaseReport)]
        machine.deliver(machine.on_way.pop())
        machine.on_way.clear()
    for _ in range(200):
        machine.now += purses.ASK_AGAIN_S
        machine.shopper(0, 1)
        machine.deliver_all()
    assert machine.given == 100


def test_a_lost_answer_is_asked_for_again() -> None:
    machine = Machine(units(10), 4, random.Random(0))
    while machine.shopper(0, 1):
        machine.on_way.clear()
    machine.now += purses.ASK_AGAIN_S
    machine.shopper(0, 1)
    machine.deliver_all()
    assert machine.shopper(0, 1)


def test_a_lost_lease_is_sent_again_with_the_next_report() -> None:
    machine = Machine(units(10), 4, random.Random(0))
    purse = machine.purse(0)
    machine.deliver(purses.report("units:c", 0, purse, 0.0, asks=True))
    machine.on_way.clear()  # the lease
    machine.deliver(purses.report("units:c", 0, purse, 5.0))
    machine.deliver_all()
    assert purse.available > 1


def test_what_was_kept_for_a_partition_is_free_when_it_says_that_it_has_less() -> None:
    limit, account = money(190, 120), OwnedAccount(kept={"money:c:1": Holding(granted=120)})
    asks = LeaseReport(account_id="money:c", partition=1, at=1_000.0, version=0, granted=0, asks=True)
    [lease] = account.take(asks, limit, 2)
    assert (lease.partition, lease.granted) == (1, 120)

"""Leases: no limit is ever passed, whatever is lost, doubled or reordered; and nothing lies idle where it is wanted."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from stream_coupons.core import leases
from stream_coupons.core.events import Lease, LeaseReport
from stream_coupons.core.leases import Account, Limit, Purse

A = "units:c"


@dataclass
class Machine:
    """An account, its partitions, and a network between them that loses, doubles and reorders."""

    limit: Limit
    partitions: int
    chance: random.Random
    account: Account = field(default_factory=Account)
    purses: dict[int, Purse] = field(default_factory=dict)
    on_way: list[Lease | LeaseReport] = field(default_factory=list)
    given: int = 0
    now: float = 0.0
    open_holds: list[tuple[int, int]] = field(default_factory=list)
    widest: int = 0

    def __post_init__(self) -> None:
        self.widest = self.limit.most or 0

    def purse(self, number: int) -> Purse:
        if number not in self.purses:
            self.purses[number] = leases.open_purse(self.limit, self.partitions, number)
        return self.purses[number]

    def shopper(self, number: int, amount: int) -> bool:
        """A decision in a partition."""
        purse = self.purse(number)
        is_available = purse.available >= amount
        if is_available:
            leases.draw(purse, amount)
            self.given += amount
            self.open_holds.append((number, amount))
        else:
            leases.want(purse, amount)
        if leases.is_low(purse, self.limit) and leases.may_ask(purse, self.now):
            self.on_way.append(leases.report(A, number, purse, self.now, asks=True))
        return is_available

    def end(self, spent_ratio: float) -> None:
        """A hold ends: a part of it is spent."""
        number, amount = self.open_holds.pop(self.chance.randrange(len(self.open_holds)))
        leases.free(self.purses[number], amount, int(amount * spent_ratio))

    def tell(self) -> None:
        """Every partition reports what has changed."""
        for number, purse in self.purses.items():
            if purse.all_totals != purse.told:
                self.on_way.append(leases.report(A, number, purse, self.now))

    def deliver(self, message: Lease | LeaseReport) -> None:
        if isinstance(message, LeaseReport):
            self.on_way += leases.take_report(self.account, message, self.limit, self.partitions)
        else:
            purse = self.purses.setdefault(message.partition, Purse(granted=0))
            if leases.receive(purse, message):
                self.on_way.append(leases.report(A, message.partition, purse, self.now))

    def deliver_all(self) -> None:
        while self.on_way:
            self.deliver(self.on_way.pop(0))

    def check(self) -> None:
        granted = sum(purse.granted - purse.returned for purse in self.purses.values())
        assert granted <= self.widest
        assert all(purse.available >= 0 for purse in self.purses.values())
        committed = sum(purse.drawn - purse.freed for purse in self.purses.values())
        assert committed <= granted


def steps(machine: Machine, count: int) -> Iterator[None]:
    chance, quantum = machine.chance, machine.limit.quantum
    for _ in range(count):
        machine.now += chance.expovariate(1.0)
        what = chance.random()
        if what < 0.35:
            machine.shopper(chance.randrange(machine.partitions), quantum)
        elif what < 0.5 and machine.open_holds:
            machine.end(chance.random())
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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("most", "quantum", "partitions"), [(40, 1, 4), (5_000, 300, 8), (3, 1, 16), (100, 1, 1)])
def test_no_limit_is_passed_though_messages_are_lost_doubled_and_reordered(
    seed: int, most: int, quantum: int, partitions: int
) -> None:
    machine = Machine(Limit(most, quantum), partitions, random.Random(seed))
    for _ in steps(machine, 20_000):
        machine.check()


@pytest.mark.parametrize("seed", range(4))
def test_no_limit_is_passed_that_the_catalogue_ever_had(seed: int) -> None:
    chance = random.Random(seed)
    machine = Machine(Limit(50, 1), 4, chance)
    for _ in steps(machine, 20_000):
        if chance.random() < 0.01:
            machine.limit = Limit(chance.choice([0, 10, 50, 200]), 1)
            machine.widest = max(machine.widest, machine.limit.most or 0)
        machine.check()


@pytest.mark.parametrize("partitions", [1, 4, 12])
@pytest.mark.parametrize("stock", [1, 5, 37, 1000])
def test_all_is_given_where_it_is_wanted_in_all_partitions(stock: int, partitions: int) -> None:
    machine = Machine(Limit(stock, 1), partitions, random.Random(stock))
    for _ in range(20 * stock + 200):
        machine.now += 1.0
        machine.shopper(machine.chance.randrange(partitions), 1)
        machine.deliver_all()
    assert machine.given == stock


@pytest.mark.parametrize("stock", [1, 8, 100])
def test_all_is_given_where_only_one_partition_wants_it(stock: int) -> None:
    machine = Machine(Limit(stock, 1), 8, random.Random(0))
    tries = 0
    while machine.given < stock:
        machine.now += leases.ASK_AGAIN_S
        machine.shopper(3, 1)
        machine.deliver_all()
        tries += 1
    assert tries < stock + 20


def test_what_lies_idle_comes_back_though_its_partition_draws_nothing_any_more() -> None:
    machine = Machine(Limit(100, 1), 2, random.Random(0))
    for number in (0, 1):
        machine.shopper(number, 1)
        machine.deliver_all()
    tries = 0
    while machine.given < 100:
        machine.now += 1.0
        machine.shopper(0, 1)
        machine.deliver_all()
        tries += 1
    assert tries < 98 + 5 * (leases.ASK_AGAIN_S + leases.RESTS_S)


def test_the_last_unit_wanted_in_all_partitions_is_given_once_and_soon() -> None:
    machine = Machine(Limit(1, 1), 16, random.Random(1))
    given = []
    for shopper in range(200):
        machine.now += 0.01
        given.append(machine.shopper(shopper % 16, 1))
        machine.deliver_all()
    assert sum(given) == 1
    assert given.index(True) <= 32


def test_money_that_is_too_little_everywhere_is_brought_together() -> None:
    """300 lie in each of two partitions, and one coupon needs 500."""
    machine = Machine(Limit(600, 500), 2, random.Random(0))
    machine.purses = {0: Purse(granted=300, size=300), 1: Purse(granted=300, size=300)}
    for number in range(20):
        machine.now += 1.0
        machine.shopper(number % 2, 500)
        machine.deliver_all()
    assert machine.given == 500


def test_money_that_is_freed_is_given_again_elsewhere() -> None:
    machine = Machine(Limit(1_000, 500), 4, random.Random(0))
    while machine.given < 1_000:
        machine.now += leases.ASK_AGAIN_S
        machine.shopper(0, 500)
        machine.deliver_all()
    machine.end(0.0)
    machine.tell()
    machine.deliver_all()
    machine.now += leases.ASK_AGAIN_S
    tries = 0
    while not machine.shopper(2, 500):
        machine.deliver_all()
        machine.now += leases.ASK_AGAIN_S
        tries += 1
    assert tries <= 2


def test_what_was_drawn_before_there_was_a_limit_counts() -> None:
    machine = Machine(Limit(None, 1), 2, random.Random(0))
    for _ in range(30):
        leases.draw(machine.purse(0), 1)
    machine.tell()
    machine.deliver_all()
    machine.limit = Limit(40, 1)
    given = 30
    for _ in range(60):
        machine.now += leases.ASK_AGAIN_S
        given += machine.shopper(machine.chance.randrange(2), 1)
        machine.deliver_all()
    assert given == 40


def test_demand_decides_who_gets_how_much() -> None:
    """One partition sees ten times as many shoppers: it is not sold out long before the other."""
    machine = Machine(Limit(1_100, 1), 2, random.Random(5))
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


@pytest.mark.parametrize(("quantum", "partitions"), [(1, 2), (1, 7), (3, 4), (10, 3), (100, 16)])
def test_first_leases_are_half_of_the_limit_in_parts_that_are_of_use(quantum: int, partitions: int) -> None:
    for most in range(0, 40 * quantum, max(quantum // 3, 1)):
        parts = [leases.first_lease(Limit(most, quantum), partitions, number) for number in range(partitions)]
        assert sum(parts) == most // quantum // 2 * quantum
        assert max(parts) - min(parts) in (0, quantum)
        assert all(part % quantum == 0 for part in parts)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("quantum", "partitions"), [(1, 4), (1, 16), (7, 4), (100, 3)])
def test_no_limit_is_passed_that_rises_while_partitions_have_not_opened_their_purses(
    seed: int, quantum: int, partitions: int
) -> None:
    """As the budget does that is released in time, or the stock of a coupon in the catalogue."""
    chance = random.Random(seed)
    for most in range(0, 3 * partitions * quantum, max(quantum // 2, 1)):
        machine = Machine(Limit(most, quantum), partitions, chance)
        for _ in range(12):  # the first partition takes all that it can get
            machine.now += leases.ASK_AGAIN_S
            machine.shopper(0, quantum)
            machine.deliver_all()
        for rise in (chance.choice([1, 2, quantum, 3 * quantum]), chance.randrange(2 * partitions * quantum)):
            machine.limit = Limit((machine.limit.most or 0) + rise, quantum)
            machine.widest = machine.limit.most or 0
            for number in chance.sample(range(partitions), partitions // 2):
                machine.shopper(number, quantum)
                machine.check()
            machine.deliver_all()
            machine.check()


def test_a_lost_call_for_what_lies_idle_is_repeated() -> None:
    machine = Machine(Limit(100, 1), 2, random.Random(0))
    while machine.shopper(0, 1):
        machine.deliver_all()
    for _ in range(3):
        machine.now += leases.ASK_AGAIN_S
        machine.shopper(0, 1)
        machine.on_way = [one for one in machine.on_way if isinstance(one, LeaseReport)]
        machine.deliver(machine.on_way.pop())
        machine.on_way.clear()
    for _ in range(200):
        machine.now += leases.ASK_AGAIN_S
        machine.shopper(0, 1)
        machine.deliver_all()
    assert machine.given == 100


def test_a_lost_answer_is_asked_for_again() -> None:
    machine = Machine(Limit(10, 1), 4, random.Random(0))
    while machine.shopper(0, 1):
        machine.on_way.clear()
    machine.now += leases.ASK_AGAIN_S
    machine.shopper(0, 1)
    machine.deliver_all()
    assert machine.shopper(0, 1)


def test_a_lost_lease_is_sent_again_with_the_next_report() -> None:
    machine = Machine(Limit(10, 1), 4, random.Random(0))
    purse = machine.purse(0)
    machine.deliver(leases.report(A, 0, purse, 0.0, asks=True))
    machine.on_way.clear()  # the lease
    machine.deliver(leases.report(A, 0, purse, 5.0))
    machine.deliver_all()
    assert purse.available > 1

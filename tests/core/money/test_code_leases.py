"""Pools of codes move as leases: no code is given twice, none is lost, none lies idle where another one is wanted."""

import random
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest

from stream_coupons.core.effects import Booking, Effects, Stake
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money.accounts import Limit, codes_of
from stream_coupons.core.money.code_ranges import count
from stream_coupons.core.money.holdings import Account, Holding, key_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import Shortage
from stream_coupons.runtime.steps import SharedStates
from tests.core.builders import OwnedAccount, as_read, restarted

NO_MONEY = Booking("c", None, Stake(), Stake(), 0.0, 0.0, 0.0, is_falling=False)


def pool(size: int, revoked: frozenset[int] = frozenset()) -> Limit:
    """A pool of so many codes."""
    return Limit(size, 1, codes_of("c"), is_stock=True, revoked=revoked)


@dataclass
class Machine:
    """A pool, its partitions, and a network between them that loses, doubles and reorders; all of them crash."""

    limit: Limit
    partitions: int
    chance: random.Random
    loss_ratio: float = 0.2
    crash_ratio: float = 0.1
    account: OwnedAccount = field(default_factory=OwnedAccount)
    purses: dict[int, dict[str, Purse]] = field(default_factory=dict)
    on_way: list[Lease | LeaseReport] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    now: float = 0.0

    def step(self, number: int, limit: Limit | None = None) -> int | None:
        """A decision in a partition, on a coupon with codes; the number of its code."""
        shared = SharedStates(self.purses.setdefault(number, {}), Purse)
        wallet, effects, limits = Wallet(shared, number, self.partitions), Effects(), [limit or self.limit]
        code = wallet.next_code(limits)
        assert wallet.shortage(limits, 0, 0) == (Shortage.STOCK if code is None else None)
        if code is None:
            wallet.want(limits, 0, 0, self.now, effects)
        else:
            wallet.draw(limits, NO_MONEY, effects)
        if self.chance.random() < self.crash_ratio:
            return None  # the worker dies: nothing of this is saved or sent
        if code is not None:
            self.given.append(code)
        self._save(number, shared, effects)
        return code

    def tick(self, number: int) -> None:
        """Let a partition report what has changed."""
        shared = SharedStates(self.purses.setdefault(number, {}), Purse)
        self._save(number, shared, Wallet(shared, number, self.partitions).tell(self.now))

    def _save(self, number: int, shared: SharedStates[Purse], effects: Effects) -> None:
        self.purses[number].update({key: as_read(purse) for key, purse in shared.changed.items()})
        for message in effects.messages:
            self.send(message)

    def send(self, message: msgspec.Struct) -> None:
        """Put a message on its way, once, twice or not at all."""
        assert isinstance(message, Lease | LeaseReport)
        fate = self.chance.random()
        self.on_way += [message] * (0 if fate < self.loss_ratio else 2 if fate > 1 - self.loss_ratio else 1)

    def deliver(self) -> None:
        """Let one message arrive, any one."""
        if not self.on_way:
            return
        message = self.on_way.pop(self.chance.randrange(len(self.on_way)))
        if isinstance(message, Lease):
            shared = SharedStates(self.purses.setdefault(message.partition, {}), Purse)
            effects = Wallet(shared, message.partition, self.partitions).receive(message)
            if self.chance.random() >= self.crash_ratio:
                self._save(message.partition, shared, effects)
            return
        account = restarted(self.account)
        answers = account.take(message, self.limit, self.partitions)
        if self.chance.random() >= self.crash_ratio:
            self.account = account
            for lease in answers:
                self.send(lease)

    def check(self) -> None:
        """No number is given twice, or is in two places of which one may still give it."""
        assert [number for number, times in Counter(self.given).items() if times > 1] == []
        left = [set(self._numbers(purse)) for shared in self.purses.values() for purse in shared.values()]
        free = {number for first, end in self.account.state.codes for number in range(first, end)}
        apart = [*left, free, set(self.given)]
        assert sum(map(len, apart)) == len(set().union(*apart))
        for shared in self.purses.values():
            for purse in shared.values():
                assert count(purse.codes) == purse.available

    @staticmethod
    def _numbers(purse: Purse) -> list[int]:
        return [number for first, end in purse.codes for number in range(first, end)]

    def drain(self) -> None:
        """Let the network heal, and shoppers come until nothing is left to give."""
        self.loss_ratio, quiet = 0.0, 0
        while quiet < 40 * self.partitions:
            self.now += 6.0
            before = len(self.given)
            for number in range(self.partitions):
                self.step(number)
                self.tick(number)
            while self.on_way:
                self.deliver()
            quiet = 0 if len(self.given) > before else quiet + 1


def played(seed: int, size: int, partitions: int, revoked: frozenset[int] = frozenset()) -> Machine:
    """A machine after a storm, in which the pool grew once."""
    chance = random.Random(seed)
    machine = Machine(pool(size // 2, revoked), partitions, chance)
    for turn in range(6 * size):
        machine.now += chance.random() * 3.0
        if turn == 3 * size:
            machine.limit = pool(size, revoked)
        number = chance.randrange(partitions)
        chance.choice([machine.step, machine.tick, machine.tick])(number)
        machine.deliver()
        machine.deliver()
        machine.check()
    return machine


@pytest.mark.parametrize("seed", range(12))
def test_every_code_is_given_once_whatever_is_lost_doubled_reordered_or_dies(seed: int) -> None:
    machine = played(seed, 60, 1 + seed % 5)
    machine.drain()
    machine.check()
    assert sorted(machine.given) == list(range(60))


@pytest.mark.parametrize("seed", range(4))
def test_a_revoked_code_is_never_given_and_all_others_are(seed: int) -> None:
    revoked = frozenset([0, 1, 7, 29, 30, 58, 59])
    machine = played(seed, 60, 3, revoked)
    machine.drain()
    machine.check()
    assert sorted(machine.given) == [number for number in range(60) if number not in revoked]


def test_one_partition_gets_the_codes_that_lie_idle_in_others() -> None:
    machine = Machine(pool(40), 4, random.Random(0), loss_ratio=0.0)
    for number in range(4):
        for _ in range(3):
            machine.step(number)
            while machine.on_way:
                machine.deliver()
    for _ in range(400):
        machine.now += 6.0
        machine.step(2)
        while machine.on_way:
            machine.deliver()
    machine.check()
    assert sorted(machine.given) == list(range(40))


def test_a_worker_that_has_not_read_the_import_yet_does_not_give_its_codes() -> None:
    machine = Machine(pool(10), 1, random.Random(1), loss_ratio=0.0)
    machine.step(0)
    while not machine.given:
        machine.deliver()
        machine.step(0)
    lagging = pool(machine.given[0] + 1)
    assert machine.step(0, lagging) is None
    assert machine.step(0) == 1


def test_many_ranges_stay_few() -> None:
    machine = played(3, 60, 5)
    assert all(len(holding.codes) < 12 for holding in machine.account.holdings().values())
    assert len(machine.account.state.codes) < 12


def test_a_partition_that_is_called_gets_no_codes_before_it_has_answered() -> None:
    """Else the owner would take the new codes for those that come back."""
    machine = Machine(pool(10), 2, random.Random(0), loss_ratio=0.0, crash_ratio=0.0)
    holding = Holding(version=1, granted=10, is_known=True, heard_version=1, codes=[(0, 10)])
    machine.account = OwnedAccount(Account(pooled=10), {key_of(codes_of("c"), 0): holding})
    machine.purses = {0: {codes_of("c"): Purse(version=1, granted=10, size=10, codes=[(0, 10)])}}
    called = machine.account.take(report(1, 0), machine.limit, 2)
    machine.limit = pool(30)
    granted = machine.account.take(report(0, 1), machine.limit, 2)
    assert [lease.keep for lease in called] == [5]
    for lease in [*called, *granted]:
        reports, machine.on_way = machine.on_way, [lease]
        machine.deliver()
        machine.on_way += reports
    machine.drain()
    machine.check()
    assert sorted(machine.given) == list(range(30))


def report(number: int, version: int) -> LeaseReport:
    """A partition asks for more."""
    granted = 10 if number == 0 else 0
    return LeaseReport(
        account_id=codes_of("c"), partition=number, at=100.0, version=version, granted=granted, asks=True
    )

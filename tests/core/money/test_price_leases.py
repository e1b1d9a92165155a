"""Leases that carry a price: they grant no more than the limit, and say nothing that their readers refuse."""

import msgspec
import pytest

from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.money import leases
from stream_coupons.core.money.accounts import Limit
from tests.core.builders import OwnedAccount

AT = 1_000_000_000.0
PARTITIONS = 4


def limit(most: int, quantum: int = 100) -> Limit:
    return Limit(most, quantum, "campaign:spring", "quantile", "even", AT, AT + 1000.0)


def report(at: float, variance: float = 2500.0, partition: int = 0) -> LeaseReport:
    """A partition has a coupon open."""
    return LeaseReport(
        account_id="campaign:spring", partition=partition, at=at, version=0, granted=0, drawn=1,
        closed=leases.KNOWN_AFTER, expected=(10.0, 0.0), variance=(variance, 0.0),
    )  # fmt: skip


def test_a_partition_hears_of_price_and_risk_once_it_has_reported() -> None:
    """One that was never heard of opens its purse by itself: a lease would have to say how much of it there is."""
    account, told = OwnedAccount(), dict[int, Lease]()
    for n in range(3):
        for lease in account.take(report(AT + 20.0 * n), limit(10_000), PARTITIONS):
            told[lease.partition] = lease
    assert set(told) == {0}
    assert told[0].risk is not None
    later = account.take(report(AT + 61.0, partition=2), limit(10_000), PARTITIONS)
    heard = {lease.partition: (lease.price, lease.risk) for lease in later}
    assert heard[2] == heard.get(0, (told[0].price, told[0].risk))


def test_a_partition_that_was_called_before_it_reported_hears_of_a_new_risk_under_a_new_version() -> None:
    """Two leases of one version are the same: the partition that reads the second keeps the first."""
    account, told = OwnedAccount(), dict[tuple[int, int], Lease]()
    for n in range(10):
        drawn = account.holdings()[0].granted if account.kept else 0
        asks = msgspec.structs.replace(report(AT + 61.0 * n, 2500.0 + 500.0 * n), drawn=drawn, wanted=n, asks=True)
        for lease in account.take(asks, limit(700), 2):
            same = msgspec.structs.replace(lease, at=0.0)
            assert told.setdefault((lease.partition, lease.version), same) == same
    called = [lease for (number, _), lease in told.items() if number == 1]
    assert not account.holdings()[1].is_known
    assert len({lease.risk for lease in called}) > 1
    assert all(lease.keep is not None for lease in called)


@pytest.mark.parametrize("variance", [0.0, 1e-14, 1e-9, 0.5, 1.0, 1e9])
def test_the_risk_of_almost_nothing_is_not_known(variance: float) -> None:
    """What is left when all coupons have ended is a sum of numbers of 64 bits, and seldom 0."""
    account, told = OwnedAccount(), list[Lease]()
    for n, left in enumerate((2500.0, variance)):
        told += account.take(report(AT + 20.0 * n, left), limit(10_000), 1)
        account.holdings()[0].heard = -1.0
    assert [lease.risk is None for lease in told[-1:]] == [variance < 1.0]
    for lease in told:
        assert msgspec.json.decode(msgspec.json.encode(lease), type=Lease) == lease

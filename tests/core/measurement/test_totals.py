"""Totals of partitions: when one is reported, and which reports count."""

from stream_coupons.core.measurement.totals import LatestReports, PartitionTotal
from stream_coupons.core.messages.results import ResultTotals

AT = 1000.0


def report(partition: int, version: int, given: int) -> ResultTotals:
    return ResultTotals(coupon_id="tea", day=3, partition=partition, at=AT, version=version, domain="shop", given=given)


def test_a_total_is_reported_when_it_changed_and_again_when_its_tick_is_repeated() -> None:
    total = PartitionTotal(version=1)
    assert total.is_due(AT, 30.0)
    total.told_of(AT)
    assert [total.is_due(at, 30.0) for at in (AT, AT + 30)] == [True, False]
    total.version = 2
    assert [total.is_due(at, 30.0) for at in (AT + 29, AT + 30)] == [False, True]


def test_the_greatest_version_of_each_partition_counts_whatever_the_order() -> None:
    latest = LatestReports[ResultTotals]()
    taken = [latest.take(one) for one in (report(1, 5, 50), report(0, 2, 7), report(1, 4, 99), report(1, 5, 98))]
    assert taken == [True, True, False, False]
    assert [one.given for one in latest.parts(("tea", 3))] == [7, 50]

"""Results of coupons as metrics: the last days, the first coupons by name, and all others together."""

from prometheus_client import CollectorRegistry

from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.observability.metrics import Metrics
from stream_coupons.observability.top_coupons import DAYS, MAX_COUPONS, TopCoupons

TODAY = 20454


def report(coupon_id: str, given: int, day: int = TODAY, version: int = 1, partition: int = 0) -> ResultTotals:
    return ResultTotals(
        coupon_id=coupon_id, day=day, partition=partition, at=0.0, version=version, domain="shop", given=given,
        used=given // 2, discount_minor=10 * given,
    )  # fmt: skip


def test_the_coupons_given_most_have_names_and_all_others_are_one() -> None:
    top, registry = TopCoupons(), CollectorRegistry()
    for number in range(MAX_COUPONS + 3):
        top.take(report(f"c{number}", 100 + number))
    top.take(report("c0", 1000, partition=1))
    metrics = Metrics(registry)
    top.report(metrics)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"stream_coupons_{name}", labels)

    assert value("coupon_results", coupon="c0", kind="given") == 1100
    assert value("coupon_results", coupon="other", kind="given") == 101 + 102 + 103
    assert value("coupon_discount_minor", coupon="other") == 3060
    assert len(top.results()) == MAX_COUPONS + 1
    top.take(report("c1", 5000, version=2))
    top.report(metrics)
    assert value("coupon_results", coupon="c1", kind="used") == 2500
    assert value("coupon_results", coupon="c4", kind="given") is None, "it is among the others now"


def test_days_that_are_over_leave_and_do_not_come_back() -> None:
    top = TopCoupons()
    top.take(report("old", 9, day=TODAY - DAYS + 1))
    top.take(report("new", 1))
    assert {name: one.given for name, one in top.results().items()} == {"old": 9, "new": 1}
    top.take(report("new", 2, day=TODAY + 1))
    top.take(report("old", 9, day=TODAY - DAYS + 1, version=2))
    assert {name: one.given for name, one in top.results().items()} == {"new": 3}

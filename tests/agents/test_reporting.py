"""The gauges of money: whole coupons count, lost partitions do not."""

from collections import Counter
from typing import Any

from prometheus_client import CollectorRegistry

from stream_coupons import topics
from stream_coupons.agents.reporting import BatchReporter, BudgetReporter
from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.events import Coupon
from stream_coupons.core.leases import Account, Holding
from stream_coupons.metrics import Metrics
from stream_coupons.runtime.attempt import Result

PARTITIONS = 4


def terms(coupon_id: str, **limits: Any) -> Coupon:
    return Coupon(coupon_id=coupon_id, domain="shop", max_discount_minor=100, discount_minor=100, **limits)


CATALOGUE = Catalogue(
    [terms("touched", budget_minor=1000), terms("whole", budget_minor=500), terms("gone", stock=2), terms("free")]
)
ACCOUNTS = {
    "money:touched": Account(
        {0: Holding(granted=300, drawn=250, freed=50, spent=20), 3: Holding(granted=50, drawn=50)}
    ),
    "units:touched": Account({0: Holding(drawn=3)}),
    "units:gone": Account({1: Holding(granted=1, drawn=1), 2: Holding(granted=1, drawn=1)}),
}


def gauges(registry: CollectorRegistry) -> list[float | None]:
    names = ("budget_remaining_minor", "budget_left_ratio", "coupons_exhausted")
    return [registry.get_sample_value(f"stream_coupons_{name}", {"domain": "shop"}) for name in names]


def reported(partitions: set[int]) -> tuple[float, float, float]:
    registry = CollectorRegistry()
    BudgetReporter(Metrics(registry))(CATALOGUE, ACCOUNTS, partitions, PARTITIONS)
    left, ratio, exhausted = gauges(registry)
    assert left is not None
    assert ratio is not None
    assert exhausted is not None
    return left, ratio, exhausted


def test_a_coupon_that_nobody_asked_for_yet_is_whole() -> None:
    assert reported(set(range(PARTITIONS))) == (750 + 500, 0.75, 1)


def test_only_owned_partitions_are_reported_and_none_is_nothing() -> None:
    parts = [reported({partition}) for partition in range(PARTITIONS)]
    assert sum(left for left, _, _ in parts) == 1250
    assert sum(exhausted for _, _, exhausted in parts) == 1
    of_touched = topics.partition_for(b"money:touched", PARTITIONS)
    assert parts[of_touched][1] == 0.75
    assert reported(set()) == (0, 1.0, 0)


def test_gauges_of_a_domain_end_with_its_last_coupon_and_come_back_with_the_next() -> None:
    registry = CollectorRegistry()
    report, owned = BudgetReporter(Metrics(registry)), set(range(PARTITIONS))
    report(CATALOGUE, ACCOUNTS, owned, PARTITIONS)
    for _ in range(2):
        report(Catalogue([]), ACCOUNTS, owned, PARTITIONS)
        assert gauges(registry) == [None, None, None]
    report(CATALOGUE, ACCOUNTS, owned, PARTITIONS)
    assert gauges(registry) == [1250, 0.75, 1]


def test_redemptions_above_what_is_held_are_counted_by_domain() -> None:
    registry = CollectorRegistry()
    facts = Counter({("overrun", "shop"): 2, ("feedback", "purchase"): 3})
    BatchReporter(Metrics(registry))("users", [Result(0, facts=facts)], 0.1)
    assert registry.get_sample_value("stream_coupons_overrun_redemptions_total", {"domain": "shop"}) == 2


def test_leases_and_ends_are_counted_by_their_kind() -> None:
    registry = CollectorRegistry()
    reporter = BatchReporter(Metrics(registry))
    reporter("budgets", [Result(0, facts=Counter({("lease", "granted"): 3, ("lease", "called_back"): 1}))], 0.1)
    reporter("users", [Result(0, facts=Counter({("end", "redeemed"): 2, ("end", "expired"): 5}))], 0.1)

    def counted(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"stream_coupons_{name}_total", labels)

    assert [counted("leases", kind=kind) for kind in ("granted", "called_back")] == [3, 1]
    assert [counted("coupons_ended", outcome=outcome) for outcome in ("redeemed", "expired")] == [2, 5]

"""The gauges of money: whole coupons count, lost partitions do not."""

from typing import Any

from prometheus_client import CollectorRegistry

from stream_coupons import topics
from stream_coupons.agents.reporting import report_budgets
from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.events import Coupon
from stream_coupons.core.ledger import Ledger
from stream_coupons.metrics import Metrics

PARTITIONS = 4


def terms(coupon_id: str, **limits: Any) -> Coupon:
    return Coupon(coupon_id=coupon_id, domain="shop", max_discount_minor=100, discount_minor=100, **limits)


CATALOGUE = Catalogue(
    [terms("touched", budget_minor=1000), terms("whole", budget_minor=500), terms("gone", stock=2), terms("free")]
)
LEDGERS = {"touched": Ledger(held_minor=200, spent_minor=50), "gone": Ledger(reserved=1, issued=1)}


def reported(partitions: set[int]) -> tuple[float, float, float]:
    registry = CollectorRegistry()
    report_budgets(Metrics(registry), CATALOGUE, LEDGERS, partitions, PARTITIONS)
    names = ("budget_remaining_minor", "budget_left_ratio", "coupons_exhausted")
    left, ratio, exhausted = (registry.get_sample_value(f"stream_coupons_{name}", {"domain": "shop"}) for name in names)
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
    of_touched = topics.partition_for(b"touched", PARTITIONS)
    assert parts[of_touched][1] == 0.75
    assert reported(set()) == (0, 1.0, 0)

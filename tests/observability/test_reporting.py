"""The gauges of money: whole coupons count, lost partitions do not."""

import time
from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.money.holdings import Account, HoldingSums
from stream_coupons.core.money.price import Price
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.observability.metrics import Metrics
from stream_coupons.observability.reporting import BatchReporter, BudgetReporter
from stream_coupons.runtime.steps import Result

PARTITIONS = 4


def terms(coupon_id: str, **limits: Any) -> Coupon:
    return Coupon(coupon_id=coupon_id, domain="shop", max_discount_minor=100, discount_minor=100, **limits)


CATALOGUE = Catalogue(
    [terms("touched", budget_minor=1000), terms("whole", budget_minor=500), terms("gone", stock=2), terms("free")]
)
ACCOUNTS = {
    "money:touched": Account(sums=HoldingSums(drawn=250, spent=20)),
    "units:touched": Account(sums=HoldingSums(drawn=3)),
    "units:gone": Account(sums=HoldingSums(drawn=2)),
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


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"stream_coupons_{name}", labels)


def spent(amount: int, held: int = 0) -> Account:
    return Account(sums=HoldingSums(drawn=amount + held, spent=amount), opened_at=0.0)


def test_spending_beyond_budgets_is_summed_by_domain_and_hold() -> None:
    registry = CollectorRegistry()
    catalogue = Catalogue(
        [
            terms("a", budget_minor=1000),
            terms("b", budget_minor=1000, budget_hold="maximum"),
            terms("c", budget_minor=1000, campaign_id="spring"),
            terms("d", budget_minor=1000, campaign_id="gone"),
        ],
        campaigns=[Campaign(campaign_id="spring", budget_minor=500)],
    )
    accounts = {
        "money:a": spent(1100, held=300),
        "money:b": spent(900, held=200),
        "money:c": spent(1000, held=300),
        "campaign:spring": spent(560),
        "campaign:gone": spent(700),
        "money:removed": spent(700),
    }
    report = BudgetReporter(Metrics(registry))
    report(catalogue, accounts, set(range(PARTITIONS)), PARTITIONS)
    assert sample(registry, "overspent_minor", domain="shop", hold="quantile") == 100 + 60
    assert sample(registry, "overspent_minor", domain="shop", hold="maximum") == 100, "what is held counts there"
    assert sample(registry, "budget_remaining_minor", domain="shop") == 1000, "what one lacks is no other's"
    assert sample(registry, "overspent_ratio", domain="shop") == pytest.approx(0.12)
    report(catalogue, accounts, set(), PARTITIONS)
    assert sample(registry, "overspent_minor", domain="shop", hold="quantile") == 0
    assert sample(registry, "overspent_ratio", domain="shop") == 0
    report(Catalogue([]), accounts, set(range(PARTITIONS)), PARTITIONS)
    assert sample(registry, "overspent_minor", domain="shop", hold="quantile") is None


def test_a_campaign_is_reported_by_the_owner_of_its_account_until_it_is_removed() -> None:
    registry = CollectorRegistry()
    campaigns = [
        Campaign(campaign_id="spring", budget_minor=1000, starts_at=0.0, ends_at=1000.0),
        Campaign(campaign_id="free"),
    ]
    catalogue = Catalogue([terms("a", campaign_id="spring")], campaigns=campaigns)
    account = spent(300, held=50)
    account.price = Price(value=0.5, at=400.0)
    report = BudgetReporter(Metrics(registry))
    owner = topics.partition_for(b"campaign:spring", PARTITIONS)

    def of_spring() -> list[float | None]:
        names = ("budget_minor", "spent_minor", "held_minor", "is_spent", "price", "due_ratio")
        return [sample(registry, f"campaign_{name}", campaign="spring") for name in names]

    report(catalogue, {"campaign:spring": account}, set(range(PARTITIONS)), PARTITIONS)
    assert of_spring() == [1000, 300, 50, 0, 0.5, 0.4]
    report(catalogue, {"campaign:spring": spent(1000)}, set(range(PARTITIONS)), PARTITIONS)
    assert of_spring()[3] == 1
    assert sample(registry, "campaign_budget_minor", campaign="free") is None
    assert sample(registry, "campaign_due_ratio", campaign="free") is None
    assert sample(registry, "campaign_spent_minor", campaign="free") == 0
    report(catalogue, {"campaign:spring": account}, set(range(PARTITIONS)) - {owner}, PARTITIONS)
    assert of_spring() == [None] * 6
    report(catalogue, {"campaign:spring": account}, {owner}, PARTITIONS)
    report(Catalogue([]), {"campaign:spring": account}, {owner}, PARTITIONS)
    assert of_spring() == [None] * 6


def test_coupons_of_a_spent_campaign_are_exhausted() -> None:
    registry = CollectorRegistry()
    coupons = [terms(name, campaign_id="spring") for name in "abc"]
    coupons += [terms("d", campaign_id="gone"), terms("e", campaign_id="free"), terms("f", stock=0, campaign_id="gone")]
    report, owned = BudgetReporter(Metrics(registry)), set(range(PARTITIONS))
    for hold, drawn, expected in (
        ("quantile", 999, 2),
        ("quantile", 1000, 5),
        ("quantile", 1020, 5),
        ("maximum", 900, 2),
        ("maximum", 901, 5),
    ):
        campaigns = [Campaign(campaign_id="spring", budget_minor=1000, budget_hold=hold), Campaign(campaign_id="free")]
        account = Account(sums=HoldingSums(drawn=drawn))
        report(Catalogue(coupons, campaigns=campaigns), {"campaign:spring": account}, owned, PARTITIONS)
        assert sample(registry, "coupons_exhausted", domain="shop") == expected, (hold, drawn)


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


def test_records_that_are_done_too_late_are_counted_by_topic() -> None:
    registry = CollectorRegistry()
    now_ms = int(time.time() * 1000)
    ages_s = {"browse-events": (0, 3600, 7200), "cart-events": (30,), "order-events": (3600,)}
    records = [
        [Record(topic, 0, 0, now_ms - age * 1000, b"u", b"{}") for age in ages] for topic, ages in ages_s.items()
    ]
    records[1].append(Record("cart-events", 0, 1, -1, b"u", b"{}"))  # without a timestamp
    BatchReporter(Metrics(registry))("users", [Result(0)], 0.1, records)
    late = {topic: registry.get_sample_value("stream_coupons_records_late_total", {"topic": topic}) for topic in ages_s}
    assert late == {"browse-events": 2, "cart-events": 0, "order-events": 1}

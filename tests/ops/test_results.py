"""Rows of results: partitions are added up, days are those of the shop, and unknown names are errors with a remedy."""

import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.rules import ShopRules
from stream_coupons.ops.results import By, ResultFilter, rows_of, total_of

SHOP = ShopRules(time_zone="Pacific/Auckland", currencies={"travel": "JPY", "shop": "EUR"})
DAY = 20454  # 2026-01-01
BEGIN = DAY * 86400.0 - 13 * 3600.0
"""Midnight in Auckland, in summer 13 hours ahead of UTC."""


def report(coupon_id: str, day: int = DAY, partition: int = 0, given: int = 10, **about: object) -> ResultTotals:
    known = {"domain": "shop", "campaign_id": "spring", "version": given}
    return ResultTotals(coupon_id=coupon_id, day=day, partition=partition, at=0.0, given=given, **(known | about))  # type: ignore[arg-type]


REPORTS = [
    report("tea", used=2, uses=3, discount_minor=500, revenue_minor=9000),
    report("tea", partition=1, given=5, used=1, uses=1, discount_minor=100),
    report("tea", day=DAY + 1, given=1, seen=1),
    report("salt", given=40, clicked=4),
    report("trip", campaign_id=None, domain="travel", given=2),
]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("coupon", [("salt", "spring", 40), ("tea", "spring", 16), ("trip", "", 2)]),
        ("campaign", [("", "spring", 56), ("", "", 2)]),
    ],
)
def test_partitions_and_days_are_added_up(by: By, expected: list[tuple[str, str, int]]) -> None:
    rows = rows_of(REPORTS, by, ResultFilter(), SHOP)
    assert [(row.coupon_id, row.campaign_id, row.given) for row in rows] == expected
    assert [row.currency for row in rows][-1] == "JPY"


def test_days_are_in_ascending_order_and_of_a_domain_each() -> None:
    rows = rows_of(REPORTS, "day", ResultFilter(), SHOP)
    assert [(row.day, row.domain, row.given) for row in rows] == [
        ("2026-01-01", "shop", 55), ("2026-01-01", "travel", 2), ("2026-01-02", "shop", 1),
    ]  # fmt: skip
    total = total_of(rows, "shop", "EUR")
    assert (total.given, total.uses, total.discount_minor, total.revenue_minor) == (56, 4, 600, 9000)


@pytest.mark.parametrize(
    ("since", "until", "given"),
    [(BEGIN, BEGIN + 86399, 15), (BEGIN + 86400, float("inf"), 1), (float("-inf"), BEGIN - 1, 0)],
)
def test_a_time_stands_for_its_day_in_the_zone_of_the_shop(since: float, until: float, given: int) -> None:
    rows = rows_of(REPORTS, "coupon", ResultFilter("spring", "tea", since, until), SHOP)
    assert sum(row.given for row in rows) == given


def test_a_name_without_results_is_an_error_that_says_what_was_meant() -> None:
    with pytest.raises(BadConfig, match="no results of campaign 'sprint', expected spring"):
        rows_of(REPORTS, "day", ResultFilter(campaign="sprint"), SHOP)
    with pytest.raises(BadConfig, match="no results of coupon 'gold': none was given, or `--coupon` is misspelt"):
        rows_of(REPORTS, "day", ResultFilter(coupon="gold"), SHOP)


def test_a_coupon_that_is_published_and_was_never_given_has_no_rows() -> None:
    assert rows_of(REPORTS, "day", ResultFilter(coupon="gold"), SHOP, {"gold"}) == []

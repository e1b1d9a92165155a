"""New shoppers: 10,000 fresh ids take a stated share of a stock in an hour, and shops lose next to nothing by it."""

import pytest

from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.newcomers import HOUR_S, draw_for_new, drawn_by_new, hourly_bound
from stream_coupons.core.money.purses import Purse
from stream_coupons.testing import START, LocalPipeline, browse, coupon, plain_settings

STOCK, PARTITIONS, FRESH = 1_000, 4, 1_500
DAY_S = 24 * HOUR_S
HOUR = START - START % HOUR_S


def play(shop: LocalPipeline, ids: range, at: float) -> int:
    """Let each of some ids look at one item within half an hour, and return the number of coupons given to them."""
    before = len(shop.issues)
    for number in ids:
        shop.publish(browse(f"fresh-{number}", event_id=f"{number}-{at}", occurred_at=at + 1800.0 * number / ids.stop))
    return len(shop.issues) - before


@pytest.mark.parametrize("partitions", [1, 4, 7, 16])
@pytest.mark.parametrize("most", [0, 1, 5, 60, 1_000])
def test_all_partitions_together_have_the_share_or_one_coupon_each(most: int, partitions: int) -> None:
    bounds = [hourly_bound(Limit(most, 1), 0.1, partitions, number) or 0 for number in range(partitions)]
    assert min(bounds) >= 1
    assert sum(bounds) <= max(most // 10, partitions) + partitions
    assert sum(each for each in bounds if each > 1) <= most // 10


@pytest.mark.parametrize(
    ("limit", "ratio", "bound"),
    [
        (Limit(None, 1), 0.1, None),
        (Limit(1_000, 1), 1.0, None),
        (Limit(1_000, 1, starts_at=START, ends_at=START + 2 * HOUR_S), 0.1, None),
        (Limit(1_000, 1, starts_at=START, ends_at=START + DAY_S), 0.1, 125),
        (Limit(1_000, 1, starts_at=START, ends_at=START + 30 * DAY_S), 0.1, 100),
        (Limit(1_000, 400), 0.1, 400),
        (Limit(1_000, 1), 0.0, 1),
    ],
)
def test_the_bound_is_the_ratio_or_three_mean_hours(limit: Limit, ratio: float, bound: int | None) -> None:
    assert hourly_bound(limit, ratio, 1, 0) == bound


def test_an_event_of_an_earlier_hour_begins_no_new_share() -> None:
    purse = Purse()
    draw_for_new(purse, START, 3)
    draw_for_new(purse, START - DAY_S, 2)
    assert (drawn_by_new(purse, START), drawn_by_new(purse, START - DAY_S)) == (5, 5)
    assert drawn_by_new(purse, START + HOUR_S) == 0


def test_fresh_ids_take_the_stated_share_of_a_stock_in_each_hour_and_known_shoppers_all_they_want() -> None:
    shop = LocalPipeline(
        plain_settings(new_shopper_ratio=0.1),
        [coupon("c1", stock=STOCK, caps=[Cap(per="life", n=2)])],
        partitions=PARTITIONS,
    )
    with shop.without_coupons():
        play(shop, range(200), HOUR - 2 * DAY_S)
    assert play(shop, range(200, 200 + FRESH), HOUR) == STOCK // 10
    assert shop.facts["new_shopper", "held_back"] == shop.facts["decision", "new_shoppers"] == FRESH - STOCK // 10
    assert play(shop, range(200), HOUR) == 200, "the first ids are known for two days"
    assert play(shop, range(200 + FRESH, 200 + 2 * FRESH), HOUR + HOUR_S) == STOCK // 10
    assert play(shop, range(1_000, 1_200), HOUR + DAY_S + HOUR_S) == 200, "a day later they are known"


def test_many_events_make_no_shopper_known() -> None:
    shop = LocalPipeline(plain_settings(new_shopper_ratio=0.1), [coupon("c1", stock=50)])
    given = [play(shop, range(30), HOUR + 60 * visit) for visit in range(5)]
    assert sum(given) == 5


def test_fresh_ids_hold_the_stated_share_of_a_budget() -> None:
    shop = LocalPipeline(plain_settings(new_shopper_ratio=0.1), [coupon("c1", budget_minor=50_000)])
    play(shop, range(300), HOUR)
    assert sum(issue.held_minor for issue in shop.issues) == 5_000


def test_a_new_shop_whose_shoppers_are_all_new_loses_no_coupon_of_a_month() -> None:
    terms = coupon("c1", stock=720, valid_from=HOUR, valid_until=HOUR + 30 * DAY_S)
    shop, given = LocalPipeline(plain_settings(new_shopper_ratio=0.1), [terms], partitions=PARTITIONS), 0
    for number in range(24):  # a whole day of one coupon an hour, and three in the busiest
        given += play(shop, range(3 * number, 3 * number + (3 if number == 18 else 1)), HOUR + number * HOUR_S)
    assert (given, shop.facts["new_shopper", "held_back"]) == (26, 0)


@pytest.mark.parametrize(("until", "given"), [(END_OF_TIME, 10), (HOUR + 2 * HOUR_S, 99)])
def test_fresh_ids_take_the_stated_share_of_a_pool_of_codes_unless_it_is_a_short_sale(until: float, given: int) -> None:
    terms = coupon("c1", codes="pool", valid_from=HOUR, valid_until=until)
    shop = LocalPipeline(plain_settings(new_shopper_ratio=0.1), [terms], codes={"c1": [f"C{n}" for n in range(100)]})
    assert play(shop, range(100), HOUR) == given, "the first shopper lets the partition ask for codes"

"""New shoppers: 10,000 fresh ids take a stated share of a stock in an hour, and shops lose next to nothing by it."""

import pytest

from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.money.purses import HOUR_S
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

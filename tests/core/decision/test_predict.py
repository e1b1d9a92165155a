"""The value of an order in a coupon's scope follows the prices that the shopper looks at."""

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.viewed_prices import ViewedPrices
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.profile import MAX_PRICE_WEIGHT, Profile, fold
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, browse, cart, order, order_values, priced_views

TEA = coupon("tea", categories=["tea"], typical_price_minor=1000)
CHEESE = coupon("cheese", categories=["cheese"], typical_price_minor=400)
ANY = coupon("any", typical_price_minor=3000)
NARROW = coupon("narrow", categories=["tea"], items=["tea-1"], typical_price_minor=800)
SHOP = CouponSet([TEA, CHEESE, ANY, NARROW], 1000.0)


def values(*events: object) -> dict[str, float]:
    shopper = Shopper()
    for event in events:
        fold(shopper.profile, event, ProfileRules())  # type: ignore[arg-type]
    everything = np.arange(len(SHOP))
    found = order_values([Moment("u", shopper, AT, {})], SHOP, [everything])
    return dict(zip([each.coupon_id for each in SHOP.coupons], found.tolist(), strict=True))


def test_a_stranger_pays_the_typical_price() -> None:
    assert values() == pytest.approx({"tea": 1000.0, "cheese": 400.0, "any": 3000.0, "narrow": 800.0})


def test_own_prices_in_the_category_count_most_and_others_somewhat() -> None:
    dear = values(*(browse(f"b{n}", AT, item(f"t{n}", category="tea", price_minor=2000)) for n in range(20)))
    assert 1700.0 < dear["tea"] < 2000.0
    assert 400.0 < dear["cheese"] < 800.0
    assert dear["cheese"] / 400.0 == pytest.approx(dear["any"] / 3000.0) == pytest.approx(dear["narrow"] / 800.0)


def test_an_order_says_more_than_a_cart_and_that_more_than_a_view() -> None:
    what = item("t", category="tea", price_minor=500)
    viewed, carted, ordered = (
        values(each)["tea"] for each in (browse("b", AT, what), cart("c", AT, what), order("o", AT, what))
    )
    assert 1000.0 > viewed > carted > ordered > 500.0


def test_values_are_bounded_and_old_prices_fade() -> None:
    cheap = [browse(f"b{n}", AT, item("t", category="tea", price_minor=1)) for n in range(200)]
    assert values(*cheap)["tea"] == pytest.approx(250.0)
    profile = Profile()
    for event in cheap:
        fold(profile, event, ProfileRules())
    assert profile.price_levels["tea"].weight == MAX_PRICE_WEIGHT
    back = [browse(f"x{n}", AT, item("t", category="tea", price_minor=1000)) for n in range(400)]
    assert values(*cheap, *back)["tea"] == pytest.approx(1000.0, rel=0.02)


def test_what_has_no_price_or_category_says_nothing() -> None:
    assert values(browse("b", AT, item("t", category="tea")), browse("c", AT, None)) == values()


BRAND = coupon("brand", brands=["x"], typical_price_minor=1000)
BOTH = coupon("both", categories=["tea", "audio"], typical_price_minor=1000)
LISTED = coupon("listed", items=["tea-1"], typical_price_minor=800)
UNSTATED = coupon("unstated", brands=["x"], typical_price_minor=None)
WIDE = CouponSet([BRAND, BOTH, LISTED, UNSTATED, coupon("all", typical_price_minor=1000)], 1000.0)


def viewed(tea: float, audio: float) -> ViewedPrices:
    """Tea at 5.00 and audio at 80.00, all of brand x."""
    return priced_views(("tea", "x", tea, 500.0), ("audio", "x", audio, 8000.0))


def wide_values(viewed_prices: ViewedPrices, *events: object, coupons: CouponSet = WIDE) -> dict[str, float]:
    shopper = Shopper()
    for event in events:
        fold(shopper.profile, event, ProfileRules())  # type: ignore[arg-type]
    everything = np.arange(len(coupons))
    found = order_values([Moment("u", shopper, AT, {})], coupons, [everything], viewed_prices)
    return dict(zip([each.coupon_id for each in coupons.coupons], found.tolist(), strict=True))


def looks_at(category: str, price_minor: int) -> list[object]:
    return [
        browse(f"{category}{n}", AT, item(f"{category}{n}", category=category, price_minor=price_minor))
        for n in range(100)
    ]


@pytest.mark.parametrize("coupon_id", ["brand", "both", "all", "unstated"])
def test_the_value_of_a_wide_coupon_depends_on_the_categories_that_the_shopper_views(coupon_id: str) -> None:
    seen = viewed(1000.0, 1000.0)
    of_tea, of_audio = (wide_values(seen, *looks_at(*each))[coupon_id] for each in (("tea", 500), ("audio", 8000)))
    assert 9.0 < of_audio / of_tea <= 16.0


def test_a_stranger_pays_the_typical_price_if_all_coupons_agree() -> None:
    for seen in (viewed(900.0, 100.0), viewed(100.0, 900.0)):
        assert wide_values(seen)["brand"] == pytest.approx(1000.0, rel=0.01)


def test_a_coupon_without_a_typical_price_has_that_of_the_views_times_the_pieces_of_an_order() -> None:
    """Others are stated at twice the price of what is viewed: an order has two pieces."""
    stated = [
        coupon(name, categories=[name], typical_price_minor=price) for name, price in (("tea", 1000), ("oats", 600))
    ]
    coupons = CouponSet([*stated, UNSTATED], 5000.0)
    found = wide_values(priced_views(("tea", "x", 1e6, 500.0), ("oats", "y", 1e6, 300.0)), coupons=coupons)
    assert found == pytest.approx({"tea": 1000.0, "oats": 600.0, "unstated": 1000.0}, rel=0.01)


def test_a_typical_price_that_is_unlike_all_others_counts_half() -> None:
    stated = [coupon(name, categories=[name], typical_price_minor=price) for name, price in (("a", 500), ("b", 500))]
    coupons = CouponSet([*stated, coupon("c", categories=["c"], typical_price_minor=8000)], 5000.0)
    found = wide_values(priced_views(*((name, "x", 1e6, 500.0) for name in "abc")), coupons=coupons)
    assert found == pytest.approx({"a": 500.0, "b": 500.0, "c": 2000.0}, rel=0.01)


def test_a_brand_is_worth_what_it_sells_and_not_what_others_do() -> None:
    seen = priced_views(("tea", "x", 1e6, 500.0), ("audio", "y", 1e6, 8000.0))
    of_tea, of_audio = (wide_values(seen, *looks_at(*each))["brand"] for each in (("tea", 500), ("audio", 8000)))
    assert of_audio == pytest.approx(of_tea, rel=0.01)


def test_the_catalogue_counts_while_views_are_few() -> None:
    none, few, many = (
        wide_values(viewed(n / 2, n / 2), coupons=CouponSet([UNSTATED], 1000.0))["unstated"] for n in (1e-9, 10.0, 1e6)
    )
    assert none == pytest.approx(1000.0)
    assert many == pytest.approx(4250.0, rel=0.01)
    assert few == pytest.approx((none * many) ** 0.5, rel=0.01)


def test_one_forged_price_moves_no_value_much() -> None:
    usual = [("tea", "x", 500.0, 500.0), ("audio", "x", 500.0, 8000.0)]
    before, after = wide_values(priced_views(*usual)), wide_values(priced_views(*usual, ("forged", "x", 1.0, 1e9)))
    assert after == pytest.approx(before, rel=0.1)


def test_a_scope_of_categories_and_brands_is_what_is_in_both() -> None:
    both = coupon("both", categories=["tea", "oats"], brands=["x", "z"], typical_price_minor=None)
    coupons = CouponSet([both], 1000.0)
    seen = priced_views(
        ("tea", "x", 1e6, 500.0), ("tea", "y", 1e6, 9000.0), ("oats", "y", 1e6, 100.0), ("audio", "x", 1e6, 8000.0)
    )
    found = seen.of(coupons)
    assert (found.scope.tolist(), found.share.tolist(), found.price_minor.tolist()) == ([0], [0.5], [250.0])
    assert wide_values(seen, coupons=coupons)["both"] == pytest.approx(500.0, rel=0.01)


def test_coupons_of_one_scope_share_it() -> None:
    found = viewed(10.0, 10.0).of(WIDE)
    numbers = dict(zip([each.coupon_id for each in WIDE.coupons], found.scope_of.tolist(), strict=True))
    assert numbers["brand"] == numbers["unstated"]
    assert len({*numbers.values()}) == 4


def test_a_coupon_for_items_keeps_its_typical_price() -> None:
    assert wide_values(viewed(1e6, 1e6))["listed"] == pytest.approx(800.0)


def test_a_row_is_worth_the_same_alone_and_among_others() -> None:
    seen = priced_views(("tea", "x", 70.0, 500.0), ("audio", "x", 9.0, 8000.0), ("audio", "y", 9.0, 7000.0))
    moments = []
    for number, events in enumerate((looks_at("tea", 700), looks_at("audio", 6000), [])):
        shopper = Shopper()
        for event in events:
            fold(shopper.profile, event, ProfileRules())  # type: ignore[arg-type]
        moments.append(Moment(f"u{number}", shopper, AT, {}))
    rows = [np.array([0, 2]), np.array([1, 2, 3]), np.array([0])]
    together = order_values(moments, WIDE, rows, seen)
    alone = [order_values([one], WIDE, [row], seen) for one, row in zip(moments, rows, strict=True)]
    assert together.tobytes() == np.concatenate(alone).tobytes()


def test_discounts_are_cut_at_their_maximum_and_the_value() -> None:
    shop = CouponSet(
        [
            coupon("a", discount_minor=None, discount_percent=20.0, max_discount_minor=150),
            coupon("b", discount_minor=90, max_discount_minor=90),
        ],
        1000.0,
    )
    taken = shop.discounts_minor(np.array([0, 0, 1, 1]), np.array([500.0, 5000.0, 500.0, 50.0]))
    assert taken.tolist() == [100.0, 150.0, 90.0, 50.0]

"""The value of an order in a coupon's scope follows the prices that the shopper looks at."""

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision.scoring import order_values
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.profile import MAX_PRICE_WEIGHT, Profile, fold
from stream_coupons.core.shopper.state import Shopper

from .builders import AT, browse, cart, coupon, item, order

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
    found = order_values([Moment("u", shopper, AT, {})], SHOP, SHOP.pairs([everything]))
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

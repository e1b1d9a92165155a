"""What a coupon takes off: by kind, up to its maximum."""

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.coupon_terms import price_of
from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.testing import coupon


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"discount_minor": 80}, 80.0),
        ({"discount_minor": 800}, 100.0),
        ({"discount_minor": None, "discount_percent": 2.0}, 40.0),
        ({"discount_minor": None, "discount_percent": 50.0}, 100.0),
        ({"discount_minor": None}, 100.0),
        ({"discount_minor": None, "discount_percent": 2.0, "typical_price_minor": None}, 20.0),
    ],
)
def test_a_discount_is_never_above_the_maximum(terms: dict[str, object], expected: float) -> None:
    one = coupon(**terms)
    assert discount_of(one).at(price_of(one, 1000.0)) == expected


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, 0.05),
        ({"discount_minor": 9000, "max_discount_minor": 9000}, 1.0),
        ({"discount_minor": None, "discount_percent": 2.0}, 0.02),
        ({"discount_minor": None, "discount_percent": 50.0}, 0.05),
        ({"discount_minor": None, "discount_percent": 50.0, "typical_price_minor": None}, 0.5),
        ({"typical_price_minor": None}, None),
        ({"discount_minor": 0, "typical_price_minor": None}, 0.0),
        ({"discount_minor": None, "typical_price_minor": None}, None),
    ],
)
def test_a_depth_needs_a_price_of_the_coupons_own_or_a_percentage(
    terms: dict[str, object], expected: float | None
) -> None:
    one = coupon(**terms)
    assert discount_of(one).depth(one.typical_price_minor) == expected


def test_free_delivery_costs_its_cost_whatever_the_order() -> None:
    one = coupon(discount_minor=None, free_delivery_minor=490, max_discount_minor=600, min_spend_minor=2000)
    discount = discount_of(one)
    assert [discount.on(value) for value in (100.0, 1999.0, 2000.0, 9000.0)] == [0.0, 0.0, 490.0, 490.0]
    shop = CouponSet([one, coupon("off", discount_minor=490, max_discount_minor=600)], 1000.0)
    assert shop.discounts_minor(np.array([0, 1]), np.array([300.0, 300.0])).tolist() == [490.0, 300.0]


def test_a_gift_costs_its_cost_once_the_order_is_large_enough() -> None:
    one = coupon(discount_minor=None, gift_item="mug", gift_cost_minor=350, max_discount_minor=350, min_pieces=3)
    discount = discount_of(one)
    assert [discount.on(100.0, pieces) for pieces in (2, 3)] == [0.0, 350.0]
    assert discount.text() == "a gift: mug, from 3 pieces on"


def test_one_of_three_is_free_once_three_are_bought() -> None:
    discount = discount_of(coupon(discount_minor=None, buy_pieces=2, max_discount_minor=5000))
    assert [discount.on(3000.0, pieces) for pieces in (2, 3)] == [0.0, 1000.0]
    assert discount.text() == "buy 2, get 1 free"
    half = discount_of(coupon(discount_minor=None, buy_pieces=1, get_percent=50, max_discount_minor=5000))
    assert half.on(3000.0, 2) == 750.0
    assert half.text() == "buy 1, get 1 at 50 % off"

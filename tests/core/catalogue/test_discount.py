"""What a coupon takes off: by kind, up to its maximum."""

import pytest

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

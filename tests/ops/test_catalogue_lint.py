"""Doubts about a catalogue as a whole."""

from typing import Any

import msgspec
import pytest

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.ops.catalogue_lint import find_doubts, sold_in
from stream_coupons.ops.recordings import Line

DAY_S = 86400.0


def coupon(coupon_id: str = "tea", **fields: Any) -> Coupon:
    given = {"max_discount_minor": 500, "discount_percent": 20.0, "categories": ["tea"], **fields}
    return msgspec.convert(given | {"coupon_id": coupon_id}, Coupon)


@pytest.mark.parametrize(
    ("coupons", "expected"),
    [
        ([coupon(typical_price_minor=400)], "the cap does not bind"),
        ([coupon(), coupon("twin")], "coupons 'tea' and 'twin': same scope and discount"),
        ([coupon(), coupon("b"), coupon("c", valid_from=5.0)], "coupons 'b' and 'c'"),
        (
            [coupon(campaign_id="spring"), coupon("mint", campaign_id="spring", domain="uk", categories=[])],
            "campaign 'spring': its coupons are in EUR and GBP",
        ),
    ],
)
def test_what_is_doubtful_is_named(coupons: list[Coupon], expected: str) -> None:
    assert any(expected in warning for warning in find_doubts(coupons, {"ecommerce": "EUR", "uk": "GBP"}))


@pytest.mark.parametrize(
    "coupons",
    [
        [coupon(typical_price_minor=500)],
        [coupon(), coupon("other", discount_percent=10.0)],
        [coupon(), coupon("other", categories=["mint"])],
        [coupon(valid_until=DAY_S), coupon("next", valid_from=DAY_S)],
        [coupon(), coupon("other", domain="uk")],
        [coupon(campaign_id="spring"), coupon("other", campaign_id="spring", domain="fr", categories=[])],
    ],
)
def test_what_is_sound_is_not(coupons: list[Coupon]) -> None:
    assert find_doubts(coupons, {"ecommerce": "EUR", "fr": "EUR"}) == []


def test_scopes_that_the_shop_does_not_sell_by_are_named() -> None:
    event = {"event_id": "e", "user_id": "u", "occurred_at": 1.0, "item": {"item_id": "i1", "category": "green tea"}}
    lines = [{"topic": "browse-events", "message": event}, {"tick": 5}, {"topic": "browse-events", "message": {}}]
    sold = sold_in(Line(1, msgspec.json.encode(each), 0) for each in lines)
    assert sold == {"categories": {"green tea"}, "brands": set(), "items": {"i1"}}
    found = find_doubts([coupon(categories=["green teas", "green tea"], items=["i1", "other"])], {}, sold)
    assert found == [
        "coupon 'tea': categories: 'green teas' is in no event of the recording, expected green tea?",
        "coupon 'tea': items: 'other' is in no event of the recording: it may never be used",
    ]

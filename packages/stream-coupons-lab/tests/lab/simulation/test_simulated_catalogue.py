"""The coupons and products of the simulated shop."""

import pytest

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons_lab.simulation.assortment import CATEGORIES
from stream_coupons_lab.simulation.catalogue import discount_of, offer_of
from stream_coupons_lab.simulation.shoppers import World, WorldSettings


@pytest.fixture(scope="module")
def coupons() -> list[Coupon]:
    return World(WorldSettings(seed=2, shoppers=10)).catalogue()


def test_coupons_differ_in_kind_and_cover_every_category(coupons: list[Coupon]) -> None:
    assert len({coupon.coupon_id for coupon in coupons}) == 40
    assert any(coupon.discount_percent for coupon in coupons)
    assert any(coupon.discount_minor for coupon in coupons)
    assert any(coupon.brands and not coupon.categories for coupon in coupons)
    assert all((coupon.discount_percent is None) != (coupon.discount_minor is None) for coupon in coupons)
    assert {category for coupon in coupons for category in coupon.categories} == set(CATEGORIES)


def test_some_coupons_are_limited_and_most_are_not(coupons: list[Coupon]) -> None:
    assert 0 < sum(bool(coupon.caps) for coupon in coupons) < 25
    for name in ("stock", "budget_minor"):
        assert 0 < sum(getattr(coupon, name) is not None for coupon in coupons) < 25
    assert sum(coupon.stock is None and coupon.budget_minor is None for coupon in coupons) >= 10


def test_every_coupon_is_for_something_at_a_typical_price(coupons: list[Coupon]) -> None:
    assortment = World(WorldSettings(seed=2, shoppers=10))._shop.assortment
    for coupon in coupons:
        scope = assortment.scope(coupon)
        assert scope.any()
        assert coupon.typical_price_minor == int(assortment.price_minor[scope].mean())


@pytest.mark.parametrize(("value", "discount"), [(1000, 100), (10_000, 500), (3, 0)])
def test_a_percentage_is_capped(value: int, discount: int) -> None:
    coupon = Coupon(coupon_id="c", discount_percent=10.0, max_discount_minor=500)
    assert discount_of(coupon, value) == discount


@pytest.mark.parametrize(("value", "discount"), [(1000, 300), (200, 200)])
def test_an_amount_is_never_more_than_the_goods_cost(value: int, discount: int) -> None:
    assert discount_of(Coupon(coupon_id="c", discount_minor=300, max_discount_minor=300), value) == discount


def test_a_world_with_a_campaign_has_offers_that_not_every_shop_should_make() -> None:
    plain = World(WorldSettings(seed=2, shoppers=10))
    world = World(WorldSettings(seed=2, shoppers=10, has_campaign=True))
    kinds: dict[str, list[Coupon]] = {}
    for coupon in world.catalogue():
        kinds.setdefault(offer_of(coupon), []).append(coupon)
    assert {kind: len(some) for kind, some in kinds.items()} == {
        "for the whole shop": 1,
        "takes off more than the margin": 14,  # one is drawn so
        "of the campaign spring": 13,
        "other": 12,
    }
    for coupon in kinds["takes off more than the margin"]:
        price = coupon.typical_price_minor
        assert price is not None
        assert discount_of(coupon, price) > price * coupon.margin_ratio
    [whole] = kinds["for the whole shop"]
    assert world._shop.assortment.scope(whole).all()
    [campaign] = world.campaigns()
    assert campaign.budget_minor is not None
    assert all(coupon.budget_minor is None for coupon in kinds["of the campaign spring"])
    assert plain.campaigns() == []
    assert {offer_of(coupon) for coupon in plain.catalogue()} <= {"other", "takes off more than the margin"}

"""The compiled catalogue says what the coupons say."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.compiled import BRAND_WEIGHT, CouponSet
from stream_coupons.core.catalogue.coupon_terms import (
    ABSENT,
    PRIOR_DEPTH_RATIO,
    is_in_scope,
    price_of,
)
from stream_coupons.core.features.categories import coupon_hashes
from stream_coupons.core.features.feature import CouponFeature
from stream_coupons.core.features.numeric import FEATURE_BY_NAME
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import MAX_SCOPE
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.testing import coupon, item
from tests.core.builders import dense

names = st.lists(st.sampled_from("ABCDEF"), max_size=4, unique=True)
coupon_lists = st.lists(
    st.builds(coupon, coupon_id=st.uuids().map(str), categories=names, brands=names, items=names),
    min_size=1,
    max_size=8,
)


def numbers(coupons: CouponSet, name: str) -> list[float]:
    """A numeric feature of each coupon."""
    feature = FEATURE_BY_NAME[name]
    assert isinstance(feature, CouponFeature)
    return feature.compute(coupons).tolist()


@settings(max_examples=60, derandomize=True)
@given(
    coupon_lists,
    st.dictionaries(
        st.sampled_from([f"{k}:{n}" for k in ("item", "brand", "category") for n in "ABCDEF"]), st.floats(-5, 5)
    ),
)
def test_content_scores_are_the_inner_products_of_the_formula(coupons: list[Coupon], taste: dict[str, float]) -> None:
    compiled = CouponSet(coupons, 1000.0)
    vector = {feature_index(name): weight for name, weight in taste.items()}
    [scores] = compiled.scopes.content(dense(compiled, vector))
    for score, each in zip(scores, compiled.coupons, strict=True):
        expected = sum(taste.get(f"category:{name}", 0.0) for name in each.categories)
        expected += sum(taste.get(f"item:{name}", 0.0) for name in each.items)
        expected += BRAND_WEIGHT * sum(taste.get(f"brand:{name}", 0.0) for name in each.brands)
        assert score == pytest.approx(expected, abs=1e-9)


def names_of(kind: str, count: int) -> list[str]:
    return [f"{kind}{number}" for number in range(count)]


def test_a_coupon_names_no_more_pairs_of_category_and_brand_than_can_be_written_out() -> None:
    widest = coupon(categories=names_of("c", MAX_SCOPE // 4), brands=names_of("b", 4))
    assert Catalogue([widest]).domains[widest.domain].scopes.narrowest.columns.shape == (1, MAX_SCOPE)
    one_sided = coupon(categories=names_of("c", MAX_SCOPE + 1))
    assert Catalogue([one_sided]).domains[one_sided.domain].scopes.narrowest.columns.shape == (1, MAX_SCOPE + 1)
    with pytest.raises(ValueError, match="101 categories times 100 brands, expected at most 10000 pairs"):
        coupon(categories=names_of("c", 101), brands=names_of("b", 100))


def test_coupons_are_in_order_of_their_ids_whatever_order_they_come_in() -> None:
    compiled = CouponSet([coupon("b"), coupon("a"), coupon("c")], 1000.0)
    assert [each.coupon_id for each in compiled.coupons] == ["a", "b", "c"]
    assert [compiled.position[name] for name in "abc"] == [0, 1, 2]


def test_amounts_without_a_price_are_told_apart_and_none_is_taken_for_deep() -> None:
    amounts = (2000, 15000, 5000, 12)
    each = [
        coupon(f"c{n}", discount_minor=amount, max_discount_minor=amount, typical_price_minor=None)
        for n, amount in enumerate(amounts)
    ]
    for default_price_minor in (10.0, 1000.0, 100_000.0):
        compiled = CouponSet(each, default_price_minor)
        assert numbers(compiled, "discount_depth") == [PRIOR_DEPTH_RATIO] * 4
        depth = compiled.once(coupon_hashes)[:, -1].tolist()
        assert len(set(depth)) == 4
        assert ABSENT not in depth
        assert compiled.discount_minor.tolist() == list(amounts)


def test_demand_grows_with_the_depth_as_at_a_constant_elasticity() -> None:
    each = [
        coupon(f"c{n}", discount_minor=amount, max_discount_minor=900, typical_price_minor=1000)
        for n, amount in enumerate((0, 1, 50, 150, 250, 400, 900))
    ]
    each.append(coupon("unknown", typical_price_minor=None))
    pulls = numbers(CouponSet(each, 1000.0), "discount_pull")
    grown = [(1.0 - depth) ** -2.62 - 1.0 for depth in (0.01, 0.01, 0.05, 0.15, 0.25, 0.4, 0.5)]
    assert pulls == pytest.approx([*(math.log(more / grown[3]) for more in grown), 0.0])


def test_giving_nothing_takes_nothing_off() -> None:
    nothing = Catalogue([]).nothing
    for name in ("discount_depth", "discount_pull", "discount_size"):
        assert numbers(nothing, name) == [0.0]


def test_an_unknown_price_has_a_stated_stand_in() -> None:
    assert price_of(coupon(typical_price_minor=None), 1234.0) == 1234.0


def test_what_a_coupon_does_not_name_it_does_not_limit() -> None:
    tea = item("A", category="tea", brand="x")
    assert is_in_scope(coupon(), item("Z"))
    assert is_in_scope(coupon(items=["A"], categories=["tea"], brands=["x"]), tea)
    assert not is_in_scope(coupon(items=["A"], brands=["y"]), tea)
    assert not is_in_scope(coupon(categories=["tea"]), item("A"))


def test_a_domain_sees_its_own_coupons_only() -> None:
    catalogue = Catalogue([coupon("a", domain="travel"), coupon("b"), coupon("c", domain="travel")])
    travel = catalogue.domains.get("travel")
    assert travel is not None
    assert [each.coupon_id for each in travel.coupons] == ["a", "c"]
    assert catalogue.domains.get("finance") is None
    assert set(catalogue.by_id) == set("abc")


def test_an_empty_vector_scores_nothing() -> None:
    compiled = CouponSet([coupon("a", items=["A"]), coupon("b")], 1000.0)
    assert not compiled.scopes.content(dense(compiled, {})).any()


def test_a_catalogue_looks_at_the_attributes_it_is_told_to() -> None:
    coupons = [
        coupon("a", attributes={"colour": "red", "size": 1.0}),
        coupon("b", domain="travel", attributes={"x": 1}),
    ]
    every = Catalogue(coupons)
    assert {name: members.attributes for name, members in every.domains.items()} == {
        "ecommerce": ("colour", "size"),
        "travel": ("x",),
    }
    told = Catalogue(coupons, attributes={"ecommerce": ("size",)})
    assert {name: members.attributes for name, members in told.domains.items()} == {
        "ecommerce": ("size",),
        "travel": (),
    }
    assert told.domains["ecommerce"].alone(0).attributes == ("size",)

"""The shortlist and the views of what is on it, against the formulas written out coupon by coupon."""

import math
import operator
import random
from functools import reduce

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import BRAND_WEIGHT, CouponSet
from stream_coupons.core.catalogue.coupon_terms import PART_OF_BRAND, PART_OF_ITEM
from stream_coupons.core.features.affinity import PART_STRENGTH, PRIOR_SHARE, Interests, Moment, look
from stream_coupons.core.features.match_features import PRIOR_DAYS
from stream_coupons.core.features.numeric import NUMERIC, numbers_of
from stream_coupons.core.features.rows import extract
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import habit_fading, unpack_habits
from stream_coupons.core.shopper.profile import count_days, decay, fold
from stream_coupons.core.shopper.state import Shopper, Tally
from stream_coupons.core.vectors.sparse import (
    PackedVector,
    SparseVector,
    category_brand,
    feature_index,
    item_features,
    pack_vector,
    unpack_vector,
)
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, FixedScorer, browse, cart, order, rules, valued

RULES = ProfileRules()
SCORES = ("category", "brand", "item", "collaborative", "related")
NUMBERS = ("demand_share", "passed_over", "scope_part", "near_scope_share", "browsed_now", "carted_now", "habit_share")
"""Features that are computed from views; the others are views."""


def added(vector: SparseVector, names: list[str]) -> float:
    """The sum of a vector over some features, one after the other."""
    return reduce(operator.add, (vector.get(feature_index(name), 0.0) for name in names), 0.0)


def sparse(packed: PackedVector) -> SparseVector:
    indices, weights = unpack_vector(packed)
    return dict(zip(indices.tolist(), weights.tolist(), strict=True))


def share(part: float, whole: float, prior: float, strength: float = 1.0) -> float:
    return (max(part, 0.0) + strength * prior) / (max(whole, 0.0) + strength)


def log(number: float) -> float:
    return float(np.log(np.array([number]))[0]) / 3.0


def expected(moment: Moment, one: Coupon) -> dict[str, float]:
    """All views of a coupon, and the features `NUMBERS`.

    All that the shopper cares for, looks at and orders lies in the scope of a coupon that names nothing.
    """
    found = of_named_scope(moment, one)
    if one.categories or one.brands or one.items:
        return found
    profile, at = moment.shopper.profile, moment.at
    own = sum(profile.category_interests.values()) * decay(profile, at, RULES)
    orders = profile.usual_orders * habit_fading(at - profile.habits_at, RULES)[0]
    trigger = moment.trigger
    is_taken_out = isinstance(trigger, CartEvent) and trigger.action != "add"
    is_on_view = isinstance(trigger, BrowseEvent | CartEvent) and trigger.item is not None and not is_taken_out
    return found | {
        "category": own,
        "collaborative": unpack_vector(moment.shopper.neighbourhood.packed)[1].sum(),
        "demand_share": log(1.0 / PRIOR_SHARE),
        "passed_over": 0.0,
        "recency": max(count_days([profile], [at], RULES)[2].tolist(), default=0.0),
        "near_scope_share": log(1.0 / PRIOR_SHARE),
        "browsed_now": float(is_on_view and isinstance(trigger, BrowseEvent)),
        "carted_now": float(is_on_view and isinstance(trigger, CartEvent)),
        "habit": orders,
        "habit_of_category": orders,
        "habit_share": log(1.0 / PRIOR_SHARE),
    }


def of_named_scope(moment: Moment, one: Coupon) -> dict[str, float]:
    """Return the expected views of a coupon from the scope that it names."""
    profile, at = moment.shopper.profile, moment.at
    scale, (slow, fast) = decay(profile, at, RULES), habit_fading(at - profile.habits_at, RULES)
    own = {index: weight * scale for index, weight in profile.interests.items()}
    near, related = sparse(moment.shopper.neighbourhood.packed), sparse(moment.shopper.related.packed)
    indices, ever, late = (array.tolist() for array in unpack_habits(profile.habits))
    habits = {index: often * slow for index, often in zip(indices, ever, strict=True)}
    fresh = {index: often * fast for index, often in zip(indices, late, strict=True)}
    cared_for, counts, lately = (array.tolist() for array in count_days([profile], [at], RULES))
    days, last = dict(zip(cared_for, counts, strict=True)), dict(zip(cared_for, lately, strict=True))

    categories, brands, items = (
        [f"{kind}:{name}" for name in names]
        for kind, names in (("category", one.categories), ("brand", one.brands), ("item", one.items))
    )
    scope = items or (
        [category_brand(category, brand) for category in one.categories for brand in one.brands]
        if categories and brands
        else categories + brands
    )
    trigger = moment.trigger
    looked_at = trigger.item if isinstance(trigger, BrowseEvent) or getattr(trigger, "action", "") == "add" else None
    now = dict.fromkeys(
        [feature_index(name) for name in item_features(looked_at.item_id, looked_at.category, looked_at.brand)]
        if isinstance(looked_at, Item)
        else [],
        1.0,
    )

    def content(vector: SparseVector) -> float:
        return added(vector, categories) + BRAND_WEIGHT * added(vector, brands) + added(vector, items)

    category, part = added(own, categories), added(own, scope)
    prior = 1.0
    if items:
        prior = min(PART_OF_ITEM * len(items), 1.0)
    elif brands:
        prior = min(PART_OF_BRAND * len(brands), 1.0)
    all_days = reduce(operator.add, counts, 0.0)
    if categories:
        demand = (added(days, categories) + PRIOR_DAYS * PRIOR_SHARE) / (all_days + PRIOR_DAYS)
    else:
        demand = min(share(part, sum(profile.category_interests.values()) * scale, PRIOR_SHARE), 1.0)
    near_mass, habit_mass = unpack_vector(moment.shopper.neighbourhood.packed)[1].sum(), np.sum(ever) * slow
    return {
        "category": category,
        "brand": BRAND_WEIGHT * added(own, brands),
        "item": added(own, items),
        "collaborative": content(near),
        "related": added(related, categories),
        "demand_share": log(demand / PRIOR_SHARE) if scope else 0.0,
        "passed_over": float(np.log1p(np.array([all_days if content(own) <= 0.0 else 0.0]))[0]),
        "scope_part": log(min(share(part, category, prior, PART_STRENGTH), 1.0))
        if categories and (items or brands)
        else 0.0,
        "recency": max([last.get(feature_index(name), 0.0) for name in categories], default=0.0),
        "near_scope_share": log(share(added(near, scope), near_mass, PRIOR_SHARE) / PRIOR_SHARE),
        "browsed_now": content(now) if isinstance(trigger, BrowseEvent) else 0.0,
        "carted_now": content(now) if isinstance(trigger, CartEvent) else 0.0,
        "habit": added(habits, scope),
        "fresh_habit": added(fresh, scope),
        "habit_of_category": added(habits, categories),
        "habit_share": log(share(added(habits, scope), habit_mass, PRIOR_SHARE) / PRIOR_SHARE),
    }


def some_coupons(chance: random.Random, count: int, most: int) -> CouponSet:
    """Coupons of which each names at most so many categories, brands and items; many of them alike."""

    def some(names: str) -> list[str]:
        return chance.sample(names, chance.choice((0, 1, chance.randint(0, most))))

    return CouponSet(
        [
            coupon(f"c{n:03}", categories=some("klmnopqrst"), brands=some("uvwxyz"), items=some("ABCDEFGH"), kind=kind)
            for n in range(count)
            for kind in chance.choice((["mail"], ["app"], [""]))
        ],
        1000.0,
    )


def some_moment(chance: random.Random, coupons: CouponSet) -> Moment:
    shopper = Shopper()

    def some_item() -> Item:
        category, brand = chance.choice([*"klmnopqrst", None]), chance.choice([*"uvwxyz", None])
        return item(chance.choice("ABCDEFGH"), category=category, brand=brand, price_minor=chance.choice((None, 700)))

    for n in range(chance.choice((0, 3, 40))):
        at = AT - chance.random() * 40 * DAY_S
        event = chance.choice(
            (
                browse(f"b{n}", at, some_item()),
                cart(f"k{n}", at, some_item(), action=chance.choice(("add", "remove"))),
                order(f"o{n}", at, some_item(), some_item()),
            )
        )
        fold(shopper.profile, event, RULES)
    indices = chance.sample(sorted(coupons.vocabulary), len(coupons.vocabulary) // 2)
    if chance.random() < 0.8:
        shopper.neighbourhood.packed = pack_vector({index: chance.uniform(-1.0, 5.0) for index in indices} | {7: 1.0})
        shopper.related.packed = pack_vector({index: chance.random() for index in indices[::2]})
    history = shopper.history
    history.issued, history.clicked, history.redeemed = 9, 4, 1
    for one in chance.sample(coupons.coupons, len(coupons) // 3):
        history.by_coupon[one.coupon_id] = history.by_kind[one.kind] = Tally(chance.randint(1, 5), 1, 1)
    trigger = chance.choice((browse("t", AT, some_item()), cart("t", AT, some_item()), order("t", AT, some_item())))
    return Moment("u", shopper, AT, {}, trigger)


@pytest.mark.parametrize("seed", range(24))
def test_views_are_those_of_the_formulas_to_the_last_bit(seed: int) -> None:
    chance = random.Random(seed)
    coupons = some_coupons(chance, chance.choice((1, 5, 60)), most=4)
    moments = [some_moment(chance, coupons) for _ in range(chance.randint(1, 4))]
    chosen = [np.array(chance.sample(range(len(coupons)), chance.randint(0, len(coupons)))) for _ in moments]
    chosen = [positions.astype(np.intp) for positions in chosen]
    views = look(Interests.of(moments, coupons, RULES), chosen)
    by_formula = [
        expected(moment, coupons.coupons[position])
        for moment, positions in zip(moments, chosen, strict=True)
        for position in positions.tolist()
    ]
    numbers = dict(zip(NUMERIC, numbers_of(views).T, strict=True))
    for name in expected(moments[0], coupons.coupons[0]):
        found = numbers[name] if name in NUMBERS else getattr(views, name)
        assert found.tolist() == [each[name] for each in by_formula], name


@pytest.mark.parametrize("seed", range(24))
def test_the_shortlist_is_that_of_the_formulas_and_its_rows_are_those_of_all(seed: int) -> None:
    chance = random.Random(seed)
    coupons, size = some_coupons(chance, chance.choice((4, 50, 200)), most=4), chance.choice((2, 7))
    moments = [some_moment(chance, coupons) for _ in range(chance.randint(1, 4))]
    everything = np.arange(len(coupons))
    candidates = [everything[sorted(chance.sample(range(len(coupons)), len(coupons) - n))] for n in range(len(moments))]
    known = rules(max_candidates=size)
    judged = valued(moments, candidates, coupons, FixedScorer(), known)
    promise = Interests.of(moments, coupons, RULES).promise()
    rows = extract(moments, coupons, [everything] * len(moments), RULES)
    first = 0
    for n, (moment, positions) in enumerate(zip(moments, candidates, strict=True)):
        scores = [expected(moment, one) for one in coupons.coupons]
        promised = [reduce(operator.add, (each[name] for name in SCORES)) for each in scores]
        assert promise[n].tolist() == promised
        kept = sorted(sorted(positions.tolist(), key=lambda position: (-promised[position], position))[:size])
        assert judged.of(n).position.tolist() == kept
        end = first + len(kept)
        assert judged.features.numeric[first:end].tolist() == rows.numeric[n * len(coupons) + np.array(kept)].tolist()
        assert judged.features.hashed[first:end].tolist() == rows.hashed[n * len(coupons) + np.array(kept)].tolist()
        first = end
    assert first == len(judged.features)


def test_a_promise_that_is_not_a_number_comes_last() -> None:
    coupons = CouponSet([coupon(f"c{n:02}", items=[f"i{n}"]) for n in range(60)], 1000.0)
    shopper = Shopper()
    shopper.neighbourhood.packed = pack_vector({feature_index(f"item:i{n}"): math.nan for n in range(0, 60, 2)})
    judged = valued([Moment("u", shopper, AT, {})], [np.arange(60)], coupons, FixedScorer(), rules(max_candidates=3))
    assert judged.position.tolist() == [1, 3, 5]

"""Folding: decayed as the formula says, in any order, bounded, and never a silent zero for what is missing."""

import math
import random
import tracemalloc
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.draws import DIGEST_BYTES
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.core.rules import MissingPolicy, ProfileRules
from stream_coupons.core.shopper.habits import MAX_CATEGORIES, habit_indices, unpack_habits
from stream_coupons.core.shopper.profile import (
    DAYS_KEPT,
    LANDMARK_HALF_LIVES,
    MAX_RECENT_ORDERS,
    Profile,
    count_days,
    decay,
    fold,
    is_duplicate,
    is_familiar,
    place_of,
    portrait,
)
from stream_coupons.core.vectors.sparse import feature_index, interest_indices, name_index, price_band
from stream_coupons.testing import item
from tests.core.builders import AT, DAY_S, HOUR_S, browse, cart, order

Event = BrowseEvent | CartEvent | OrderEvent

DEFAULT = ProfileRules()
HOURLY = ProfileRules(half_life_s=HOUR_S, browse_weight=1.0, cart_weight=3.0, order_weight=5.0, recent_prices=100)
SPAN_S = LANDMARK_HALF_LIVES * HOUR_S
START = math.ceil(AT / SPAN_S) * SPAN_S
"""A landmark of the rules above."""
SPRING_OF_2026 = 1_772_323_200.0

fast = settings(max_examples=80, derandomize=True)
items = st.builds(
    Item,
    item_id=st.sampled_from("ABCDE"),
    category=st.sampled_from(["tea", "soap"]) | st.none(),
    brand=st.sampled_from(["x", "y"]) | st.none(),
    price_minor=st.integers(0, 10**6),
    quantity=st.floats(0.5, 5.0) | st.none(),
)
times = st.floats(START - 3 * SPAN_S, START + 3 * SPAN_S)
events = st.lists(
    st.one_of(
        st.builds(browse, at=times, what=items | st.none()),
        st.builds(cart, at=times, what=items, action=st.sampled_from(["add", "remove"])),
        st.builds(lambda at, what: order("o", at, *what), times, st.lists(items, max_size=3)),
    ),
    min_size=1,
    max_size=12,
)


def folded(events: Sequence[Event], rules: ProfileRules = HOURLY) -> Profile:
    profile = Profile()
    for event in events:
        fold(profile, event, rules)
    return profile


def interest(profile: Profile, name: str, at: float, rules: ProfileRules = HOURLY) -> float:
    return profile.interests.get(feature_index(name), 0.0) * decay(profile, at, rules)


def numbers(profile: Profile, at: float, rules: ProfileRules = HOURLY) -> dict[str | int, float]:
    """All decayed numbers of a profile, as a reader at `at` sees them."""
    scale = decay(profile, at, rules)
    seen: dict[str | int, float] = {index: weight * scale for index, weight in profile.interests.items()}
    seen |= {f"category {name}": weight * scale for name, weight in profile.categories.items()}
    for name in ("browses", "carts", "orders", "spend_minor", "units"):
        seen[name] = getattr(profile, name) * scale
    return seen


def facts(profile: Profile) -> dict[str, object]:
    """What does not fade: when the shopper comes, and when which category was ordered and put into the cart."""
    known = profile.in_category.items()
    of_categories = {name: msgspec.structs.astuple(each) for name, each in known}
    return {"rhythm": profile.rhythm, "categories": of_categories}


@fast
@given(events, st.randoms(use_true_random=False))
def test_events_may_come_in_any_order(events: list[Event], shuffler: object) -> None:
    shuffled = list(events)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = folded(events), folded(shuffled)
    at = max(event.occurred_at for event in events)
    seen, again = numbers(one, at), numbers(other, at)
    assert seen.keys() == again.keys()
    # What is taken out of a cart cancels what was put in: equal to 1e-9 of what was added up, not of what is left.
    gross = numbers(folded([event for event in events if getattr(event, "action", "add") == "add"]), at)
    for name, value in seen.items():
        assert again[name] == pytest.approx(value, rel=1e-9, abs=1e-9 * (gross.get(name, 0.0) + 15.0))
    assert facts(one) == facts(other)
    assert one.ordered_at == other.ordered_at
    assert (one.last_event_at, one.last_order_at) == (other.last_event_at, other.last_order_at)
    assert one.price_times == other.price_times
    assert sorted(one.prices) == sorted(other.prices)


@fast
@given(st.lists(st.tuples(st.sampled_from("bco"), times), min_size=1, max_size=12), st.floats(0, SPAN_S))
def test_forward_decay_is_the_direct_formula(acts: list[tuple[str, float]], later_s: float) -> None:
    thing = item("A", category="tea")
    make = {"b": lambda at: browse(at=at, what=thing), "c": lambda at: cart(at=at, what=thing)}
    make["o"] = lambda at: order("o", at, thing)
    profile = folded([make[kind](at) for kind, at in acts])
    at = max(at for _, at in acts) + later_s
    base = {"b": 1.0, "c": 3.0, "o": 5.0}
    expected = math.fsum(base[kind] * 2.0 ** (-(at - then) / HOUR_S) for kind, then in acts)
    assert interest(profile, "item:A", at) == pytest.approx(expected, rel=1e-9)
    assert profile.categories["tea"] * decay(profile, at, HOURLY) == pytest.approx(expected, rel=1e-9)
    counted = math.fsum(2.0 ** (-(at - then) / HOUR_S) for kind, then in acts if kind == "o")
    assert profile.orders * decay(profile, at, HOURLY) == pytest.approx(counted, rel=1e-9)


def test_an_interest_halves_in_a_half_life() -> None:
    profile = folded([browse(at=AT, what=item("A"))])
    assert interest(profile, "item:A", AT) == pytest.approx(1.0)
    assert interest(profile, "item:A", AT + HOUR_S) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.sampled_from(["tea", "soap"]), st.integers(0, 3 * DAYS_KEPT))), st.randoms())
@fast
def test_the_days_of_each_category_are_those_of_its_looks_in_any_order(
    looks: list[tuple[str, int]], shuffler: random.Random
) -> None:
    shuffled, profile = list(looks), Profile()
    shuffler.shuffle(shuffled)
    for n, (category, day) in enumerate(shuffled):
        fold(profile, browse(str(n), AT + day * DAY_S, item("A", category=category)), DEFAULT)
    last = max((day for _, day in looks), default=0)
    indices, counts, lately = count_days([profile], [AT + last * DAY_S], DEFAULT)
    for category in ("tea", "soap"):
        ages = {last - day for name, day in looks if name == category and last - day < DAYS_KEPT}
        [place] = np.flatnonzero(indices == feature_index(f"category:{category}")).tolist() or [None]
        if place is None:
            assert not ages
        else:
            assert counts[place] == pytest.approx(sum(2.0 ** (-age * DAY_S / DEFAULT.half_life_s) for age in ages))
            assert lately[place] == pytest.approx(1.0 / (1.0 + min(ages)))


def test_the_days_of_a_shopper_who_comes_back_after_years_begin_anew() -> None:
    profile = Profile()
    for years, category in ((0, "tea"), (30, "soap")):
        fold(profile, browse(str(years), AT + years * 365 * DAY_S, item("A", category=category)), DEFAULT)
    assert profile.category_days == {feature_index("category:soap"): 1}


def test_passing_a_landmark_changes_no_value() -> None:
    before = folded([order("o", START - 60.0, item("A", category="tea", price_minor=500))])
    after = folded([order("o", START - 60.0, item("A", category="tea", price_minor=500)), browse(at=START + 60.0)])
    assert after.landmark == before.landmark + SPAN_S
    seen, again = numbers(before, START + 60.0), numbers(after, START + 60.0)
    again["browses"] -= 1.0
    assert again == pytest.approx(seen, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("days", [0.01, 7, 10, 14, 28, 3650])
def test_under_another_half_life_values_stay_and_fade_by_the_new_one(days: float) -> None:
    at, later, rules = SPRING_OF_2026, SPRING_OF_2026 + 7 * DAY_S, ProfileRules(half_life_s=days * DAY_S)
    seen = [order("o", at - DAY_S, item("A", category="tea", price_minor=500)), cart("k", at, item("B"))]
    before = folded(seen, DEFAULT)
    values = numbers(before, at, DEFAULT)
    assert numbers(before, at, rules) == pytest.approx(values, rel=1e-9)
    faded = {name: value * 2.0 ** (-7 / days) for name, value in values.items()}
    assert numbers(before, later, rules) == pytest.approx(faded, rel=1e-9)
    fold(before, browse("b", later), rules)
    faded["browses"] += 1.0
    assert numbers(before, later, rules) == pytest.approx(faded, rel=1e-9)
    assert before.landmark == folded([browse(at=later)], rules).landmark


@pytest.mark.long
@fast
@given(events, events, st.randoms(use_true_random=False))
def test_after_a_change_of_the_half_life_events_may_come_in_any_order(
    first: list[Event], then: list[Event], shuffler: random.Random
) -> None:
    rules, shuffled = ProfileRules(half_life_s=3.3 * HOUR_S), list(then)
    shuffler.shuffle(shuffled)
    one, other = folded(first), folded(first)
    for event, again in zip(then, shuffled, strict=True):
        fold(one, event, rules)
        fold(other, again, rules)
    at = max(event.occurred_at for event in (*first, *then))
    assert one.landmark == other.landmark
    seen, again_seen = numbers(one, at, rules), numbers(other, at, rules)
    assert seen.keys() == again_seen.keys()
    for name, value in seen.items():
        assert again_seen[name] == pytest.approx(value, rel=1e-9, abs=1e-6 if name == "spend_minor" else 1e-9)


def test_habits_fade_until_an_order_that_says_no_items() -> None:
    half_life_s = ProfileRules().habit_half_life_s
    profile = folded([order("o1", AT, item("A")), order("o2", AT + half_life_s)])
    assert profile.habits_at == AT + half_life_s
    assert unpack_habits(profile.habits)[1].tolist() == [0.5]


def test_habits_keep_their_values_under_another_half_life() -> None:
    profile, rules = folded([order("o", AT, item("A"))]), ProfileRules(habit_half_life_s=DAY_S)
    name = feature_index("item:A")
    assert portrait(profile, AT, rules, 9)[name] == pytest.approx(rules.order_weight)
    fold(profile, order("p", AT + DAY_S, item("B")), rules)
    assert profile.usual_orders == pytest.approx(1.5)


def test_weights_stay_finite_however_long_a_shopper_stays() -> None:
    profile = folded([browse(at=START + step * 40 * HOUR_S, what=item("A")) for step in range(100)])
    assert all(math.isfinite(weight) for weight in profile.interests.values())
    assert 1.0 <= interest(profile, "item:A", START + 99 * 40 * HOUR_S) < 1.0 + 1e-9


def test_a_reader_behind_the_latest_event_sees_no_more_than_what_was_added() -> None:
    # An event may be late, or another one lie far in the future: weights are held at the latest reference time.
    profile = folded([browse(at=4_102_444_800.0, what=item("A"))], ProfileRules())
    assert 0.0 <= interest(profile, "item:A", AT, ProfileRules()) <= 1.0


def test_taking_out_of_the_cart_takes_the_weight_back() -> None:
    thing = item("A", category="tea", brand="x", price_minor=500)
    profile = folded([cart(at=AT, what=thing), cart(at=AT, what=thing, action="remove")])
    assert all(weight == pytest.approx(0.0, abs=1e-12) for weight in numbers(profile, AT).values())


def test_a_missing_field_adds_no_interest_in_it() -> None:
    profile = folded([browse(what=item("A"))])
    assert profile.interests.keys() == {feature_index("item:A")}
    assert profile.categories == {}
    assert folded([browse(what=None)]).interests == {}


PRICES = [100, 200, 900]
FILLED: list[tuple[MissingPolicy, float]] = [
    ("median", 200.0),
    ("last", 900.0),
]


@pytest.mark.parametrize(("policy", "expected"), FILLED)
def test_a_missing_price_is_filled_as_the_policy_says(policy: MissingPolicy, expected: float) -> None:
    rules = ProfileRules(missing_price=policy)
    known = [browse(at=AT, what=item("A", price_minor=price)) for price in PRICES]
    before, after = folded(known, rules), folded([*known, order("o", AT, item("B", quantity=2.0))], rules)
    band = feature_index(f"price:{price_band(expected)}")
    added = (after.interests[band] - before.interests.get(band, 0.0)) * decay(after, AT, rules)
    assert added == pytest.approx(5.0)
    assert after.spend_minor / after.units == pytest.approx(expected)
    assert after.prices == before.prices


def test_a_dropped_price_adds_nothing() -> None:
    rules = ProfileRules(missing_price="drop")
    known = [browse(at=AT, what=item("A", price_minor=price)) for price in PRICES]
    before, after = folded(known, rules), folded([*known, order("o", AT, item("B"))], rules)
    assert after.interests.keys() - before.interests.keys() == {feature_index("item:B")}
    assert (after.spend_minor, after.units) == (0.0, 0.0)


@pytest.mark.parametrize("policy", ["drop", *(policy for policy, _ in FILLED)])
def test_no_price_ever_known_is_not_a_price_of_zero(policy: MissingPolicy) -> None:
    profile = folded([order("o", AT, item("A"))], ProfileRules(missing_price=policy))
    assert profile.interests.keys() == {feature_index("item:A")}
    assert profile.units == 0.0


def test_everything_is_bounded() -> None:
    rules = ProfileRules(max_categories=8, max_interests=20, max_seen_events=10, recent_prices=4)
    profile = Profile()
    for n in range(300):
        thing = item(f"i{n}", category=f"c{n}", brand=f"b{n}", price_minor=n)
        assert not is_duplicate(profile, "browse", f"e{n}", rules)
        fold(profile, order("o", AT + n, thing), rules)
        assert len(profile.category_interests) <= 10
        assert len(profile.category_days) <= 10
        assert len(profile.finer_interests) <= 25
        assert len(profile.categories) <= MAX_CATEGORIES
        assert len(profile.ordered_at) <= MAX_RECENT_ORDERS
        assert len(profile.seen) <= 10 * DIGEST_BYTES
        assert len(profile.prices) <= 4
        assert len(profile.in_category) <= MAX_CATEGORIES
    assert set(profile.ordered_at) == {f"i{n}" for n in range(300 - MAX_RECENT_ORDERS, 300)}


def test_long_names_are_not_kept_beyond_the_profile() -> None:
    rules, profile, pad = ProfileRules(max_interests=4, max_categories=4), Profile(), "\U0001f600" * 190
    tracemalloc.start()
    for n in range(1000):
        if n == 100:
            before = tracemalloc.get_traced_memory()[0]
        name = f"{n:010d}{pad}"
        fold(profile, order("o", AT + n, item(name, category=name, brand=name)), rules)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # Three names of each item have 2.5 kB.
    assert kept < 200_000


def test_long_names_have_the_indices_that_they_always_had() -> None:
    for length in (1, 100):
        names = [letter * length for letter in "ABC"]
        of_category, finer = interest_indices(*names)
        assert of_category == name_index(f"category:{names[1]}")
        expected = [f"item:{names[0]}", f"brand:{names[2]}", f"category:{names[1]} brand:{names[2]}"]
        assert list(finer) == [name_index(name) for name in expected] == [feature_index(name) for name in expected]
        assert habit_indices(*names[:2]) == (name_index(expected[0]), of_category)


def test_the_weakest_interests_make_room() -> None:
    rules = ProfileRules(max_interests=4)
    strong = [cart(at=AT, what=item(name)) for name in "ABCD"]
    profile = folded([*strong, browse(at=AT, what=item("E")), browse(at=AT, what=item("F"))], rules)
    assert profile.interests.keys() == {feature_index(f"item:{name}") for name in "ABCD"}


def test_finer_interests_do_not_crowd_out_categories() -> None:
    rules = ProfileRules(max_interests=4)
    events = [cart(f"k{n}", AT, item(f"i{n}", category=f"c{n % 3}")) for n in range(30)]
    profile = folded([browse(at=AT, what=item("i", category="rare")), *events], rules)
    assert profile.category_interests.keys() == {feature_index(f"category:{c}") for c in ("c0", "c1", "c2", "rare")}
    assert len(profile.finer_interests) <= 5
    assert profile.interests == profile.category_interests | profile.finer_interests


def test_categories_lead_and_the_strongest_of_all_else_fill_up() -> None:
    profile = folded(
        [
            browse("b1", AT, item("A", category="tea")),
            order("o1", AT, item("B", category="oats")),
            order("o2", AT, item("B")),
        ]
    )
    tea, oats, most = (feature_index(name) for name in ("category:tea", "category:oats", "item:B"))
    assert portrait(profile, AT, HOURLY, 1).keys() == {oats}
    assert portrait(profile, AT, HOURLY, 2).keys() == {tea, oats}
    assert portrait(profile, AT, HOURLY, 3).keys() == {tea, oats, most}
    assert portrait(profile, AT, HOURLY, 9) == pytest.approx(
        {tea: 1.0, oats: 5.0, most: 10.0, feature_index("item:A"): 1.0}
    )


def test_a_portrait_keeps_what_was_bought_while_what_was_looked_at_fades() -> None:
    profile = folded([order("o", AT, item("bought")), browse("b", AT, item("seen"))])
    later = portrait(profile, AT + 2 * HOUR_S, HOURLY, 9)
    habit = HOURLY.order_weight * 2 ** (-2 * HOUR_S / HOURLY.habit_half_life_s)
    assert later == pytest.approx({feature_index("item:bought"): habit, feature_index("item:seen"): 0.25})


def test_what_was_taken_out_of_the_cart_stays_negative_in_a_portrait() -> None:
    profile = folded([cart("k", AT, item("A"), action="remove")])
    assert portrait(profile, AT, HOURLY, 9) == pytest.approx({feature_index("item:A"): -3.0})


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=20, unique=True), st.binary(min_size=8, max_size=8))
def test_a_digest_is_found_where_it_is_and_not_across_two_others(row: list[bytes], one: bytes) -> None:
    joined = b"".join(row)
    for digest in (one, *(joined[start : start + DIGEST_BYTES] for start in range(8 * len(row) - 7))):
        expected = row.index(digest) * DIGEST_BYTES if digest in row else -1
        assert place_of(joined, digest) == expected


def test_an_event_is_a_duplicate_within_the_horizon_only() -> None:
    profile, rules = Profile(), ProfileRules(max_seen_events=3)
    assert [is_duplicate(profile, "browse", event, rules) for event in ["a", "a", "b", "c", "a", "d", "a"]] == [
        False,
        True,
        False,
        False,
        True,
        False,
        False,
    ]


def test_late_orders_do_not_turn_back_the_clock() -> None:
    profile = folded([order("o", AT, item("A")), order("p", AT - DAY_S, item("A"))])
    assert profile.last_order_at == profile.last_event_at == profile.ordered_at["A"] == AT


def test_what_is_taken_out_ordered_or_of_no_category_is_neither_familiar_nor_strange() -> None:
    rules, profile = ProfileRules(), Profile()
    for n in range(12):
        fold(profile, browse(f"b{n}", AT + n, item("t", category="tea")), rules)
    told = []
    for event in (
        cart("k1", AT + 20, item("t", category="tea")),
        cart("k2", AT + 21, item("x", category="toys")),
        cart("k3", AT + 22, item("x", category="toys"), action="remove"),
        order("o1", AT + 23, item("x", category="toys")),
        browse("b20", AT + 24, item("x")),
        browse("b21", AT + 25),
    ):
        fold(profile, event, rules)
        told.append(is_familiar(profile, event, rules))
    assert told == [True, False, None, None, None, None]

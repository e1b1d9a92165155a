"""What is known of categories: one bounded table, from which all of a category leaves at once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import extract
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import MAX_CATEGORIES, InCategory, admit, note_cart, note_orders, usual_gap_s
from stream_coupons.core.shopper.profile import Profile, fold
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, cart, order

RULES = ProfileRules()
WEEK_S = 7 * DAY_S


def basket(n: int, at: float, categories: Iterable[str]) -> Any:
    return order(f"o{n}", at, *(item(f"i-{name}", category=name) for name in categories))


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n:02d}" for n in range(count)]


def told(profile: Profile, category: str, name: str, at: float) -> float:
    """A number of a coupon for one category."""
    coupons = CouponSet([coupon("c1", categories=[category])], 1000.0)
    moments = [Moment("u", Shopper(profile=profile), at, {})]
    rows = extract(moments, coupons, [np.array([0])], RULES)
    return float(rows.numeric[0, NUMERIC.index(name)])


@pytest.mark.parametrize("size", [1, MAX_CATEGORIES, 40, 48])
def test_of_a_weekly_basket_as_many_categories_as_are_kept_have_a_gap_of_a_week(size: int) -> None:
    profile = Profile()
    for week in range(8):
        fold(profile, basket(week, AT + week * WEEK_S, names("c", size)), RULES)
    assert profile.in_category.keys() == set(names("c", min(size, MAX_CATEGORIES)))
    for known in profile.in_category.values():
        assert known.ordered_at == AT + 7 * WEEK_S
        assert usual_gap_s(known.order_slots) == pytest.approx(WEEK_S, abs=DAY_S / 2)


def test_a_large_basket_pushes_out_what_is_not_in_it_and_not_what_it_renews() -> None:
    profile = Profile()
    for n, name in enumerate(["old", "tea", *names("a", MAX_CATEGORIES - 2)]):
        fold(profile, basket(n, AT + n, [name]), RULES)
    fold(profile, basket(99, AT + WEEK_S, [*names("b", 40), "tea"]), RULES)
    assert profile.in_category.keys() == {"tea", *names("b", MAX_CATEGORIES - 1)}
    assert usual_gap_s(profile.in_category["tea"].order_slots) == pytest.approx(WEEK_S, abs=2 * DAY_S)


def test_room_is_made_by_whom_nothing_was_heard_of_for_longest_ties_by_name() -> None:
    known = {"d": InCategory(ordered_at=5.0), "b": InCategory(carted_at=4.0, taken_out_at=6.0)}
    known |= {"c": InCategory(carted_at=5.0), "a": InCategory(ordered_at=2.0, carted_at=5.0)}
    known |= {name: InCategory(ordered_at=9.0) for name in names("x", MAX_CATEGORIES - 4)}
    assert admit(known, "late", 5.0) is None, "nobody is older"
    for gone in ("a", "c", "d", "b"):
        assert gone in known
        new = admit(known, f"new-{gone}", 7.0)
        assert new is not None
        note_cart(new, 7.0, is_added=True)
        assert gone not in known
    assert len(known) == MAX_CATEGORIES


def test_a_late_order_renews_what_is_known_and_pushes_out_nothing_newer() -> None:
    profile = Profile()
    fold(profile, basket(0, AT, names("c", MAX_CATEGORIES)), RULES)
    fold(profile, basket(1, AT - 10 * DAY_S, ["late", *names("c", 2)]), RULES)
    assert profile.in_category.keys() == set(names("c", MAX_CATEGORIES))
    assert usual_gap_s(profile.in_category["c00"].order_slots) == pytest.approx(10 * DAY_S, abs=2 * DAY_S)
    fold(profile, cart("k", AT - DAY_S, item("x", category="late")), RULES)
    assert "late" not in profile.in_category


def test_a_category_twice_in_a_basket_is_one_order_of_it() -> None:
    one: dict[str, InCategory] = {}
    note_orders(one, ["tea", "soap", "tea"], AT)
    assert {name: known.order_slots for name, known in one.items()} == {"tea": 1, "soap": 1}


def test_what_was_ordered_is_not_in_the_cart_however_many_categories_were_ordered() -> None:
    profile, bought = Profile(), names("c", 40)
    for name in bought:
        fold(profile, cart(f"k-{name}", AT, item(f"i-{name}", category=name)), RULES)
    fold(profile, basket(1, AT + DAY_S, bought), RULES)
    for n, other in enumerate(names("d", 20)):
        fold(profile, basket(2 + n, AT + 2 * DAY_S, [other]), RULES)
    assert {told(profile, name, "category_carted", AT + 3 * DAY_S) for name in bought} == {0.0}

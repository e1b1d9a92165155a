"""Who may get what: the arrays and the reasons agree, and every reason is found."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.catalogue import Catalogue, eligible, objection
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision.predict import shortlist
from stream_coupons.core.features.affinity import Interests, Moment
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.reasons import Ineligible
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.profile import fold
from stream_coupons.core.shopper.state import History, OpenControl, Shopper
from stream_coupons.core.vectors.sparse import pack_vector
from stream_coupons.testing import campaign, coupon, item
from tests.core.builders import AT, DAY_S, browse, counts_of, for_life, opened, order, rules, used

RULES = rules(reorder_suppress_s=7 * DAY_S)


def shopper_who(ordered: dict[str, float] | None = None, given: dict[str, int] | None = None) -> Shopper:
    shopper = Shopper(history=History(given=counts_of(given or {})))
    shopper.profile.ordered_at = ordered or {}
    return shopper


def why_not(shopper: Shopper, one: Coupon, at: float = AT) -> Ineligible | None:
    return objection(shopper, CouponSet([one], 1000.0), 0, at, RULES)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (coupon(), None),
        (coupon(valid_from=AT), None),
        (coupon(valid_from=AT + 1), Ineligible.NOT_YET_VALID),
        (coupon(valid_until=AT + 1), None),
        (coupon(valid_until=AT), Ineligible.EXPIRED),
        (coupon(paused=True), Ineligible.PAUSED),
        (coupon(caps=for_life(3)), None),
        (coupon(caps=for_life(2)), Ineligible.SHOPPER_CAP),
        (coupon(caps=for_life(0)), Ineligible.SHOPPER_CAP),
        (coupon(items=["new"]), Ineligible.ALREADY_ORDERED),
        (coupon(items=["new", "other"]), None),
        (coupon(items=["old"]), None),
        (coupon(items=["never"]), None),
    ],
)
def test_every_reason_is_found_and_no_other(one: Coupon, expected: Ineligible | None) -> None:
    shopper = shopper_who({"new": AT - DAY_S, "old": AT - 7 * DAY_S}, {"c1": 2})
    assert why_not(shopper, one) == expected


def test_what_was_never_ordered_was_not_ordered_a_moment_ago_even_near_the_epoch() -> None:
    assert why_not(shopper_who(), coupon(items=["A"]), at=1000.0) is None


def test_a_coupon_is_kept_from_shoppers_who_hold_an_overlapping_one() -> None:
    shelf = [
        coupon("all"),
        coupon("ham", categories=["ham"]),
        coupon("tea", categories=["tea"]),
        coupon("tea-again", categories=["tea"], not_while_held="same"),
        coupon("tea-any", categories=["tea"], not_while_held="none"),
    ]
    compiled, shopper = CouponSet(shelf, 1000.0), Shopper()

    def left(at: float = AT + 1) -> list[str]:
        return [compiled.coupons[one].coupon_id for one in eligible(shopper, compiled, at, RULES)]

    for held, expected in {"tea": ["ham", "tea-again", "tea-any"], "all": ["tea-again", "tea-any"]}.items():
        shopper.issues.clear()
        shopper.keep_issue(opened(held))
        assert left() == expected
    shopper.keep_issue(opened("tea-again", issue_id="i2"))
    assert left() == ["tea-any"]


def test_a_coupon_may_be_given_again_once_the_one_before_is_used_or_over() -> None:
    compiled, shopper = CouponSet([coupon()], 1000.0), Shopper()
    shopper.keep_issue(opened())
    assert objection(shopper, compiled, 0, AT + 7 * DAY_S - 1, RULES) is Ineligible.ALREADY_HELD
    assert objection(shopper, compiled, 0, AT + 7 * DAY_S, RULES) is None
    shopper.keep_issue(opened(uses=used(50)))
    assert objection(shopper, compiled, 0, AT + 1, RULES) is None


def test_the_holdout_holds_what_was_withheld_until_an_order() -> None:
    compiled, shopper = CouponSet([coupon()], 1000.0), Shopper()
    about: dict[str, Any] = {"numeric": b"", "hashed": b"", "predicted": (0.1, 0.1, 0.1), "model_version": 0}
    shopper.controls["i1"] = control = OpenControl("i1", "c1", "ecommerce", AT, AT + DAY_S, **about)
    assert objection(shopper, compiled, 0, AT + 1, RULES) is None
    control.withheld = True
    assert objection(shopper, compiled, 0, AT + 1, RULES) is Ineligible.ALREADY_HELD
    control.ordered = True
    assert objection(shopper, compiled, 0, AT + 1, RULES) is None


coupons = st.builds(
    coupon,
    coupon_id=st.uuids().map(str),
    valid_from=st.sampled_from([0.0, AT - 5, AT + 5]),
    valid_until=st.sampled_from([AT - 5, AT + 5, AT + 99]),
    caps=st.sampled_from([None, 0, 1, 2]).map(for_life),
    paused=st.booleans(),
    items=st.lists(st.sampled_from("ABC"), max_size=2),
    campaign_id=st.sampled_from([None, "k", "unknown"]),
    weekdays=st.sampled_from([[], ["mon", "tue", "wed"], ["thu", "fri", "sat", "sun"]]),
    until_hour=st.sampled_from([0.0, 12.0]),
    channels=st.sampled_from([[], ["app"], ["web"]]),
    exclusion_group=st.sampled_from(["", "g"]),
    not_while_held=st.sampled_from(["overlapping", "none"]),
)
campaigns = st.builds(
    campaign,
    campaign_id=st.just("k"),
    caps=st.sampled_from([None, 0, 1, 2]).map(for_life),
    from_hour=st.sampled_from([0.0, 6.0]),
)


@settings(max_examples=200, derandomize=True)
@given(
    st.lists(coupons, min_size=1, max_size=10),
    st.dictionaries(st.sampled_from("ABC"), st.floats(AT - 14 * DAY_S, AT)),
    st.integers(0, 2),
    campaigns,
    st.sampled_from([None, "g", ""]),
)
def test_the_eligible_are_those_nobody_objects_to(
    each: list[Coupon], ordered: dict[str, float], given_before: int, shared: Campaign, held: str | None
) -> None:
    holding = coupon("held", domain="travel", exclusion_group=held or "")
    compiled = Catalogue([*each, holding], campaigns=[shared]).domains["ecommerce"]
    shopper = shopper_who(ordered)
    shopper.history.given = counts_of({one.coupon_id: given_before for one in each[::2]}, {"k": given_before})
    if held is not None:
        shopper.keep_issue(opened("held"))
    context = {"channel": "app", "time_zone": "Asia/Kolkata"}
    expected = [p for p in range(len(each)) if objection(shopper, compiled, p, AT, RULES, context=context) is None]
    assert eligible(shopper, compiled, AT, RULES, context=context).tolist() == expected


def test_only_coupons_that_the_past_may_speak_against_are_looked_at_one_by_one() -> None:
    many = [coupon(f"c{n}", items=[f"i{n}", "A"], caps=for_life(1)) for n in range(50)]
    compiled = CouponSet([*many, coupon("never", caps=for_life(0)), coupon("any")], 1000.0)
    found = compiled.in_question(counts_of({"c7": 1, "gone": 1}), {"A": AT, "i9": AT})
    assert {compiled.coupons[position].coupon_id for position in found} == {"c7", "c9", "never"}


def test_the_shortlist_keeps_the_most_promising() -> None:
    shopper = Shopper()
    for name, times in (("A", 3), ("B", 1), ("C", 2)):
        for n in range(times):
            fold(shopper.profile, browse(f"{name}{n}", what=item(name)), ProfileRules())
    compiled = CouponSet([coupon(f"c{name}", items=[name]) for name in "ABCD"], 1000.0)
    [promise] = Interests.of([Moment("u", shopper, AT, {})], compiled, ProfileRules()).promise()
    everything = np.arange(4)
    assert shortlist(everything, promise, 2).tolist() == [0, 2]
    assert shortlist(everything, promise, 3).tolist() == [0, 1, 2]
    assert shortlist(everything, promise, 4).tolist() == [0, 1, 2, 3]
    assert shortlist(np.array([1, 3]), promise, 1).tolist() == [1]


def test_neighbours_promise_too() -> None:
    shopper = Shopper()
    compiled = CouponSet([coupon(f"c{name}", items=[name]) for name in "AB"], 1000.0)
    fold(shopper.profile, order("o", AT, item("A")), ProfileRules())
    neighbour = Shopper()
    fold(neighbour.profile, order("o", AT, item("B")), ProfileRules())
    shopper.neighbourhood.packed = pack_vector(dict.fromkeys(neighbour.profile.interests, 1e6))
    [promise] = Interests.of([Moment("u", shopper, AT, {})], compiled, ProfileRules()).promise()
    assert shortlist(np.arange(2), promise, 1).tolist() == [1]

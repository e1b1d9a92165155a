"""Who asks to be forgotten is, at once; money, caps and ids stay until nothing can come of them any more."""

import copy
from typing import Any

import pytest

from stream_coupons.agents.users import Users
from stream_coupons.core.decision.erasure import STAYS_S, erase, mark_of
from stream_coupons.core.decision.observation import observe
from stream_coupons.core.decision.pipeline import feedback as hear
from stream_coupons.core.decision.pipeline import issue_id, pass_time
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.neighbours.buckets import BucketMember, BucketVectors, departure, update
from stream_coupons.core.rules import AttributionRules, NeighbourhoodRules, ProfileRules
from stream_coupons.core.shopper.profile import Profile
from stream_coupons.core.shopper.state import Neighbourhood, Related, Shopper
from stream_coupons.testing import coupon, item
from tests.core.builders import (
    AT,
    DAY_S,
    HOUR_S,
    browse,
    cart,
    changes,
    erasure,
    feedback,
    for_life,
    knowledge,
    observed,
    of_type,
    order,
    rules,
    see,
)

GRACE_S = DAY_S
KNOWN = knowledge(
    coupon("c1", caps=for_life(1)), rules=rules(attribution=AttributionRules(grace_s=GRACE_S, early_feedback_s=DAY_S))
)
REFUSED = knowledge(coupon("c1"), rules=rules(min_value_minor=1e9))
OVER = AT + 7 * DAY_S + GRACE_S
"""When nothing can come any more of a coupon that was given at AT."""


def give(shopper: Shopper, event_id: str = "t1", at: float = AT) -> CouponIssue:
    [issue] = of_type(see(shopper, browse(event_id, at, item("A", category="tea")), KNOWN).messages, CouponIssue)
    assert isinstance(issue, CouponIssue)
    return issue


@pytest.fixture
def regular() -> Shopper:
    """Somebody who browses, orders, and has a coupon of ours and one of another system."""
    shopper = Shopper()
    see(shopper, cart("k1", AT - HOUR_S, item("B", category="coffee", price_minor=700)), REFUSED)
    see(shopper, order("o1", AT - HOUR_S / 2, item("B", category="coffee", price_minor=700)), REFUSED)
    give(shopper)
    observe("u", shopper, observed(), KNOWN)
    hear(shopper, feedback("click", "x1"), KNOWN)
    return shopper


def test_nothing_stays_of_what_a_shopper_is_like(regular: Shopper) -> None:
    given, seen = copy.deepcopy(regular.history.given), regular.profile.seen
    erase("u", regular, erasure(at=AT + 1), AT + 1)
    assert regular.profile == Profile(seen=seen)
    assert regular.neighbourhood == Neighbourhood()
    assert regular.history.given == given
    assert given.coupons == {"c1": 1}
    assert (regular.history.clicked, regular.history.by_coupon, regular.history.by_category) == (0, {}, {})
    assert regular.controls == {}
    assert [regular.issue(one).observed for one in regular.issues] == [False]
    assert b"coffee" not in str(regular).encode()


def test_neighbours_hear_that_the_shopper_is_gone(regular: Shopper) -> None:
    cell = regular.cell
    asked, asked_at = regular.related.bucket, regular.related.asked_at
    gone, also_gone = of_type(erase("u", regular, erasure(at=AT - DAY_S), AT).messages, UserVector)
    assert (gone.user_id, gone.cell, gone.indices) == ("u", cell, [])
    assert (also_gone.user_id, also_gone.cell, also_gone.indices) == ("u", asked, [])
    assert regular.related == Related()
    assert also_gone.at == max(AT - DAY_S, asked_at)
    assert gone.at == AT, "it is older than what they know, so they ignore it"
    view, member = BucketVectors(NeighbourhoodRules()), BucketMember()
    view.put("u", BucketMember(AT))
    assert update(member, gone, view).is_over
    assert len(view) == 0


def test_a_coupon_stays_good_and_its_money_is_told_of_but_nothing_is_learnt(regular: Shopper) -> None:
    [issue_id] = [one for one in regular.issues if one != "x1"]
    erase("u", regular, erasure(at=AT + 1), AT + 1)
    assert [one.reason for one in hear(regular, feedback("purchase", "x1", AT + 2), KNOWN).refused] == ["late"]
    bought = hear(regular, feedback("purchase", issue_id, AT + DAY_S, discount_minor=60), KNOWN)
    assert (changes(bought.bookings), ("end", "redeemed") in bought.facts) == ([(-60, 60)], True)
    closed = pass_time("u", regular, OVER, KNOWN)
    assert (closed.messages, changes(closed.bookings), closed.refused, closed.is_over) == ([], [(-40, 0)], [], False)


def test_an_unused_coupon_gives_its_money_back(regular: Shopper) -> None:
    erase("u", regular, erasure(at=AT + 1), AT + 1)
    closed = pass_time("u", regular, OVER, KNOWN)
    assert (closed.messages, changes(closed.bookings), closed.facts) == ([], [(-100, 0)], [("end", "expired")])


def test_a_trigger_whose_id_is_forgotten_too_gives_no_second_coupon(regular: Shopper) -> None:
    [ours] = [one for one in regular.issues if one != "x1"]
    assert ours == issue_id("u", "browse", "t1")
    erase("u", regular, erasure(at=AT - 1), AT - 1)
    regular.profile = Profile()
    assert ("decision", "repeated") in see(regular, browse("t1", AT, item("A")), KNOWN).facts


def test_what_was_watched_without_a_coupon_teaches_nothing() -> None:
    shopper = Shopper()
    see(shopper, browse("t1", AT, item("A")), REFUSED)
    assert len(shopper.controls) == 1
    erase("u", shopper, erasure(at=AT + 1), AT + 1)
    assert of_type(pass_time("u", shopper, AT + 300 * DAY_S, REFUSED).messages, TrainingExample) == []


@pytest.mark.parametrize("event", [browse("e", AT, item("A")), cart("e", AT), order("e", AT, item("A"))])
def test_events_of_before_that_come_later_say_nothing(event: Any) -> None:
    shopper = Shopper()
    erase("u", shopper, erasure(at=AT), AT)
    effects = see(shopper, event, KNOWN)
    assert (effects.messages, effects.facts) == ([], [("erasure", "ignored")])
    assert see(shopper, event, KNOWN).facts == [("erasure", "ignored")]
    assert shopper.profile == Profile()
    assert observe("u", shopper, observed(at=AT), KNOWN).facts == [("erasure", "ignored")]
    assert shopper.issues == {}


def test_a_request_counts_once_and_an_older_one_is_known(regular: Shopper) -> None:
    assert erase("u", regular, erasure("x1", AT + 5), AT + 5).facts == [("erasure", "requested")]
    see(regular, browse("later", AT + 60, item("C")), KNOWN)
    for again in (erasure("x1", AT + 5), erasure("x2", AT + 3)):
        effects = erase("u", regular, again, AT + 90)
        assert (effects.facts, effects.messages) == ([("duplicate", "erasure")], [])
    assert regular.profile.last_event_at == AT + 60
    assert erase("u", regular, erasure("x3", AT + 80), AT + 90).facts == [("erasure", "requested")]
    assert regular.profile.last_event_at == 0.0


def test_a_request_is_not_later_than_now() -> None:
    shopper = Shopper()
    erase("u", shopper, erasure(at=AT + DAY_S), AT)
    assert shopper.erased_at == AT


def test_a_state_ends_when_nothing_can_come_of_it_any_more(regular: Shopper) -> None:
    erase("u", regular, erasure(at=AT + 1), AT + 1)
    pass_time("u", regular, OVER, KNOWN)
    assert regular.next_due(KNOWN.rules.attribution.grace_s) == OVER + STAYS_S
    assert not pass_time("u", regular, OVER + STAYS_S - 1, KNOWN).is_over
    assert pass_time("u", regular, OVER + STAYS_S, KNOWN).is_over


def test_of_who_asked_to_be_forgotten_stays_when_and_of_who_was_idle_nothing(regular: Shopper) -> None:
    erase("u", regular, erasure(at=AT + 1), AT + 1)
    pass_time("u", regular, OVER + STAYS_S, KNOWN)
    mark = mark_of(regular)
    assert mark == Shopper(erased_at=AT + 1)
    assert mark.next_due(KNOWN.rules.attribution.grace_s) is None
    assert Users(lambda: FORGETFUL, 1).due(mark) is None
    assert see(mark, browse("new", AT + 2, item("A")), KNOWN).facts != [("erasure", "ignored")]
    assert mark_of(mark) == Shopper(erased_at=AT + 1), "who came back and was idle then was erased all the same"
    assert mark_of(Shopper()) is None


def test_who_was_never_seen_is_forgotten_too() -> None:
    shopper = Shopper()
    assert erase("u", shopper, erasure(at=AT), AT).messages == []
    assert pass_time("u", shopper, AT + STAYS_S, KNOWN).is_over


def test_feedback_that_waits_is_not_lost_by_the_end() -> None:
    shopper = Shopper()
    erase("u", shopper, erasure(at=AT), AT)
    hear(shopper, feedback("click", "forged", AT + STAYS_S), KNOWN)
    assert not pass_time("u", shopper, AT + STAYS_S, KNOWN).is_over
    last = pass_time("u", shopper, AT + STAYS_S + DAY_S, KNOWN)
    assert (len(last.refused), last.is_over) == (1, True)


def test_who_comes_back_stays_and_has_the_caps_of_before(regular: Shopper) -> None:
    erase("u", regular, erasure(at=AT + 1), AT + 1)
    back = see(regular, browse("back", AT + DAY_S, item("A")), KNOWN)
    assert of_type(back.messages, CouponIssue) == []  # one to a shopper
    assert regular.profile.last_event_at == AT + DAY_S
    assert not pass_time("u", regular, AT + 300 * DAY_S, KNOWN).is_over
    assert regular.next_due(KNOWN.rules.attribution.grace_s) is None


def test_an_observed_coupon_of_later_brings_the_shopper_back() -> None:
    shopper = Shopper()
    erase("u", shopper, erasure(at=AT), AT)
    assert observe("u", shopper, observed(at=AT + 1), KNOWN).facts == [("observed", "scored")]
    closed = pass_time("u", shopper, AT + 300 * DAY_S, KNOWN)
    assert not closed.is_over
    assert len(of_type(closed.messages, TrainingExample)) == 2


IDLE_S = 100 * DAY_S
FORGETFUL = knowledge(coupon("c1"), rules=rules(min_value_minor=1e9, profile=ProfileRules(forget_after_s=IDLE_S)))


def due(shopper: Shopper) -> float | None:
    return Users(lambda: FORGETFUL, 1).due(shopper)


def test_who_was_idle_for_long_leaves_as_who_was_erased_does() -> None:
    shopper = Shopper()
    see(shopper, order("o1", AT, item("A")), FORGETFUL)
    cells = [shopper.cell, shopper.related.bucket]
    assert due(shopper) == AT + IDLE_S
    assert pass_time("u", shopper, AT + IDLE_S - 1, FORGETFUL).messages == []
    left = pass_time("u", shopper, AT + IDLE_S, FORGETFUL)
    gone = of_type(left.messages, UserVector)
    assert [(each.cell, each.indices) for each in gone] == [(cell, []) for cell in cells if cell]
    assert (len(gone), left.facts, left.is_over) == (len(left.messages), [("erasure", "idle")], False)
    assert due(shopper) == AT + IDLE_S + STAYS_S
    assert pass_time("u", shopper, AT + IDLE_S + STAYS_S, FORGETFUL).is_over


def test_who_was_idle_and_comes_back_in_time_has_lost_nothing() -> None:
    shopper = Shopper()
    see(shopper, order("o1", AT, item("A")), FORGETFUL)
    interests = dict(shopper.profile.finer_interests)
    pass_time("u", shopper, AT + IDLE_S, FORGETFUL)
    assert shopper.profile.finer_interests == interests
    late = see(shopper, order("o0", AT - DAY_S, item("A")), FORGETFUL)
    assert ("erasure", "ignored") not in late.facts
    assert len(of_type(late.messages, UserVector)) == 1, "neighbours know the shopper again"
    assert due(shopper) == AT + IDLE_S


def test_nobody_is_idle_of_whom_something_is_open() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(expires_at=AT + 2 * IDLE_S), FORGETFUL)
    assert due(shopper) == AT + 2 * IDLE_S + GRACE_S
    assert pass_time("u", shopper, AT + IDLE_S, FORGETFUL).facts == []
    closed = pass_time("u", shopper, AT + 3 * IDLE_S, FORGETFUL)
    assert len(of_type(closed.messages, TrainingExample)) == 2
    assert due(shopper) == AT + 3 * IDLE_S + STAYS_S


def test_shoppers_stay_unless_it_is_said_for_how_long(regular: Shopper) -> None:
    pass_time("u", regular, AT + 1000 * DAY_S, KNOWN)
    assert regular.has_nothing_open
    assert (regular.leaves_at, Users(lambda: KNOWN, 1).due(regular)) == (None, None)


def test_who_moved_away_from_a_full_cell_keeps_the_place() -> None:
    cell = BucketVectors(NeighbourhoodRules(max_members=2))
    for user in "ab":
        message = UserVector(user_id=user, cell="shop/0", at=AT, indices=[1], weights=[1.0])
        update(BucketMember(), message, cell)
    gone = departure("a", "shop/0", AT + 1)
    assert not update(BucketMember(AT), gone, cell).is_over

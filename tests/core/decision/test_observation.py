"""Steps that only take notice."""

from collections import Counter

import pytest

from stream_coupons.core.decision.observation import arm_of, observe, row_of
from stream_coupons.core.decision.open_issues import observe_order
from stream_coupons.core.decision.pipeline import feedback as hear
from stream_coupons.core.decision.pipeline import learn_neighbours, pass_time
from stream_coupons.core.decision.policy import control_row
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.feature import ShopperFeature
from stream_coupons.core.features.numeric import FEATURES, NUMERIC
from stream_coupons.core.features.rows import OF_EVERY_COUPON, extract, hashed_names
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.messages.neighbours import Neighbour, NeighbourUpdate
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules, ProfileRules
from stream_coupons.core.shopper.profile import fold
from stream_coupons.core.shopper.state import Neighbourhood, Related, Shopper
from stream_coupons.core.vectors.sparse import pack_vector
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, browse, feedback, knowledge, log_share, observed, of_type, order, rules

KNOWN = knowledge(coupon("c1", items=["A"]), coupon("c2"))
TERMS = {each.name for each in FEATURES if each.is_of_terms}


def test_an_observed_coupon_is_scored_as_if_it_were_ours() -> None:
    shopper = Shopper()
    fold(shopper.profile, browse(what=item("A")), ProfileRules())
    coupons = KNOWN.catalogue.domains.get("ecommerce")
    assert coupons is not None
    moments = [Moment("u", shopper, AT, {"weather": "rain"})]
    expected = extract(moments, coupons, [coupons.valid_from.argsort()[:1]], ProfileRules())
    effects = observe("u", shopper, observed(context={"weather": "rain"}, propensity=0.25), KNOWN)
    assert effects.facts == [("observed", "scored")]
    first = of_type(pass_time("u", shopper, AT + 30 * DAY_S, KNOWN).messages, TrainingExample)[0]
    assert first.numeric == expected.numeric[0].tolist()
    assert first.hashed == expected.hashed[0].tolist()
    assert (first.observed, first.propensity, first.model_version, first.predicted) == (True, 0.25, 7, 0.2)


def test_an_observed_coupon_is_never_issued_and_frees_no_money() -> None:
    shopper = Shopper()
    effects = observe("u", shopper, observed(), KNOWN)
    joined = hear(shopper, feedback("purchase", "x1"), KNOWN)
    closed = pass_time("u", shopper, AT + 30 * DAY_S, KNOWN)
    said = effects.messages + joined.messages + closed.messages
    assert of_type(said, CouponIssue) == effects.bookings + joined.bookings + closed.bookings == []
    labels = [(example.head, example.label) for example in of_type(said, TrainingExample)]
    assert labels == [("click", False), ("redeem", True)]


def test_an_observed_coupon_counts_once_even_after_its_window() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(), KNOWN)
    assert observe("u", shopper, observed(), KNOWN).facts == [("duplicate", "observed")]
    pass_time("u", shopper, AT + 30 * DAY_S, KNOWN)
    assert observe("u", shopper, observed(), KNOWN).facts == [("duplicate", "observed")]
    assert shopper.history.issued == 1


def test_an_observed_coupon_nobody_knows_is_counted_and_left_alone() -> None:
    shopper = Shopper()
    assert observe("u", shopper, observed(coupon_id="c9"), KNOWN).facts == [("observed", "unknown_coupon")]
    assert observe("u", shopper, observed(domain="travel"), KNOWN).facts == [("observed", "unknown_coupon")]
    assert shopper == Shopper()


def test_nothing_given_in_a_domain_that_nobody_knows_is_counted_and_makes_no_model() -> None:
    shopper = Shopper()
    told = observed(coupon_id="none", domain="ecomerce")
    assert observe("u", shopper, told, KNOWN).facts == [("observed", "unknown_coupon")]
    assert shopper == Shopper()


def test_the_oldest_of_too_many_observed_coupons_makes_room_and_teaches_nothing() -> None:
    narrow = knowledge(coupon("c1"), rules=rules(attribution=AttributionRules(max_open_observed=2)))
    shopper = Shopper()
    observe("u", shopper, observed("ours"), narrow)
    ours = shopper.issue("ours")
    ours.observed = False
    shopper.keep_issue(ours)
    effects = [observe("u", shopper, observed(name), narrow) for name in ("x1", "x2", "x3")]
    facts = [fact for each in effects for fact in each.facts]
    assert facts == [("observed", "scored")] * 3 + [("observed", "crowded_out")]
    assert list(shopper.issues) == ["ours", "x2", "x3"]
    assert observe("u", shopper, observed("x1"), narrow).facts == [("duplicate", "observed")]
    assert [refused.reason for refused in hear(shopper, feedback("click", "x1"), narrow).refused] == ["late"]
    learnt = of_type(pass_time("u", shopper, AT + 30 * DAY_S, narrow).messages, TrainingExample)
    assert {example.issue_id for example in learnt} == {"ours", "x2", "x3"}


@pytest.mark.long
def test_observed_coupons_take_no_more_of_a_state_than_they_may() -> None:
    known = knowledge(coupon("c1", attributes={f"a{n}": float(n) for n in range(12)}))
    wordy = {f"key{n:02d}": float(n) for n in range(32)}
    shopper = Shopper()
    counted = Counter[str]()
    for n in range(300):
        effects = observe("u", shopper, observed(f"x{n}", context=wordy), known)
        counted.update(outcome for _, outcome in effects.facts)
    taken = sum(len(packed) for _, packed in shopper.issues.values())
    most = AttributionRules().max_observed_bytes
    assert 0.9 * most < taken <= most
    assert counted == {"scored": 300, "crowded_out": 300 - len(shopper.issues)}
    assert list(shopper.issues) == [f"x{n}" for n in range(300 - len(shopper.issues), 300)]


def test_the_latest_observed_coupon_stays_however_large() -> None:
    tight = knowledge(coupon("c1"), rules=rules(attribution=AttributionRules(max_observed_bytes=1)))
    shopper = Shopper()
    for name in ("x1", "x2"):
        observe("u", shopper, observed(name), tight)
    assert list(shopper.issues) == ["x2"]


def test_an_observed_coupon_is_open_for_no_longer_than_ours_can_be() -> None:
    shopper = Shopper()
    [refused] = observe("u", shopper, observed(expires_at=AT + 366.5 * DAY_S), KNOWN).refused
    assert (refused.reason, refused.detail) == (
        Rejection.INVALID,
        "expires_at is 366.5 days after occurred_at, expected at most 366",
    )
    assert shopper == Shopper()
    assert observe("u", shopper, observed(expires_at=AT + 366 * DAY_S), KNOWN).facts == [("observed", "scored")]


def test_feedback_that_came_before_its_observed_coupon_joins_it() -> None:
    shopper = Shopper()
    hear(shopper, feedback("click", "x1"), KNOWN)
    effects = observe("u", shopper, observed(), KNOWN)
    assert ("feedback", "click") in effects.facts
    assert shopper.issue("x1").clicked


def test_the_same_feedback_event_counts_once() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(), KNOWN)
    hear(shopper, feedback("click", "x1", event_id="f"), KNOWN)
    assert hear(shopper, feedback("click", "x1", event_id="f"), KNOWN).facts == [("duplicate", "feedback")]
    assert shopper.history.clicked == 1


def test_refused_feedback_counts_when_it_is_sent_again_and_its_issue_is_known() -> None:
    shopper = Shopper()
    click = feedback("click", "x1", event_id="f")
    hear(shopper, click, KNOWN)
    assert len(pass_time("u", shopper, AT + 30 * DAY_S, KNOWN).refused) == 1
    observe("u", shopper, observed(), KNOWN)
    assert hear(shopper, click, KNOWN).facts == [("feedback", "click")]
    assert hear(shopper, click, KNOWN).facts == [("duplicate", "feedback")]


def test_feedback_refused_at_once_counts_when_it_is_sent_again() -> None:
    shopper = Shopper()
    impatient = knowledge(coupon("c1"), rules=rules(attribution=AttributionRules(early_feedback_s=0.0)))
    click = feedback("click", "x1", event_id="f")
    assert len(hear(shopper, click, impatient).refused) == len(hear(shopper, click, impatient).refused) == 1
    observe("u", shopper, observed(), impatient)
    assert hear(shopper, click, impatient).facts == [("feedback", "click")]


def examples(messages: list[object]) -> list[tuple[str, bool, float]]:
    return [(each.head, each.label, each.at) for each in of_type(messages, TrainingExample)]


def test_where_another_system_gave_nothing_a_purchase_is_an_order_without_a_coupon() -> None:
    shopper, silent = Shopper(), Shopper()
    for each in (shopper, silent):
        assert observe("u", each, observed(coupon_id="none", propensity=0.1), KNOWN).facts == [("observed", "scored")]
    hear(shopper, feedback("click", "x1"), KNOWN)
    hear(shopper, feedback("purchase", "x1"), KNOWN)
    ended = AT + 30 * DAY_S
    first = pass_time("u", shopper, ended, KNOWN).messages
    assert examples(first) == [("order", True, ended)]
    assert (first[0].coupon_id, first[0].observed, first[0].propensity) == ("none", True, 0.1)
    assert examples(pass_time("u", silent, ended, KNOWN).messages) == [("order", False, ended)]


def test_nothing_given_is_not_counted_among_the_coupons_of_the_shopper() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(coupon_id="none"), KNOWN)
    hear(shopper, feedback("click", "x1"), KNOWN)
    hear(shopper, feedback("purchase", "x1"), KNOWN)
    assert shopper.history == Shopper().history
    assert observe("u", shopper, observed(coupon_id="none"), KNOWN).facts == [("duplicate", "observed")]


def test_feedback_that_names_a_coupon_where_nothing_was_given_is_refused() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(coupon_id="none"), KNOWN)
    assert [each.reason for each in hear(shopper, feedback("click", "x1", coupon_id="c1"), KNOWN).refused] == [
        "wrong_coupon"
    ]


def test_features_without_a_coupon_tell_of_the_shopper_and_the_moment_only() -> None:
    shopper = Shopper()
    fold(shopper.profile, browse(what=item("A", category="tea", brand="x")), ProfileRules())
    moment = Moment("u", shopper, AT, {"weather": "rain"})
    rows, given = (row_of(moment, observed(coupon_id=name), KNOWN) for name in ("none", "c1"))
    numbers = dict(zip(NUMERIC, rows.numeric[0].tolist(), strict=True))
    assert {numbers[name] for name in TERMS} == {0.0}
    of_shopper = [NUMERIC.index(each.name) for each in FEATURES if isinstance(each, ShopperFeature)]
    assert rows.numeric[0, of_shopper].tolist() == given.numeric[0, of_shopper].tolist()
    names = hashed_names(context={"weather": "rain"})
    places = dict(zip(names, rows.hashed[0].tolist(), strict=True))
    of_coupons = {name for name, place in places.items() if not place and name != "weather=rain"}
    assert of_coupons == {name for name in names if set(OF_EVERY_COUPON) & set(name.split("*"))}
    assert places["shopper"] == given.hashed[0, names.index("shopper")]
    assert rows.hashed[0, names.index("weather=rain")] == given.hashed[0, names.index("weather=rain")] > 0


def known_arms() -> Knowledge:
    return knowledge(coupon("tea", categories=["tea"]), coupon("cocoa"), coupon("trip", domain="travel"))


def test_a_decision_for_nothing_is_a_control_of_an_arm_that_chance_draws() -> None:
    known = known_arms()
    drawn = [arm_of(observed(f"x{n}", "none", arms=["cocoa", "trip", "tea"]), known) for n in range(200)]
    found = Counter(coupons.coupons[position].coupon_id for coupons, position in drawn)
    assert found.keys() == {"tea", "cocoa"}, "arms of other domains are none"
    assert min(found.values()) > 60
    names = ["cocoa", "tea"]
    assert [names[control_row(2, f"x{n}", known.rules.key)] for n in range(200)] == [
        coupons.coupons[position].coupon_id for coupons, position in drawn
    ]


def test_a_control_is_scored_as_its_arm_would_be() -> None:
    shopper, known = Shopper(), known_arms()
    fold(shopper.profile, browse(what=item("A", category="tea")), ProfileRules())
    moment = Moment("u", shopper, AT, {})
    rows = [row_of(moment, observed("x", given, arms=["tea"]), known) for given in ("none", "tea")]
    assert rows[0].numeric.tolist() == rows[1].numeric.tolist()
    assert rows[0].hashed.tolist() == rows[1].hashed.tolist()


@pytest.mark.parametrize("arms", [[], ["unheard-of"], ["trip"]])
def test_without_a_known_arm_nothing_given_is_for_the_whole_shop(arms: list[str]) -> None:
    shopper = Shopper()
    fold(shopper.profile, browse(what=item("A", category="tea")), ProfileRules())
    rows = row_of(Moment("u", shopper, AT, {}), observed("x", "none", arms=arms), known_arms())
    numbers = dict(zip(NUMERIC, rows.numeric[0].tolist(), strict=True))
    assert (numbers["demand_share"], numbers["whole_shop"]) == (round(log_share(1.0), 4), 1.0)


@pytest.mark.parametrize("answers", [[], ["expiry"], ["purchase"], ["purchase", "expiry"]])
@pytest.mark.parametrize("coupon_id", ["c1", "none"])
def test_yes_and_no_are_learnt_when_the_window_has_closed_whatever_was_reported_before(
    coupon_id: str, answers: list[str]
) -> None:
    shopper = Shopper()
    observe("u", shopper, observed(coupon_id=coupon_id), KNOWN)
    for kind in answers:
        assert examples(hear(shopper, feedback(kind, "x1", AT + 60), KNOWN).messages) == []  # type: ignore[arg-type]
    closes_at, _ = shopper.issues["x1"]
    assert examples(pass_time("u", shopper, closes_at - 1, KNOWN).messages) == []
    labels = {"click": False, "redeem": "purchase" in answers, "order": "purchase" in answers}
    heads = ["click", "redeem"] if coupon_id == "c1" else ["order"]
    learnt = examples(pass_time("u", shopper, closes_at, KNOWN).messages)
    assert learnt == [(head, labels[head], closes_at) for head in heads]


@pytest.mark.parametrize("is_early", [False, True])
def test_nothing_that_follows_an_expiry_counts(is_early: bool) -> None:
    shopper, refused = Shopper(), []
    after = [feedback(kind, "x1", AT + 2) for kind in ("impression", "click", "purchase")]
    if not is_early:
        observe("u", shopper, observed(), KNOWN)
    for event in (feedback("expiry", "x1", AT + 1), *after):
        refused += hear(shopper, event, KNOWN).refused
    if is_early:
        refused = observe("u", shopper, observed(), KNOWN).refused
    assert [each.reason for each in refused] == ["late"] * 3
    assert {label for _, label, _ in examples(pass_time("u", shopper, AT + 30 * DAY_S, KNOWN).messages)} == {False}


def test_an_expiry_that_is_reported_again_is_no_late_feedback() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(), KNOWN)
    told = [hear(shopper, feedback("expiry", "x1", AT + day * DAY_S, f"f{day}"), KNOWN) for day in (1, 2)]
    assert [each.facts for each in told] == [[("feedback", "expiry")], [("feedback", "repeated")]]
    assert [each.refused for each in told] == [[], []]


def test_orders_are_noted_until_the_window_closes_also_after_an_expiry() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(), KNOWN)
    hear(shopper, feedback("expiry", "x1", AT + 60), KNOWN)
    observe_order(shopper, order("o", AT + 120, item("A")), KNOWN.catalogue)
    closed = of_type(pass_time("u", shopper, AT + 30 * DAY_S, KNOWN).messages, TrainingExample)
    assert [each.ordered for each in closed] == [True, True]


def test_a_coupon_that_has_expired_is_held_no_more() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(), KNOWN)
    assert shopper.held_coupons(AT + 61) == {"c1"}
    hear(shopper, feedback("expiry", "x1", AT + 60), KNOWN)
    assert shopper.held_coupons(AT + 61) == set()


def near(cell: str, at: float, index: int = 1) -> NeighbourUpdate:
    return NeighbourUpdate(
        user_id="u", cell=cell, at=at, neighbours=[Neighbour("v", 0.5)], indices=[index], weights=[0.5]
    )


def test_news_of_neighbours_is_taken_from_the_own_cell_and_never_backwards() -> None:
    shopper = Shopper(cell="ecommerce/1")
    learn_neighbours(shopper, near("ecommerce/2", AT))
    assert shopper.neighbourhood == Neighbourhood()
    learn_neighbours(shopper, near("ecommerce/1", AT, 1))
    learn_neighbours(shopper, near("ecommerce/1", AT - 1, 2))
    assert shopper.neighbourhood.packed == pack_vector({1: 0.5})
    learn_neighbours(shopper, near("ecommerce/1", AT + 1, 3))
    assert shopper.neighbourhood.packed == pack_vector({3: 0.5})


def test_what_is_related_is_taken_from_the_bucket_asked_and_never_backwards() -> None:
    shopper = Shopper(cell="ecommerce/1", related=Related(bucket="ecommerce/categories-0"))
    learn_neighbours(shopper, near("ecommerce/categories-1", AT))
    learn_neighbours(shopper, near("ecommerce/categories-0", AT + 1, 1))
    learn_neighbours(shopper, near("ecommerce/categories-0", AT, 2))
    assert shopper.related.packed == pack_vector({1: 0.5})
    learn_neighbours(shopper, near("ecommerce/1", AT, 3))
    assert shopper.related.packed == pack_vector({1: 0.5})
    assert shopper.neighbourhood.packed == pack_vector({3: 0.5})

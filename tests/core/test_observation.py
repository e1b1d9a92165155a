"""Steps that only take notice."""

from stream_coupons.core.events import CouponIssue, Neighbour, NeighbourUpdate, Proposal, Settlement, TrainingExample
from stream_coupons.core.features import Moment, extract, look
from stream_coupons.core.observation import feedback as hear
from stream_coupons.core.observation import learn_neighbours, observe, pass_time
from stream_coupons.core.pipeline import Undecided, decide, propose
from stream_coupons.core.profile import fold
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.rules import AttributionRules, ProfileRules
from stream_coupons.core.shopper import Shopper

from .builders import AT, DAY_S, HOUR_S, browse, coupon, feedback, item, knowledge, observed, of_type, rules

KNOWN = knowledge(coupon("c1", items=["A"]), coupon("c2"))


def test_an_observed_coupon_is_scored_as_if_it_were_ours() -> None:
    shopper = Shopper()
    fold(shopper.profile, browse(what=item("A")), ProfileRules())
    coupons = KNOWN.catalogue.of_domain("ecommerce")
    assert coupons is not None
    moments = [Moment("u", shopper, AT, {"weather": "rain"})]
    views = look(moments, coupons, ProfileRules())
    expected = extract(moments, views, coupons, [coupons.valid_from.argsort()[:1]], ProfileRules())
    effects = observe("u", shopper, observed(context={"weather": "rain"}, propensity=0.25), KNOWN)
    assert effects.facts == [("observed", "scored")]
    first = of_type(pass_time("u", shopper, AT + 30 * DAY_S).messages, TrainingExample)[0]
    assert first.numeric == expected.numeric[0].tolist()
    assert first.hashed == expected.hashed[0].tolist()
    assert (first.observed, first.propensity, first.model_version, first.predicted) == (True, 0.25, 7, 0.2)


def test_an_observed_coupon_is_never_issued_or_settled() -> None:
    shopper = Shopper()
    effects = observe("u", shopper, observed(), KNOWN)
    joined = hear(shopper, feedback("purchase", "x1"), KNOWN)
    closed = pass_time("u", shopper, AT + 30 * DAY_S)
    said = effects.messages + joined.messages + closed.messages
    assert of_type(said, CouponIssue) == of_type(said, Settlement) == of_type(said, Proposal) == []
    assert [(example.head, example.label) for example in of_type(said, TrainingExample)] == [("redeem", True)]


def test_an_observed_coupon_counts_once_even_after_its_window() -> None:
    shopper = Shopper()
    observe("u", shopper, observed(), KNOWN)
    assert observe("u", shopper, observed(), KNOWN).facts == [("duplicate", "observed")]
    pass_time("u", shopper, AT + 30 * DAY_S)
    assert observe("u", shopper, observed(), KNOWN).facts == [("duplicate", "observed")]
    assert shopper.history.issued == 1


def test_an_observed_coupon_nobody_knows_is_counted_and_left_alone() -> None:
    shopper = Shopper()
    assert observe("u", shopper, observed(coupon_id="c9"), KNOWN).facts == [("observed", "unknown_coupon")]
    assert observe("u", shopper, observed(domain="travel"), KNOWN).facts == [("observed", "unknown_coupon")]
    assert shopper == Shopper()


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
    assert len(pass_time("u", shopper, AT + 30 * DAY_S).refused) == 1
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


def near(cell: str, at: float, index: int = 1) -> NeighbourUpdate:
    return NeighbourUpdate(
        user_id="u", cell=cell, at=at, neighbours=[Neighbour("v", 0.5)], indices=[index], weights=[0.5]
    )


def test_news_of_neighbours_is_taken_from_the_own_cell_and_never_backwards() -> None:
    shopper = Shopper(cell="ecommerce/1")
    learn_neighbours(shopper, near("ecommerce/2", AT))
    assert shopper.neighbourhood.interests == {}
    learn_neighbours(shopper, near("ecommerce/1", AT, 1))
    learn_neighbours(shopper, near("ecommerce/1", AT - 1, 2))
    assert shopper.neighbourhood.interests == {1: 0.5}
    learn_neighbours(shopper, near("ecommerce/1", AT + 1, 3))
    assert shopper.neighbourhood.interests == {3: 0.5}


def test_time_ends_a_proposal_without_an_answer_once() -> None:
    shopper = Shopper()
    undecided = propose("u", shopper, browse("t1"), KNOWN)
    assert isinstance(undecided, Undecided)
    decide([undecided], KNOWN)
    assert pass_time("u", shopper, AT + HOUR_S - 1).facts == []
    assert pass_time("u", shopper, AT + HOUR_S).facts == [("decision", NoCoupon.TIMED_OUT)]
    assert pass_time("u", shopper, AT + HOUR_S).facts == []
    assert shopper.proposals == {}

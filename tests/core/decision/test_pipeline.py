"""Take in and decide: one issue per trigger from what the partition may give, whatever comes twice, late or in another
order."""

import math
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.content_vectors import CODES
from stream_coupons.core.decision import pipeline
from stream_coupons.core.decision.incremental import KEPT_RATIO, USES_RATIO
from stream_coupons.core.decision.observation import observe
from stream_coupons.core.decision.pipeline import ANY_TIME, KINDS, Times, issue_id, pass_time, take_in
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import Trigger, unpack
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.rows import FeatureRows, extract
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.messages.leases import Lease, LeaseReport
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.money.accounts import money_of, units_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.neighbours.relations import is_category_bucket
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.rules import AttributionRules, NeighbourhoodRules, ProfileRules, Rules, ShopRules
from stream_coupons.core.shopper.state import MAX_CLOSED, Shopper
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.models.linear import prior
from stream_coupons.testing import item
from tests.core.builders import (
    AT,
    DAY_S,
    HOUR_S,
    FixedScorer,
    browse,
    cart,
    decided,
    feedback,
    for_life,
    knowledge,
    observed,
    of_type,
    order,
    purses,
    rules,
    see,
    wallet,
)
from tests.core.builders import repeatable as coupon

KNOWN = knowledge(coupon("c1", title="Tea", discount_percent=5.0), coupon("c2"), coupon("c3"))
WORTH = KEPT_RATIO * (0.5 - USES_RATIO * 0.1) * 0.3 * 2000 - 2.0
"""Of a coupon, but for what it takes off in half of all cases."""


class Case:
    """One shopper, what their partition may give, and what their steps said."""

    def __init__(self, known: Knowledge = KNOWN, user: str = "u") -> None:
        self.known = known
        self.user = user
        self.shopper = Shopper()
        self.purses = purses()
        self.wallet = Wallet(self.purses, 0, 1)
        self.said: list[Any] = []

    def _take(self, effects: Effects) -> Effects:
        self.said += effects.messages
        return effects

    def see(self, event: Any, times: Times = ANY_TIME) -> Effects:
        return self._take(see(self.shopper, event, self.known, self.wallet, times))

    def listen(self, event: FeedbackEvent) -> Effects:
        return self._book(pipeline.feedback(self.shopper, event, self.known))

    def wait(self, at: float) -> Effects:
        return self._book(pass_time(self.user, self.shopper, at, self.known))

    def _book(self, effects: Effects) -> Effects:
        self.wallet.settle(effects.bookings)
        return self._take(effects)

    def issues(self) -> list[CouponIssue]:
        return of_type(self.said, CouponIssue)

    def money(self, coupon_id: str = "c1") -> tuple[int, int, int]:
        """Of what was held for a coupon: all, what is free again, and what is spent."""
        purse = self.purses.get(money_of(coupon_id)) or Purse()
        return purse.drawn, purse.freed, purse.spent

    def units(self, coupon_id: str = "c1") -> int:
        """How many of a coupon were drawn."""
        return (self.purses.get(units_of(coupon_id)) or Purse()).drawn


def purses_of(case: Case) -> dict[str, Purse]:
    return {key: one for key, one in case.purses.items() if isinstance(one, Purse)}


def decision(effects: Effects) -> list[str]:
    return [kind for noun, kind in effects.facts if noun == "decision"]


def told(outcome: Effects | Trigger) -> Effects:
    """The effects of an event that was no trigger, or too soon to be one."""
    assert isinstance(outcome, Effects)
    return outcome


def frozen(shopper: Shopper) -> bytes:
    return msgspec.msgpack.encode(shopper)


def test_a_trigger_leads_to_one_issue_with_all_that_was_known_when_it_was_decided() -> None:
    case = Case()
    assert decision(case.see(browse("t1", what=item("A")))) == ["given"]
    [issue] = case.issues()
    assert (issue.user_id, issue.issue_id, issue.trigger_id) == ("u", issue_id("u", "browse", "t1"), "t1")
    assert (issue.coupon_id, issue.title, issue.discount_percent) == ("c1", "Tea", 5.0)
    assert (issue.issued_at, issue.expires_at, issue.max_discount_minor) == (AT, AT + 7 * DAY_S, 100)
    assert (issue.p_click, issue.p_redeem, issue.p_order, issue.model_version) == (0.2, 0.5, 0.1, 7)
    assert issue.value_minor == pytest.approx(WORTH - 0.5 * 100)
    assert issue.propensity == 1.0
    assert [reason.feature for reason in issue.reasons] == ["content"]
    opened = case.shopper.issue(issue.issue_id)
    assert (opened.held_minor, opened.propensity, opened.until) == (100, 1.0, issue.expires_at)


def test_what_is_given_is_drawn_at_once_and_nothing_else_is() -> None:
    case = Case()
    case.see(browse("t1"))
    assert (case.units(), case.money()) == (1, (100, 0, 0))
    assert purses_of(case).keys() == {units_of("c1"), money_of("c1")}


class Naming(FixedScorer):
    """Names every place of the row that is not empty."""

    def contributions(
        self,
        rows: FeatureRows,
        row: int,
        head: int,  # noqa: ARG002
        names: Sequence[str] = (),
    ) -> list[tuple[str, float, float]]:
        return [(names[column], 1.0, 1.0) for column in np.flatnonzero(rows.hashed[row]).tolist()]


@pytest.mark.parametrize(("terms", "count"), [({"vector": [0.5, -1.0]}, CODES), ({}, 0)])
def test_places_of_a_vector_have_their_names(terms: dict[str, Any], count: int) -> None:
    case = Case(knowledge(coupon("c1", **terms), rules=rules(explain_top=1000), scorer=Naming()))
    case.see(browse("t1", what=item("A"), context={"weather": "rain"}))
    [issue] = case.issues()
    assert [reason.feature for reason in issue.reasons].count("vector") == count


def test_the_coupon_that_is_worth_most_is_given() -> None:
    known = knowledge(
        coupon("a", items=["A"]),
        coupon("b", items=["B"]),
        coupon("c", items=["C"]),
        scorer=FixedScorer(by="item_interest"),
    )
    for what in "BC":
        case = Case(known)
        case.see(cart("k", what=item(what)))
        assert [issue.coupon_id for issue in case.issues()] == [what.lower()]


def test_a_coupon_counts_as_unseen_only_if_its_channel_was_said_to_report_when_it_was_given() -> None:
    def reporting(*domains: str) -> Knowledge:
        reported = AttributionRules(impression_domains=frozenset(domains))
        return knowledge(coupon("c1"), rules=rules(attribution=reported))

    case = Case(reporting())
    for number, known in enumerate([reporting(), reporting("ecommerce")]):
        case.known = known
        case.see(browse(f"t{number}", AT + number * HOUR_S))
        case.said += observe("u", case.shopper, observed(f"x{number}", at=AT + number * HOUR_S), known).messages
    case.wait(AT + 30 * DAY_S)
    seen = {each.issue_id: each.seen for each in of_type(case.said, TrainingExample)}
    before, since = (issue.issue_id for issue in case.issues())
    assert seen == {before: None, "x0": None, since: False, "x1": False}


def test_a_duplicate_event_changes_nothing_and_gives_nothing() -> None:
    case = Case()
    case.see(browse("t1", what=item("A")))
    before, said = frozen(case.shopper), len(case.said)
    assert case.see(browse("t1", what=item("A"))).facts == [("duplicate", "browse")]
    assert (frozen(case.shopper), len(case.said), case.units()) == (before, said, 1)


@pytest.mark.parametrize("days", [0, 40], ids=["while it is open", "after its window"])
def test_a_trigger_that_comes_again_when_its_id_is_forgotten_gives_nothing_more(days: int) -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(profile=ProfileRules(max_seen_events=2))))
    case.see(browse("1"))
    case.wait(AT + days * DAY_S)
    for other in ("2", "3"):
        case.see(browse(other, AT + days * DAY_S, domain="elsewhere"))
    assert decision(case.see(browse("1", AT + days * DAY_S + 1))) == [NoCoupon.REPEATED]
    assert (len(case.issues()), case.units()) == (1, 1)


def test_an_id_of_ours_is_known_however_many_observed_issues_end_meanwhile() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(profile=ProfileRules(max_seen_events=2))))
    case.see(browse("1"))
    case.wait(AT + 30 * DAY_S)
    for n in range(MAX_CLOSED + 1):
        observe("u", case.shopper, observed(f"x{n}"), case.known)
        case.listen(feedback("click", f"x{n}", AT + 1))
        case.wait(AT + 30 * DAY_S)
    assert decision(case.see(browse("1", AT + 30 * DAY_S))) == [NoCoupon.REPEATED]
    assert len(case.shopper.closed_observed) == MAX_CLOSED
    assert decision(observe("u", case.shopper, observed(f"x{MAX_CLOSED}"), case.known)) == []
    assert case.shopper.issues == {}


def test_feedback_that_came_before_its_issue_counts_when_it_comes() -> None:
    case = Case()
    for kind in ("click", "purchase"):
        case.listen(feedback(kind, issue_id("u", "browse", "t1"), discount_minor=30))
    assert case.money() == (0, 0, 0)
    effects = case.see(browse("t1"))
    assert ("end", "redeemed") in effects.facts
    assert (case.money(), case.shopper.early) == ((130, 30, 30), [])
    case.wait(AT + 30 * DAY_S)
    assert {each.head for each in of_type(case.said, TrainingExample) if each.label} == {"click", "redeem"}
    assert case.money() == (130, 100, 30)


@pytest.mark.parametrize("is_together", [True, False])
def test_what_early_feedback_takes_is_not_there_for_the_next_decision(is_together: bool) -> None:
    known, holds = knowledge(coupon("c1", budget_minor=250)), wallet()
    first, second = Shopper(), Shopper()
    for order_id in ("o1", "o2"):
        used_early = feedback("purchase", issue_id("u", "browse", "t"), event_id=order_id, order_id=order_id)
        pipeline.feedback(first, used_early, known)
    events = (browse("t"), browse("t", user="v"))
    if is_together:
        taken = [take_in(e.user_id, s, e, known) for e, s in zip(events, (first, second), strict=True)]
        effects = decided(taken, known, holds)
    else:
        effects = [see(shopper, event, known, holds) for event, shopper in zip(events, (first, second), strict=True)]
    assert [decision(each) for each in effects] == [["given"], [NoCoupon.SOLD_OUT]]


def test_money_is_free_again_when_the_coupon_cannot_be_used_any_more() -> None:
    case = Case(knowledge(coupon("c1", budget_minor=100)))
    case.see(browse("t1"))
    assert decision(case.see(browse("t2", AT + 1))) == [NoCoupon.SOLD_OUT]
    case.wait(AT + 8 * DAY_S - 1)
    assert (decision(case.see(browse("t3", AT + 2))), case.money()) == ([NoCoupon.SOLD_OUT], (100, 0, 0))
    assert ("end", "expired") in case.wait(AT + 8 * DAY_S).facts
    assert decision(case.see(browse("t4", AT + 3))) == ["given"]
    case.listen(feedback("purchase", case.issues()[1].issue_id, AT + 4, discount_minor=60))
    assert case.money() == (260, 160, 60)
    assert decision(case.see(browse("t5", AT + 5))) == [NoCoupon.SOLD_OUT], "40 more may be reported"


TWO = (coupon("a"), coupon("b", discount_minor=90))
"""b is worth more: it takes off less."""


def test_what_is_sold_out_makes_way_for_the_next_best_which_has_its_chance() -> None:
    case = Case(knowledge(coupon("a"), coupon("b", discount_minor=90, stock=0)))
    effects = case.see(browse("t1"))
    [issue] = case.issues()
    assert (issue.coupon_id, issue.propensity, issue.is_explored) == ("a", 1.0, False)
    assert issue.value_minor == pytest.approx(WORTH - 0.5 * 100)
    [record] = records(case)
    assert (record.arms, record.best, record.sold_out) == (["a"], 0, ["b"])
    wanted, drawn = (case.purses.get(units_of(coupon_id)) for coupon_id in "ba")
    assert wanted is not None
    assert drawn is not None
    assert (wanted.wanted, drawn.wanted) == (1, 0), "what would have been given is wanted"
    assert [each.account_id for each in of_type(effects.messages, LeaseReport)] == [units_of("b")]


def test_of_what_is_sold_out_all_that_is_better_than_the_rest_is_wanted() -> None:
    case = Case(knowledge(*(coupon(name, discount_minor=90 + n, stock=0) for n, name in enumerate("abc"))))
    assert decision(case.see(browse("t1"))) == [NoCoupon.SOLD_OUT]
    assert (case.issues(), records(case), case.shopper.controls) == ([], [], {})
    assert {account_id for account_id, _ in case.purses.items()} == {units_of(name) for name in "abc"}


def test_what_is_worth_less_than_what_can_be_had_is_not_wanted() -> None:
    terms = [
        coupon(name, discount_minor=90 + n, stock=stock)
        for n, (name, stock) in enumerate(zip("abc", (0, 9, 0), strict=True))
    ]
    case = Case(knowledge(*terms))
    case.see(browse("t1"))
    assert [issue.coupon_id for issue in case.issues()] == ["b"]
    assert {account_id for account_id, purse in purses_of(case).items() if purse.wanted} == {units_of("a")}


@pytest.mark.parametrize("policy", [{"holdout_ratio": 1.0}, {"min_value_minor": 1e6}])
def test_who_would_be_given_nothing_wants_nothing(policy: dict[str, float]) -> None:
    case = Case(knowledge(coupon("a"), coupon("b", discount_minor=90, stock=0), rules=rules(**policy)))
    case.see(browse("t1"))
    assert purses_of(case) == {}
    assert {control.coupon_id for control in case.shopper.controls.values()} == {"a"}


def test_the_last_unit_is_given_once_to_whoever_comes_first() -> None:
    known, holds = knowledge(coupon("a"), coupon("b", discount_minor=90, stock=3)), wallet()
    events = [browse("t", user=f"u{n}") for n in range(9)]
    undecided = [take_in(event.user_id, Shopper(), event, known) for event in events]
    effects = decided(undecided, known, holds)
    given = [issue.coupon_id for each in effects for issue in of_type(each.messages, CouponIssue)]
    assert given == ["b"] * 3 + ["a"] * 6


@pytest.mark.parametrize(("is_sold_out", "propensity"), [(False, 0.25), (True, 1.0)])
def test_the_chance_of_what_exploring_drew_depends_on_what_could_be_had(is_sold_out: bool, propensity: float) -> None:
    explores = rules(exploration_ratio=0.5, key=DrawKey(b"draws"))
    case = Case(knowledge(coupon("a"), coupon("b", discount_minor=90), rules=explores))
    drawn = next(n for n in range(99) if decision(case.see(browse(f"t{n}"))) and case.issues()[n].coupon_id == "a")
    terms = coupon("b", discount_minor=90, stock=0 if is_sold_out else None)
    again = Case(knowledge(coupon("a"), terms, rules=explores))
    again.see(browse(f"t{drawn}"))
    [issue] = again.issues()
    assert (issue.coupon_id, issue.is_explored, issue.propensity) == ("a", True, propensity)
    assert again.shopper.issue(issue.issue_id).propensity == propensity


def records(case: Case) -> list[LoggedDecision]:
    return of_type(case.said, LoggedDecision)


def test_a_decision_is_on_record_once_with_its_arms_and_what_was_sold_out() -> None:
    terms = (
        coupon("a"),
        coupon("b", discount_minor=90),
        coupon("c", discount_minor=5000, max_discount_minor=5000),
        coupon("d", budget_minor=99),
    )
    case = Case(knowledge(*terms, rules=rules(min_value_minor=0.0)))
    case.see(browse("t1"))
    case.see(browse("t1"))
    [record], [issue] = records(case), case.issues()
    assert (record.decision_id, record.user_id, record.trigger_id) == (issue.issue_id, "u", "t1")
    assert (record.result, record.coupon_id, record.propensity) == ("given", "b", 1.0)
    assert (record.arms, record.best, record.tried, record.drawn) == (["a", "b", "c"], 1, [], None)
    assert (record.sold_out, record.model_version) == (["d"], issue.model_version)
    assert record.values_minor[1] == pytest.approx(issue.value_minor, abs=0.01)


def test_decisions_that_give_nothing_are_on_record_with_the_probability_of_that() -> None:
    poor = Case(knowledge(coupon("a"), rules=rules(min_value_minor=1e6, exploration_ratio=0.25, key=DrawKey(b"one"))))
    poor.see(browse("t1"))
    [record] = records(poor)
    assert (record.result, record.propensity, record.is_holdout) == ("not_worth_it", 0.75, False)
    assert (record.best, record.exploration_ratio) == (None, 0.25)
    held = Case(knowledge(coupon("a"), rules=rules(holdout_ratio=1.0)))
    held.see(browse("t1"))
    [record] = records(held)
    assert (record.result, record.propensity, record.best, record.is_holdout) == ("holdout", None, 0, True)


POLICIES: list[dict[str, Any]] = [
    {"exploration_ratio": 0.4},
    {"exploration_ratio": 0.4, "min_value_minor": 1e6},
    {"exploration_ratio": 0.4, "explored_candidates": 2, "control_ratio": 0.2},
    {"strategy": "random"},
]


@pytest.mark.long
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stocks", [(None, None, None, None), (None, 200, 0, 150), (80, 120, 40, 60)])
def test_every_arm_is_given_as_often_as_its_record_says_while_things_sell_out(
    policy: dict[str, Any], stocks: tuple[int | None, ...]
) -> None:
    """The sum of what was given less how likely it was is a martingale: it stays within a few standard deviations."""
    terms = [coupon(name, discount_minor=90 + n, stock=stocks[n]) for n, name in enumerate("abcd")]
    known, shared = knowledge(*terms, rules=rules(**policy, key=DrawKey(b"another"))), purses()
    holds, excess, variance = Wallet(shared, 0, 2), Counter[str](), Counter[str]()
    for first in range(0, 1500, 50):
        events = [browse("t", AT + first, user=f"u{n}") for n in range(first, first + 50)]
        taken = [take_in(event.user_id, Shopper(), event, known) for event in events]
        for effects in decided(taken, known, holds):
            for record in of_type(effects.messages, LoggedDecision):
                _count(record, excess, variance)
        if first % 500 == 0:  # what a partition may give grows now and then
            for account_id, purse in [each for each in shared.items() if isinstance(each[1], Purse)]:
                version, granted = purse.version + 1, purse.granted + 10
                holds.receive(Lease(account_id=account_id, partition=0, at=AT, version=version, granted=granted))
    assert variance
    for arm, spread in variance.items():
        assert abs(excess[arm]) <= 4 * spread**0.5 + 1e-6, arm


def _count(record: LoggedDecision, excess: Counter[str], variance: Counter[str]) -> None:
    """Add, for every arm, whether it was given less the probability of that; and how much that varies."""
    tried, total = record.tried or list(range(len(record.arms))), 0.0
    choice = Choice(None, False, record.best, tried, record.exploration_ratio, 0, record.control_ratio)
    for row, arm in [*enumerate(record.arms), (None, "none")]:
        chance = choice.propensity(row)
        excess[arm] += (record.coupon_id == arm) - chance  # type: ignore[assignment]
        variance[arm] += chance * (1 - chance)  # type: ignore[assignment]
        total += chance
        if arm == record.coupon_id:
            assert record.propensity == pytest.approx(chance, abs=1e-9)
    assert total == pytest.approx(1.0)


def test_chance_withholds_a_share_of_the_choices_and_watches_coupons_of_all_kinds() -> None:
    names = "abcdefgh"
    terms = [coupon(name, discount_minor=90 + n) for n, name in enumerate(names)]
    known = knowledge(*terms, rules=rules(control_ratio=1.0, holdout_controls=3))
    results, controls = Counter[str](), Counter[str]()
    for n in range(200):
        case = Case(known, f"u{n}")
        case.see(browse("t1", user=case.user))
        [record] = records(case)
        results[record.result] += 1
        if case.issues():
            continue
        assert record.result == "control"
        assert (record.propensity, record.control_ratio) == pytest.approx((1 / 3, 1 / 3), abs=1e-8)
        assert record.best == 0, "what would have been given"
        opened = case.shopper.controls.values()
        assert [each.coupon_id for each in opened if each.withheld] == ["a"]
        assert case.shopper.history.recent_issues == [record.at], "it counts towards the caps"
        assert not case.shopper.history.recent_withheld
        controls.update(each.coupon_id for each in opened)
    assert 45 < results["control"] < 90
    assert set(controls) == set(names)


def test_a_withheld_coupon_is_not_given_while_it_could_be_used_and_counts_towards_caps() -> None:
    held: dict[str, Any] = {"redeem_within_s": 2 * DAY_S, "not_while_held": "overlapping"}
    terms = coupon("a", categories=["tea"], **held), coupon("apart", categories=["ham"], **held)
    known = knowledge(*terms, rules=rules(control_ratio=1.0, max_issues_per_window=2))
    results = []
    for n in range(200):
        case = Case(known, f"u{n}")
        for days in (0, 1, 3):
            case.see(browse(f"t{days}", user=case.user, at=AT + days * DAY_S))
        made = [(one.result, one.arms) for one in records(case)]
        results.append([result for result, _ in made])
        assert [len(arms) for _, arms in made] == [2, 1], "the first is held, or withheld, and the cap counts both"
    assert {*map(tuple, results)} == {(one, other) for one in ("given", "control") for other in ("given", "control")}


def test_a_share_of_the_decisions_is_on_record() -> None:
    counts = []
    for ratio in (0.0, 0.3, 1.0):
        case = Case(knowledge(coupon("a"), rules=rules(holdout_ratio=1.0, decisions_logged_ratio=ratio)))
        for n in range(300):
            case.see(browse(f"t{n}", AT + n * DAY_S))
        assert {record.logged_ratio for record in records(case)} <= {ratio}
        counts.append(len(records(case)))
    assert counts[0] == 0
    assert counts[2] == 300
    assert 60 < counts[1] < 120


@pytest.mark.parametrize("cap", [1, 2])
def test_a_coupon_is_given_as_often_as_its_cap_allows(cap: int) -> None:
    case = Case(knowledge(coupon("c1", caps=for_life(cap))))
    for n in range(4):
        case.see(browse(f"t{n}", AT + n))
    assert len(case.issues()) == cap
    assert decision(case.see(browse("t9", AT + 9))) == [NoCoupon.NO_CANDIDATE]


@pytest.mark.parametrize("earlier_cap", [None, 5])
def test_a_cap_that_is_set_later_counts_what_was_given_before(earlier_cap: int | None) -> None:
    case = Case(knowledge(coupon("c1", caps=for_life(earlier_cap))))
    for n in range(2):
        case.see(browse(f"t{n}", AT + n))
    case.known = knowledge(coupon("c1", caps=for_life(2)))
    assert decision(case.see(browse("t8", AT + 8))) == [NoCoupon.NO_CANDIDATE]


@pytest.mark.parametrize(("waited_s", "outcome"), [(600.0, "given"), (600.1, NoCoupon.TIMED_OUT)])
def test_a_trigger_that_is_too_old_when_it_is_decided_leads_to_nothing(waited_s: float, outcome: str) -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(trigger_timeout_s=600.0, cooldown_s=HOUR_S)))
    assert decision(case.see(browse("t1"), Times(AT, AT + waited_s))) == [outcome]
    assert case.shopper.considered_at == (AT if outcome == "given" else None)
    assert len(case.issues()) == (outcome == "given")
    assert case.shopper.profile.last_event_at == AT, "it says what the shopper is like all the same"


@pytest.mark.parametrize(("waited_s", "outcome"), [(299.0, "given"), (300.0, NoCoupon.NO_CANDIDATE)])
def test_a_coupon_that_can_be_used_for_less_time_than_the_trigger_has_waited_is_not_given(
    waited_s: float, outcome: str
) -> None:
    case = Case(knowledge(coupon("c1", redeem_within_s=300.0)))
    assert decision(case.see(browse("t1"), Times(AT, AT + waited_s))) == [outcome]
    assert all(issue.expires_at > AT + waited_s for issue in case.issues())


@pytest.mark.parametrize(("waited_s", "outcome"), [(59.0, "given"), (60.0, NoCoupon.NO_CANDIDATE)])
def test_a_coupon_that_ended_before_the_decision_is_not_given(waited_s: float, outcome: str) -> None:
    case = Case(knowledge(coupon("c1", valid_until=AT + 60)))
    assert decision(case.see(browse("t1"), Times(AT, AT + waited_s))) == [outcome]


@pytest.mark.parametrize(("decided_at", "outcome"), [(21.9, "given"), (22.6, NoCoupon.QUIET_HOURS)])
def test_no_coupon_is_given_in_quiet_hours_that_began_before_the_decision(decided_at: float, outcome: str) -> None:
    midnight = AT - AT % DAY_S
    case = Case(knowledge(coupon("c1"), rules=rules(quiet_from_hour=22, quiet_until_hour=7)))
    at = midnight + 21.8 * HOUR_S
    assert decision(case.see(browse("t1", at), Times(at, midnight + decided_at * HOUR_S))) == [outcome]


@pytest.mark.parametrize(
    ("shop", "shopper", "outcome"),
    [
        ("UTC", None, "given"),
        ("Asia/Tokyo", None, NoCoupon.QUIET_HOURS),
        ("UTC", "Asia/Tokyo", NoCoupon.QUIET_HOURS),
        ("Asia/Tokyo", "UTC", "given"),
        ("Asia/Tokyo", "Bonn", NoCoupon.QUIET_HOURS),
    ],
)
def test_quiet_hours_are_on_the_shoppers_clock_or_else_on_that_of_the_shop(
    shop: str, shopper: str | None, outcome: str
) -> None:
    night = rules(quiet_from_hour=22, quiet_until_hour=7, shop=ShopRules(time_zone=shop))
    case = Case(knowledge(coupon("c1"), rules=night))
    noon = AT - AT % DAY_S + 14 * HOUR_S
    context = {} if shopper is None else {"time_zone": shopper}
    assert decision(case.see(browse("t1", noon, context=context))) == [outcome]


def test_an_event_that_is_too_old_for_a_coupon_counts_as_one_that_is_no_trigger() -> None:
    known, shoppers = knowledge(coupon("c1")), (Shopper(), Shopper())
    no_trigger = knowledge(coupon("c1"), rules=rules(triggers=frozenset()))
    for event in (browse("t1", AT, item("A")), cart("t2", AT, item("A")), order("t3", AT, item("A"))):
        times = Times(AT + DAY_S, AT + DAY_S)
        old = take_in("u", shoppers[0], event, known, times)
        plain = take_in("u", shoppers[1], event, no_trigger, times)
        assert told(old).messages == told(plain).messages
    assert shoppers[0] == shoppers[1] != Shopper()


def test_an_event_from_a_clock_that_is_ahead_gets_no_coupon_before_its_start() -> None:
    known = knowledge(coupon("c1", valid_from=AT + 22 * HOUR_S))
    ahead = browse("t1", AT + 23 * HOUR_S)
    for appended_at in (AT, AT + 22 * HOUR_S - 1):
        early = take_in("u", Shopper(), ahead, known, Times(appended_at))
        assert decision(told(early)) == [NoCoupon.NO_CANDIDATE]
    assert isinstance(take_in("u", Shopper(), ahead, known, Times(AT + 22 * HOUR_S)), Trigger)
    assert isinstance(take_in("u", Shopper(), ahead, known), Trigger), "where no clock is, events tell the time"


def test_an_event_from_a_clock_that_is_ahead_does_not_bar_the_shopper() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(cooldown_s=HOUR_S)))
    case.see(browse("t1", AT + 23 * HOUR_S), Times(AT, AT + 1))
    [issue] = case.issues()
    assert (issue.issued_at, issue.expires_at) == (AT, AT + 7 * DAY_S)
    assert case.shopper.history.recent_issues == [AT]
    assert decision(case.see(browse("t2", AT + 60), Times(AT + 60, AT + 61))) == [NoCoupon.COOLDOWN]
    assert decision(case.see(browse("t3", AT + HOUR_S), Times(AT + HOUR_S, AT + HOUR_S))) == ["given"]


def test_what_the_holdout_is_not_given_is_counted_by_the_same_clock() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(holdout_ratio=1.0)))
    case.see(browse("t1", AT + 23 * HOUR_S), Times(AT))
    assert case.shopper.history.recent_withheld == [AT]
    assert [(control.at, control.until) for control in case.shopper.controls.values()] == [(AT, AT + 7 * DAY_S)]


@pytest.mark.parametrize("kind", ["browse", "feedback"])
def test_events_of_two_topics_may_share_an_id(kind: str) -> None:
    case = Case()
    other = browse("1001") if kind == "browse" else feedback("click", "i-unknown", event_id="1001")
    case.listen(other) if isinstance(other, FeedbackEvent) else case.see(other)
    effects = case.see(order("1001", AT, item("A")))
    assert ("duplicate", "order") not in effects.facts
    assert case.shopper.profile.orders > 0


def test_two_triggers_of_one_id_lead_to_two_issues_of_different_ids() -> None:
    case = Case(knowledge(coupon("c1", stock=2)))
    case.see(browse("1001"))
    case.see(cart("1001", AT + 1))
    assert len({issue.issue_id for issue in case.issues()}) == case.units() == 2


def test_an_observed_issue_cannot_take_the_id_of_an_issue_of_ours() -> None:
    case = Case()
    case.see(browse("t1"))
    [issue] = case.issues()
    assert observe("u", case.shopper, observed(issue.issue_id), KNOWN).facts == [("duplicate", "observed")]
    case.wait(AT + 30 * DAY_S)
    assert observe("u", case.shopper, observed(issue.issue_id), KNOWN).facts == [("duplicate", "observed")]
    assert case.money() == (100, 100, 0)


@pytest.mark.parametrize("is_open", [True, False])
def test_a_trigger_whose_id_another_system_has_taken_leads_to_an_issue_and_frees_its_money_once(is_open: bool) -> None:
    case = Case()
    taken = issue_id("u", "browse", "t1")
    observe("u", case.shopper, observed(taken, at=AT, expires_at=AT + DAY_S), KNOWN)
    if not is_open:
        case.wait(AT + 9 * DAY_S)
    case.see(browse("t1", AT + 9 * DAY_S))
    assert [issue.issue_id for issue in case.issues()] == [taken]
    case.wait(AT + 30 * DAY_S)
    case.wait(AT + 60 * DAY_S)
    assert case.money() == (100, 100, 0)


def test_the_frequency_cap_holds_within_every_window() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(max_issues_per_window=2, issue_window_s=DAY_S)))
    for n in range(60):
        case.see(browse(f"t{n}", AT + n * HOUR_S))
    times = [issue.issued_at for issue in case.issues()]
    assert len(times) == 6
    for at in times:
        assert sum(at - DAY_S < other <= at for other in times) <= 2


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_who_has_had_enough_coupons_and_has_none_open_may_be_watched_without_one(ratio: float) -> None:
    caps = rules(max_issues_per_window=1, issue_window_s=30 * DAY_S, watched_ratio=ratio)
    case = Case(knowledge(coupon("a", stock=1), rules=caps))
    case.see(browse("t1"))
    assert decision(case.see(browse("t2", AT + 1))) == [NoCoupon.FREQUENCY_CAP]
    assert case.shopper.controls == {}, "one is open"
    case.wait(AT + 8 * DAY_S)
    assert decision(case.see(browse("t3", AT + 9 * DAY_S))) == [NoCoupon.FREQUENCY_CAP]
    assert [control.withheld for control in case.shopper.controls.values()] == [False] * int(ratio)
    assert (len(records(case)), case.units("a")) == (1, 1)


def test_late_triggers_do_not_slip_past_the_frequency_cap() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(max_issues_per_window=1, issue_window_s=DAY_S)))
    for n, at in enumerate([AT, AT - 2 * DAY_S, AT - HOUR_S, AT + HOUR_S]):
        case.see(browse(f"t{n}", at))
    assert [issue.issued_at for issue in case.issues()] == [AT]


def test_of_whom_enough_is_known_it_is_counted_whether_they_turn_to_something_else() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(cooldown_s=HOUR_S, min_value_minor=1e6)))

    def look(event_id: str, at: float, category: str) -> list[str]:
        effects = case.see(browse(event_id, at, item(category, category=category)))
        return [kind for noun, kind in effects.facts if noun == "interest"]

    assert [look(f"b{n}", AT + n, "tea") for n in range(12)] == [[]] * 12, (
        "at first little was known, then it is too soon"
    )
    assert look("t1", AT + HOUR_S, "tea") == ["familiar"]
    assert look("t2", AT + 2 * HOUR_S, "toys") == ["strange"]
    assert look("t3", AT + 3 * HOUR_S, "toys") == ["familiar"], "they cared for it before"
    assert look("t4", AT + 60 * DAY_S, "ties") == [], "what was known has faded"


def test_only_triggers_trigger() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(triggers=frozenset({"cart"}))))
    assert case.see(browse("t1", what=item("A"))).facts == []
    assert case.see(order("t2", AT, item("A"))).facts == []
    assert decision(case.see(cart("t3", what=item("A")))) == ["given"]
    assert case.shopper.profile.orders > 0


def test_another_domain_has_other_coupons_and_another_model() -> None:
    known = knowledge(
        coupon("c1"), coupon("flight", domain="travel"), scorers={"travel": FixedScorer(redeem=0.9, version=40)}
    )
    case = Case(known)
    case.see(browse("t1", domain="travel"))
    [issue] = case.issues()
    assert (issue.coupon_id, issue.domain, issue.model_version, issue.p_redeem) == ("flight", "travel", 40, 0.9)
    assert decision(Case(known).see(browse("t1", domain="finance"))) == [NoCoupon.NO_CANDIDATE]


def test_the_holdout_gets_nothing_and_is_compared() -> None:
    case = Case(knowledge(coupon("c1"), rules=rules(holdout_ratio=1.0)))
    assert decision(case.see(browse("t1"))) == [NoCoupon.HOLDOUT]
    assert (case.issues(), purses_of(case)) == ([], {})
    [control] = case.shopper.controls.values()
    assert (control.coupon_id, control.issue_id, control.until) == (
        "c1",
        issue_id("u", "browse", "t1"),
        AT + 7 * DAY_S,
    )
    case.wait(AT + 8 * DAY_S)
    [example] = of_type(case.said, TrainingExample)
    assert (example.head, example.label, example.coupon_id, example.withheld) == ("order", False, "c1", True)


def test_from_the_holdout_is_withheld_what_others_would_be_given_and_no_more() -> None:
    explores = {"exploration_ratio": 1.0, "key": DrawKey(b"draws the other")}
    given, held = (Case(knowledge(*TWO, rules=rules(holdout_ratio=ratio, **explores))) for ratio in (0.0, 1.0))
    given.see(browse("t1"))
    held.see(browse("t1"))
    [control] = [control for control in held.shopper.controls.values() if control.withheld]
    assert control.coupon_id == given.issues()[0].coupon_id == "a", "not the best, but the one drawn"
    poor = Case(knowledge(*TWO, rules=rules(holdout_ratio=1.0, min_value_minor=1e6)))
    assert decision(poor.see(browse("t1"))) == [NoCoupon.NOT_WORTH_IT]
    assert [control.withheld for control in poor.shopper.controls.values()] == [False]


@pytest.mark.long
def test_shoppers_whose_event_ids_are_the_same_counters_explore_at_different_ones() -> None:
    names = "abcdefgh"
    terms = [coupon(name, discount_minor=90 + n, items=[name]) for n, name in enumerate(names)]
    known = knowledge(*terms, rules=rules(exploration_ratio=0.5, holdout_controls=2))
    withholding = knowledge(*terms, rules=rules(holdout_ratio=1.0, holdout_controls=2))
    for event_id in ("1", "2"):
        given, controls = Counter[str](), Counter[str]()
        for n in range(400):
            case, held = Case(known, f"u{n}"), Case(withholding, f"u{n}")
            case.see(browse(event_id, user=case.user))
            given[case.issues()[0].coupon_id] += 1
            held.see(browse(event_id, user=held.user))
            controls.update(each.coupon_id for each in held.shopper.controls.values() if not each.withheld)
        best = given.most_common(1)[0][1]
        assert 0.5 < best / 400 < 0.75, "half are greedy, and some of the others draw the best"
        assert len(given) == len(names)
        assert len(controls) == len(names) - 1


def test_the_holdout_is_under_the_caps_of_others() -> None:
    terms = (coupon("a", caps=for_life(1)), coupon("b", discount_minor=90, caps=for_life(2)))
    caps = {"max_issues_per_window": 2, "cooldown_s": 0.0}
    times = [AT + n * DAY_S for n in (0, 1, 2, 3, 8, 9, 17)]
    given, held = (Case(knowledge(*terms, rules=rules(holdout_ratio=ratio, **caps))) for ratio in (0.0, 1.0))
    for at in times:
        given.see(browse(f"t{at}", at))
        held.see(browse(f"t{at}", at))
    issued = [(issue.coupon_id, issue.issued_at) for issue in given.issues()]
    assert len(issued) == 3, "all that their own caps allow"
    controls = [*held.shopper.controls.values()]
    withheld = [(control.coupon_id, control.at) for control in controls if control.withheld]
    told = [(each.coupon_id, each.decided_at) for each in of_type(held.said, TrainingExample) if each.withheld]
    assert sorted(told + withheld) == sorted(issued)
    assert len(controls) + len(of_type(held.said, TrainingExample)) > len(issued), (
        "what is beyond is watched all the same"
    )


def test_a_cap_that_is_set_later_counts_what_was_withheld_before_as_it_does_what_was_given() -> None:
    given, held = (Case(knowledge(coupon("a"), rules=rules(holdout_ratio=ratio))) for ratio in (0.0, 1.0))
    for n, cap in enumerate((None, None, 3, 3, 3)):
        for case in (given, held):
            case.known = Knowledge(case.known.rules, Catalogue([coupon("a", caps=for_life(cap))]), {}, FixedScorer())
            case.see(browse(f"t{n}", AT + n))
    withheld = [control.at for control in held.shopper.controls.values() if control.withheld]
    assert withheld == [issue.issued_at for issue in given.issues()] == [AT, AT + 1, AT + 2]


@pytest.mark.parametrize("orders", [None, "tea", "shoes"])
def test_of_a_control_whose_coupon_is_for_something_else_by_now_nothing_is_learnt(orders: str | None) -> None:
    case = Case(knowledge(coupon("c1", categories=["tea"]), rules=rules(holdout_ratio=1.0)))
    case.see(browse("t1"))
    before, case.known = case.known, knowledge(coupon("c1", categories=["shoes"]), rules=case.known.rules)
    if orders is not None:
        case.see(order("o1", AT + DAY_S, item("A", category=orders)))
        case.known = before  # what was ordered under the other scope stays unknown
    case.wait(AT + 8 * DAY_S)
    assert (of_type(case.said, TrainingExample), case.shopper.controls) == ([], {})


def test_an_edit_of_anything_but_its_scope_leaves_a_control_as_it_is() -> None:
    terms = {"items": ["A", "B"], "categories": ["tea"], "brands": ["x"]}
    case = Case(knowledge(coupon("c1", **terms), rules=rules(holdout_ratio=1.0)))
    case.see(browse("t1"))
    edited = coupon("c1", **(terms | {"items": ["B", "A"]}), title="New", discount_minor=50)
    case.known = knowledge(edited, rules=case.known.rules)
    case.see(order("o1", AT + DAY_S, item("A", category="tea", brand="x")))
    case.wait(AT + 8 * DAY_S)
    assert [example.label for example in of_type(case.said, TrainingExample)] == [True]


def test_the_holdout_shows_of_several_coupons_whether_they_are_needed() -> None:
    terms = [coupon(name, items=[name]) for name in "abcdef"]
    case = Case(knowledge(*terms, rules=rules(holdout_ratio=1.0, holdout_controls=4)))
    case.see(browse("t1"))
    controls = list(case.shopper.controls.values())
    assert 3 <= len({control.coupon_id for control in controls}) == len(controls) <= 4
    assert sum(control.withheld for control in controls) == 1
    again = Case(knowledge(*terms, rules=rules(holdout_ratio=1.0, holdout_controls=4)))
    again.see(browse("t1"))
    assert list(again.shopper.controls) == list(case.shopper.controls), "a replay watches the same"
    bought = controls[-1].coupon_id
    case.see(order("o1", AT + 60, item(bought)))
    case.wait(AT + 8 * DAY_S)
    told = {example.coupon_id: example.label for example in of_type(case.said, TrainingExample)}
    assert told == {control.coupon_id: control.coupon_id == bought for control in controls}


def test_what_is_not_worth_it_is_not_given_and_is_compared() -> None:
    known = knowledge(coupon("a"), coupon("b", discount_minor=90), rules=rules(min_value_minor=1e6))
    case = Case(known)
    assert decision(case.see(browse("t1"))) == [NoCoupon.NOT_WORTH_IT]
    assert [control.coupon_id for control in case.shopper.controls.values()] == ["b"]


@pytest.mark.parametrize("head", ["click", "redeem", "order"])
@pytest.mark.parametrize("policy", [{}, {"holdout_ratio": 1.0}, {"exploration_ratio": 1.0}])
def test_what_cannot_be_predicted_is_not_given_and_leaves_nothing_behind(head: str, policy: dict[str, float]) -> None:
    case = Case(knowledge(coupon("a"), coupon("b"), rules=rules(**policy), scorer=FixedScorer(**{head: math.nan})))
    assert decision(case.see(browse("t1"))) == [NoCoupon.NOT_FINITE]
    assert (case.issues(), dict(case.purses.items()), case.shopper.controls) == ([], {}, {})


def test_controls_are_bounded() -> None:
    known = knowledge(coupon("c1"), rules=rules(holdout_ratio=1.0, attribution=AttributionRules(max_open_controls=2)))
    case = Case(known)
    for n in range(5):
        case.see(browse(f"t{n}", AT + n))
    assert [control.at for control in case.shopper.controls.values()] == [AT + 3, AT + 4]


def test_the_order_itself_answers_an_open_control() -> None:
    case = Case(knowledge(coupon("c1", items=["A"]), rules=rules(holdout_ratio=1.0)))
    case.see(browse("t1"))
    case.see(order("o1", AT + 60, item("A")))
    case.wait(AT + 8 * DAY_S)
    assert [(example.head, example.label) for example in of_type(case.said, TrainingExample)] == [("order", True)]


@pytest.mark.parametrize("policy", [{}, {"holdout_ratio": 1.0}])
def test_the_rows_that_were_scored_are_kept(policy: dict[str, float]) -> None:
    case = Case(knowledge(*(coupon(name) for name in "abc"), rules=rules(**policy)))
    event = browse("t1", what=item("A", category="tea"), context={"weather": "rain"})
    undecided = take_in("u", case.shopper, event, case.known)
    assert isinstance(undecided, Trigger)
    coupons, profile = undecided.coupons, case.known.rules.profile
    moments = [Moment("u", case.shopper, AT, event.context, event)]
    chosen = [coupons.valid_from.argsort(kind="stable")]
    rows = extract(moments, coupons, chosen, profile)
    decided([undecided], case.known, case.wallet)
    kept = [case.shopper.issue(each) for each in case.shopper.issues] + [*case.shopper.controls.values()]
    assert len(kept) == (3 if policy else 1)
    for each in kept:
        stored, row = unpack(each.numeric, each.hashed), coupons.position[each.coupon_id]
        assert stored.numeric[0].tolist() == rows.numeric[row].tolist()
        assert stored.hashed[0].tolist() == rows.hashed[row].tolist()


@pytest.mark.long
@settings(max_examples=25, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 40), max_size=30), min_size=1, max_size=40), st.integers(1, 7))
def test_decisions_together_are_the_decisions_alone_to_the_last_bit(visits: list[list[int]], together: int) -> None:
    many = [
        coupon(f"c{n}", categories=[f"k{n % 9}"], brands=[f"b{n % 5}"] if n % 3 else [], stock=n % 7) for n in range(90)
    ]
    known = knowledge(*many, rules=rules(exploration_ratio=0.1, holdout_ratio=0.1))

    def undecided() -> list[Trigger]:
        found = []
        for number, seen in enumerate(visits):
            shopper = Shopper()
            for visit, n in enumerate(seen):
                what = item(f"i{n}", category=f"k{n % 9}", brand=f"b{n % 5}", price_minor=37 * n)
                take_in(f"u{number}", shopper, order(f"o{visit}", AT + visit, what), known)
            one = take_in(f"u{number}", shopper, browse("t", AT + 99, item("i1", category="k1")), known)
            assert isinstance(one, Trigger)
            found.append(one)
        return found

    def told(groups: list[list[Trigger]]) -> list[bytes]:
        holds = wallet()  # a few of each, so that they sell out on the way
        effects = [each for group in groups for each in decided(group, known, holds)]
        shoppers = [frozen(one.moment.shopper) for group in groups for one in group]
        return [msgspec.json.encode([each.messages, each.facts]) for each in effects] + shoppers

    alone, others = undecided(), undecided()
    groups = [others[n : n + together] for n in range(0, len(others), together)]
    assert told([[one] for one in alone]) == told(groups) == told([undecided()])


def test_many_decisions_about_coupons_for_many_items_are_those_alone_and_take_the_memory_of_a_few() -> None:
    many = [coupon(f"c{n}", items=[f"i{n}-{which}" for which in range(2000)]) for n in range(10)]
    known = knowledge(*many, rules=rules(exploration_ratio=0.1, holdout_ratio=0.1))

    def undecided() -> list[Trigger]:
        found = []
        for n in range(60):
            seen = browse("t", AT, item(f"i{n % 10}-{n}"), context={"weather": "rain"} if n % 4 else {})
            one = take_in(f"u{n}", Shopper(), seen, known)
            assert isinstance(one, Trigger)
            found.append(one)
        return found

    def told(effects: Sequence[Effects], group: Sequence[Trigger]) -> list[bytes]:
        shoppers = [frozen(one.moment.shopper) for one in group]
        return [msgspec.json.encode([each.messages, each.facts]) for each in effects] + shoppers

    alone, together = undecided(), undecided()
    one_by_one = told([decided([one], known, wallet())[0] for one in alone], alone)
    tracemalloc.start()
    effects = decided(together, known, wallet())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told(effects, together) == one_by_one
    # An array of all of them over all items has 9.6 MB, and there are more than a dozen.
    assert peak < 40e6


def test_same_events_and_knowledge_give_the_same_bytes() -> None:
    def told() -> list[bytes]:
        case = Case(knowledge(coupon("c1"), coupon("c2"), rules=rules(exploration_ratio=0.5, holdout_ratio=0.0)))
        for n in range(30):
            case.see(browse(f"t{n}", AT + n, item(f"i{n % 7}", category="tea")))
        return [*map(msgspec.json.encode, case.said), frozen(case.shopper)]

    assert told() == told()


def test_issue_ids_differ_by_shopper_kind_and_trigger() -> None:
    names = ["a", "b", "aa", "a:a", "1:a", "a\x1fa", ""]
    kinds = KINDS.values()
    ids = {issue_id(user, kind, trigger) for user in names for kind in kinds for trigger in names}
    assert len(ids) == len(kinds) * len(names) ** 2
    assert issue_id("u", "browse", "t") == issue_id("u", "browse", "t")


def test_events_of_the_end_of_time_make_messages_that_can_be_read() -> None:
    case = Case()
    case.see(browse("t1", 4_102_444_799.0))
    for message in case.said:
        assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message
    assert case.issues()


def with_cells(**changes: Any) -> Rules:
    return msgspec.structs.replace(rules(triggers=frozenset()), neighbourhood=NeighbourhoodRules(**changes))


def test_vectors_are_published_no_more_often_than_asked() -> None:
    case = Case(knowledge(rules=with_cells(publish_every_s=100.0)))
    for n in range(0, 300, 30):
        case.see(browse(f"t{n}", AT + n, item("A")))
    assert [vector.at for vector in of_type(case.said, UserVector)] == [AT, AT + 120, AT + 240]


def test_a_vector_holds_decayed_weights_damped() -> None:
    fading = msgspec.structs.replace(
        with_cells(cells=1, publish_every_s=0.0), profile=ProfileRules(half_life_s=14 * DAY_S)
    )
    case = Case(knowledge(rules=fading))
    case.see(order("o", AT, item("A")))
    case.see(browse("b", AT + 14 * DAY_S, item("B")))
    case.see(cart("c", AT + 14 * DAY_S, item("C")))
    vector = of_type(case.said, UserVector)[-1]
    assert vector.cell == case.shopper.cell == "ecommerce/0"
    assert sorted(vector.weights) == pytest.approx([1.0, 2.0, math.log2(1 + 5.0 * 2 ** (-14 / 180))], abs=1e-6)


def test_who_changes_cells_leaves_the_old_one() -> None:
    case = Case(knowledge(rules=with_cells(cells=16, publish_every_s=0.0)))
    cells = []
    for n in range(60):
        case.see(order(f"t{n}", AT + n * 90 * DAY_S, item(f"i{n}")))
        cells.append(case.shopper.cell)
    member_of: set[str] = set()
    for vector in of_type(case.said, UserVector):
        (member_of.add if vector.indices else member_of.discard)(vector.cell)
        assert len(member_of) <= 1
    assert len(set(cells)) > 4
    assert member_of == {cells[-1]}


def test_no_vector_is_published_for_a_domain_that_the_catalogue_does_not_know() -> None:
    case = Case(knowledge(coupon("c1"), rules=with_cells(cells=1, publish_every_s=60.0)))
    for n, domain in enumerate(("made-up", "ecommerce", "made-up", "ecommerce")):
        case.see(browse(f"t{n}", AT + 60.0 * n, item("A"), domain=domain))
    vectors = of_type(case.said, UserVector)
    assert [(vector.at, vector.cell) for vector in vectors] == [(AT + 60.0, "ecommerce/0"), (AT + 180.0, "ecommerce/0")]


def test_while_there_is_no_coupon_vectors_of_any_domain_are_published() -> None:
    case = Case(knowledge(rules=with_cells(cells=1)))
    case.see(browse("t1", AT, item("A"), domain="travel"))
    assert [vector.cell for vector in of_type(case.said, UserVector)] == ["travel/0"]


def asked(case: Case) -> list[UserVector]:
    return [vector for vector in of_type(case.said, UserVector) if is_category_bucket(vector.cell)]


def test_what_is_related_is_asked_no_more_often_than_it_may_be_and_by_categories_alone() -> None:
    case = Case(knowledge(rules=with_cells(related_every_s=100.0)))
    case.see(browse("t", AT - 1, item("A")))
    assert asked(case) == [], "no category is known"
    for n in range(0, 300, 30):
        case.see(browse(f"t{n}", AT + n, item(f"i{n}", category="tea", brand="x", price_minor=100)))
    assert [vector.at for vector in asked(case)] == [AT, AT + 120, AT + 240]
    assert {tuple(vector.indices) for vector in asked(case)} == {(feature_index("category:tea"),)}
    assert asked(case)[-1].weights == pytest.approx([math.log2(1 + 9)], abs=1e-3)


def test_who_turns_to_another_domain_leaves_the_bucket_of_the_one_before_unless_it_is_not_known() -> None:
    case = Case(knowledge(coupon("c1"), coupon("c2", domain="travel"), rules=with_cells(related_every_s=100.0)))
    for n, domain in enumerate(("ecommerce", "made-up", "travel", "travel")):
        case.see(browse(f"t{n}", AT + n, item("A", category="tea"), domain=domain))
    assert [(vector.cell, vector.has_left) for vector in asked(case)] == [
        ("ecommerce/categories-0", False),
        ("ecommerce/categories-0", True),
        ("travel/categories-0", False),
    ]


def test_an_unknown_catalogue_gives_nobody_anything() -> None:
    case = Case(Knowledge(rules(), Catalogue([]), {}, FixedScorer()))
    assert decision(case.see(browse("t1"))) == [NoCoupon.NO_CANDIDATE]
    assert case.shopper.considered_at is None


def test_a_minimum_spend_that_the_shopper_rarely_reaches_makes_a_coupon_worth_less() -> None:
    terms = coupon("any"), coupon("large", min_spend_minor=9000)
    case = Case(knowledge(*terms, rules=rules(redemption_worth_minor=500.0), scorer=prior()))
    for n in range(8):
        case.see(order(f"o{n}", AT + n, item("A", price_minor=2000)))
    case.see(browse("t", AT + DAY_S))
    [record] = of_type(case.said, LoggedDecision)
    worth = dict(zip(record.arms, record.values_minor, strict=True))
    assert worth["large"] < worth["any"]
    [issue] = case.issues()
    assert (issue.coupon_id, issue.min_spend_minor) == ("any", None)


def test_an_issue_states_the_minimum_spend() -> None:
    case = Case(knowledge(coupon("large", min_spend_minor=9000)))
    case.see(browse("t"))
    assert [issue.min_spend_minor for issue in case.issues()] == [9000]

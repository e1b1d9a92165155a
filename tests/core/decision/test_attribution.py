"""What came of a coupon: each outcome is learnt once, only of coupons that were given, only when it is known."""

import msgspec
import numpy as np
import pytest

from stream_coupons.core.decision import attribution
from stream_coupons.core.decision.open_issues import observe_order
from stream_coupons.core.decision.table import stored_row
from stream_coupons.core.effects import Booking, Effects
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, HASHED, SCHEMA, FeatureRows
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules, Rules, ShopRules
from stream_coupons.core.shopper.state import MAX_CLOSED, MAX_EARLY, OpenControl, OpenIssue, Shopper
from stream_coupons.testing import coupon, item
from tests.core.builders import AT, DAY_S, changes, feedback, for_life, knowledge, of_type, opened, order
from tests.core.builders import rules as every_rule

SHOP = ShopRules()
RULES = AttributionRules(early_feedback_s=DAY_S, max_open_controls=3)
KNOWN = knowledge(coupon("c1", categories=["tea"]), coupon("c2"), coupon("capped", caps=for_life(2)))
ROWS = FeatureRows(
    np.round(np.linspace(0, 3, len(NUMERIC)), 4)[None, :],
    np.arange(len(HASHED), dtype=np.uint32)[None, :] * (DIMENSIONS // len(HASHED)),
)
NUMBERS, PLACES, _ = stored_row(ROWS, 0, np.zeros(3))


UNTIL = AT + 7 * DAY_S
"""When the window of what is given, or not, at AT is over; the grace is a day more."""


def issue(issue_id: str = "i1", coupon_id: str = "c1", at: float = AT, observed: bool = False) -> OpenIssue:
    return OpenIssue(
        issue_id=issue_id,
        coupon_id=coupon_id,
        domain="ecommerce",
        at=at,
        expires_at=at + 8 * DAY_S,
        held_minor=0 if observed else 100,
        most_minor=0 if observed else 100,
        numeric=NUMBERS,
        hashed=PLACES,
        predicted=(0.1, 0.2, 0.3),
        propensity=0.9,
        model_version=5,
        observed=observed,
        feature_schema=SCHEMA,
        until=at + 7 * DAY_S,
    )


def control(issue_id: str = "i9", coupon_id: str = "c1", at: float = AT) -> OpenControl:
    return OpenControl(
        issue_id,
        coupon_id,
        "ecommerce",
        at,
        at + 7 * DAY_S,
        NUMBERS,
        PLACES,
        (0.1, 0.2, 0.3),
        5,
        feature_schema=SCHEMA,
        scope_mark=KNOWN.catalogue.scope_mark(coupon_id),
    )


class Case:
    """One shopper, and all that was said of them."""

    def __init__(self, rules: AttributionRules = RULES, shop: ShopRules = SHOP) -> None:
        self.rules = rules
        self.shop = shop
        self.known = KNOWN
        self.shopper = Shopper()
        self.examples: list[TrainingExample] = []
        self.bookings: list[Booking] = []
        self.ends: list[str] = []
        self.last = Effects()

    @property
    def _every_rule(self) -> Rules:
        return every_rule(attribution=self.rules, shop=self.shop)

    def _take(self, effects: Effects) -> Effects:
        self.examples += of_type(effects.messages, TrainingExample)
        self.bookings += effects.bookings
        self.ends += [kind for noun, kind in effects.facts if noun == "end"]
        self.last = effects
        return effects

    def give(self, given: OpenIssue) -> None:
        given.awaits_impressions = given.domain in self.rules.impression_domains
        effects = Effects()
        self.shopper.open_issue(given, KNOWN.catalogue.by_id)
        attribution.join_early(self.shopper, given.issue_id, KNOWN.catalogue, self._every_rule, effects)
        self._take(effects)

    def withhold(self, withheld: OpenControl) -> None:
        self.shopper.keep_control(withheld, self.rules.max_open_controls)

    def hear(self, event: FeedbackEvent) -> Effects:
        return self._take(attribution.join(self.shopper, event, KNOWN.catalogue, self._every_rule))

    def give_and_hear(self, event: FeedbackEvent, *, early: bool) -> None:
        """Give i1 and hear feedback, which may come first; what was said last is what it led to."""
        if early:
            self.hear(event)
        self.give(issue())
        if not early:
            self.hear(event)

    def order(self, at: float, *items: str, domain: str = "ecommerce") -> None:
        event = order("o", at, *(item(name, category="tea") for name in items), domain=domain)
        observe_order(self.shopper, event, self.known.catalogue)

    def wait(self, at: float) -> Effects:
        return self._take(attribution.close_windows("u", self.shopper, at, self.known.catalogue, self._every_rule))

    def booked(self) -> list[tuple[int, int]]:
        """Changes of what coupons hold and have spent."""
        return changes(self.bookings)

    def learnt(self) -> list[tuple[str, bool]]:
        return [(example.head, example.label) for example in self.examples]


@pytest.fixture
def case() -> Case:
    return Case()


CLOSED = AT + 8 * DAY_S
"""When the window of an issue given at AT, and its grace, are over."""


def test_those_who_were_given_a_coupon_are_followed_by_the_same_orders_as_those_who_were_not(case: Case) -> None:
    given, withheld = issue(), control()
    given.scope_mark = withheld.scope_mark = KNOWN.catalogue.scope_mark(given.coupon_id)
    case.give(given)
    case.withhold(withheld)
    for at in (AT - 1, AT + DAY_S, AT + 6 * DAY_S, AT + 7 * DAY_S + 1):
        case.order(at, "A")
    case.order(AT + DAY_S, "A", domain="other")
    case.hear(feedback("purchase", "i1", AT + DAY_S, discount_minor=40))
    case.wait(CLOSED)
    found = {
        example.head: (example.ordered, example.order_value_minor, example.discount_minor) for example in case.examples
    }
    price = case.examples[0].order_value_minor
    assert price
    assert found == {"click": (True, price, 40), "redeem": (True, price, 40), "order": (True, price, 0)}
    assert price == 2 * KNOWN.catalogue.value_of(item("A", category="tea"), KNOWN.catalogue.by_id[given.coupon_id])


def test_no_order_is_worth_more_than_a_message_can_say(case: Case) -> None:
    given = issue()
    given.scope_mark = KNOWN.catalogue.scope_mark(given.coupon_id)
    case.give(given)
    dear = item("A", category="tea", price_minor=2**53, quantity=1e6)
    for n in range(2):
        observe_order(case.shopper, order(f"o{n}", AT + DAY_S, dear), KNOWN.catalogue)
    msgspec.msgpack.encode(case.shopper)
    case.wait(CLOSED)
    assert {example.order_value_minor for example in case.examples} == {2**53}


def test_orders_of_an_issue_are_not_known_when_its_coupon_is_for_something_else_now(case: Case) -> None:
    given = issue()
    given.scope_mark = 1
    case.give(given)
    case.order(AT + DAY_S, "A")
    case.wait(CLOSED)
    assert {(example.ordered, example.order_value_minor) for example in case.examples} == {(None, None)}


def test_an_example_is_what_was_stored_when_the_decision_was_made(case: Case) -> None:
    case.give(issue())
    case.hear(feedback("click", "i1", AT + 60))
    case.wait(CLOSED + 5)
    example = case.examples[0]
    assert example.numeric == ROWS.numeric[0].tolist()
    assert example.hashed == ROWS.hashed[0].tolist()
    assert (example.predicted, example.propensity, example.model_version) == (0.1, 0.9, 5)
    assert (example.decided_at, example.at) == (AT, CLOSED + 5)
    assert (example.user_id, example.issue_id, example.coupon_id) == ("u", "i1", "c1")
    assert example.feature_schema == SCHEMA
    assert len({each.example_id for each in case.examples}) == len(case.examples) == 2


def test_an_example_says_of_which_features_it_is_not_which_are_those_of_today(case: Case) -> None:
    schema = "0123456789abcdef"
    case.give(msgspec.structs.replace(issue(), feature_schema=schema))
    case.give(msgspec.structs.replace(issue("i2", observed=True), feature_schema=schema))
    case.withhold(msgspec.structs.replace(control(), feature_schema=schema))
    case.wait(CLOSED)
    assert [(each.issue_id, each.feature_schema) for each in case.examples] == [
        *[("i1", schema)] * 2,
        *[("i2", schema)] * 2,
        ("i9", schema),
    ]


def test_nothing_is_learnt_until_the_window_has_closed_not_even_what_came(case: Case) -> None:
    case.give(issue())
    case.hear(feedback("click", "i1", AT + 1))
    case.hear(feedback("purchase", "i1", AT + 2))
    case.wait(CLOSED - 1)
    assert case.examples == []
    case.wait(CLOSED)
    assert case.learnt() == [("click", True), ("redeem", True)]


def test_a_click_counts_once(case: Case) -> None:
    case.give(issue())
    case.hear(feedback("click", "i1", AT + 1))
    assert case.last.facts == [("feedback", "click")]
    case.hear(feedback("click", "i1", AT + 2))
    assert case.last.facts == [("feedback", "repeated")]
    assert case.shopper.history.clicked == 1
    case.wait(CLOSED)
    assert case.learnt() == [("click", True), ("redeem", False)]


def test_a_purchase_counts_once_and_books_what_was_given_at_once(case: Case) -> None:
    case.give(issue())
    case.hear(feedback("purchase", "i1", AT + 1, discount_minor=30))
    case.hear(feedback("purchase", "i1", AT + 2, discount_minor=30))
    assert (case.ends, case.booked()) == (["redeemed"], [(-30, 30)])
    history = case.shopper.history
    assert (history.redeemed, history.by_coupon["c1"].redeemed, history.by_category["tea"].redeemed) == (1, 1, 1)


@pytest.mark.parametrize(("told", "spent"), [(None, 100), (0, 0), (99, 99), (5000, 100)])
def test_a_purchase_spends_what_it_says_but_never_more_than_the_most(case: Case, told: int | None, spent: int) -> None:
    case.give(issue())
    case.hear(feedback("purchase", "i1", discount_minor=told))
    assert case.booked() == ([(-spent, spent)] if spent else [])


@pytest.mark.parametrize(("told", "is_counted"), [(None, False), (100, False), (101, True)])
def test_a_purchase_that_took_off_more_than_the_most_is_counted(case: Case, told: int | None, is_counted: bool) -> None:
    case.give(issue())
    effects = case.hear(feedback("purchase", "i1", discount_minor=told))
    assert (("overrun", "ecommerce") in effects.facts) is is_counted


def test_what_a_coupon_of_others_took_off_is_not_ours_to_count(case: Case) -> None:
    case.give(issue(observed=True))
    assert case.hear(feedback("purchase", "i1", discount_minor=5000)).facts == [("feedback", "purchase")]


def test_the_window_of_a_redeemed_coupon_closes_without_another_word(case: Case) -> None:
    case.give(issue())
    case.hear(feedback("purchase", "i1"))
    case.wait(CLOSED)
    assert case.ends == ["redeemed"]
    assert ("redeem", False) not in case.learnt()


def test_a_window_that_closes_without_a_word_is_a_negative_and_gives_the_money_back(case: Case) -> None:
    case.give(issue())
    assert case.wait(CLOSED - 1).messages == []
    case.wait(CLOSED)
    assert case.learnt() == [("click", False), ("redeem", False)]
    assert (case.ends, case.booked()) == (["expired"], [(-100, 0)])
    assert case.shopper.issues == {}
    assert case.wait(CLOSED + DAY_S).messages == []


def test_who_bought_without_a_click_did_not_click(case: Case) -> None:
    case.give(issue())
    case.hear(feedback("purchase", "i1"))
    case.wait(CLOSED)
    assert case.learnt() == [("click", False), ("redeem", True)]


@pytest.mark.parametrize("kind", ["impression", "click", "expiry"])
def test_feedback_after_the_window_is_refused(case: Case, kind: str) -> None:
    case.give(issue())
    case.wait(CLOSED)
    learnt = case.learnt()
    effects = case.hear(feedback(kind, "i1", AT + DAY_S))
    assert [(refused.reason, refused.message) for refused in effects.refused] == [(Rejection.LATE, None)]
    case.wait(CLOSED + 9 * DAY_S)
    assert case.learnt() == learnt
    assert len(case.bookings) == 1


def test_early_feedback_waits_for_its_issue_and_then_counts(case: Case) -> None:
    case.hear(feedback("click", "i1", AT + 10))
    case.hear(feedback("purchase", "i1", AT + 20, discount_minor=40))
    assert len(case.shopper.early) == 2
    assert case.bookings == []
    case.give(issue())
    assert case.booked() == [(-40, 40)]
    assert case.shopper.early == []
    case.wait(CLOSED)
    assert case.learnt() == [("click", True), ("redeem", True)]


def test_early_feedback_joins_its_own_issue_only(case: Case) -> None:
    case.hear(feedback("click", "i1"))
    case.hear(feedback("click", "i2"))
    case.give(issue("i2"))
    assert case.shopper.issue("i2").clicked
    assert [early.event.issue_id for early in case.shopper.early] == ["i1"]


def test_forged_feedback_is_refused_when_time_has_passed_and_is_never_learnt(case: Case) -> None:
    forged = feedback("purchase", "never-issued", AT)
    case.hear(forged)
    assert case.shopper.next_due(RULES.grace_s) == AT + DAY_S
    assert case.wait(AT + DAY_S - 1).refused == []
    effects = case.wait(AT + DAY_S)
    assert [(refused.reason, refused.message) for refused in effects.refused] == [(Rejection.UNKNOWN_ISSUE, forged)]
    assert (case.examples, case.bookings, case.shopper.early) == ([], [], [])


def test_forgers_cannot_fill_the_state(case: Case) -> None:
    for n in range(MAX_EARLY):
        assert case.hear(feedback("click", f"forged-{n}")).refused == []
    effects = case.hear(feedback("click", "one-more"))
    assert [refused.reason for refused in effects.refused] == [Rejection.UNKNOWN_ISSUE]
    assert len(case.shopper.early) == MAX_EARLY


def test_without_patience_unknown_feedback_is_refused_at_once() -> None:
    effects = Case(AttributionRules(early_feedback_s=0.0)).hear(feedback("click", "i1"))
    assert [(refused.reason, refused.message) for refused in effects.refused] == [(Rejection.UNKNOWN_ISSUE, None)]


def test_feedback_that_names_another_coupon_is_refused_itself(case: Case) -> None:
    case.give(issue())
    effects = case.hear(feedback("purchase", "i1", coupon_id="c2"))
    assert [(refused.reason, refused.message) for refused in effects.refused] == [(Rejection.WRONG_COUPON, None)]
    assert case.bookings == []
    assert not case.shopper.issue("i1").redeemed
    case.hear(feedback("purchase", "i1", coupon_id="c1"))
    assert case.shopper.issue("i1").redeemed


def test_early_feedback_that_names_another_coupon_is_refused_when_the_issue_comes(case: Case) -> None:
    wrong = feedback("purchase", "i1", coupon_id="c2")
    case.hear(wrong)
    case.give(issue())
    assert [(refused.reason, refused.message) for refused in case.last.refused] == [(Rejection.WRONG_COUPON, wrong)]
    assert not case.shopper.issue("i1").redeemed


def test_an_impression_is_counted_once_and_is_no_outcome(case: Case) -> None:
    case.give(issue())
    assert case.hear(feedback("impression", "i1")).facts == [("feedback", "impression")]
    assert case.hear(feedback("impression", "i1", AT + 1)).facts == [("feedback", "repeated")]
    assert case.shopper.issue("i1").seen
    case.wait(CLOSED)
    assert case.learnt() == [("click", False), ("redeem", False)]


REPORTED = AttributionRules(early_feedback_s=DAY_S, impression_domains=frozenset({"ecommerce"}))
"""Here every impression is reported."""


def lessons(case: Case) -> list[tuple[str, bool]]:
    return [(example.head, example.label) for example in case.examples if example.is_lesson]


def test_where_impressions_are_reported_silence_on_what_was_never_seen_teaches_nothing() -> None:
    case = Case(REPORTED)
    case.give(issue())
    effects = case.wait(CLOSED)
    assert ("unseen", "ecommerce") in effects.facts
    assert [(each.head, each.label, each.seen) for each in case.examples] == [
        ("click", False, False),
        ("redeem", False, False),
    ]
    assert lessons(case) == []


def test_money_and_state_do_not_depend_on_impressions() -> None:
    cases = [Case(REPORTED), Case()]
    for case in cases:
        for n in range(3):
            case.give(issue(f"i{n}", at=AT + n))
        case.hear(feedback("purchase", "i1", discount_minor=30))
        case.hear(feedback("impression", "i2"))
        case.wait(CLOSED + 3)
    assert cases[0].bookings == cases[1].bookings
    assert cases[0].shopper == cases[1].shopper
    assert cases[0].ends == ["redeemed", "expired", "expired"]
    assert len(lessons(cases[0])) == 4 < len(lessons(cases[1])) == 6


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("impression", [("click", False), ("redeem", False)]),
        ("click", [("click", True), ("redeem", False)]),
        ("purchase", [("click", False), ("redeem", True)]),
    ],
)
def test_who_saw_clicked_or_bought_has_seen_it(kind: str, expected: list[tuple[str, bool]]) -> None:
    case = Case(REPORTED)
    case.give(issue())
    case.hear(feedback(kind, "i1"))
    assert ("unseen", "ecommerce") not in case.wait(CLOSED).facts
    assert lessons(case) == expected
    assert [example.seen for example in case.examples] == [True, True]


def test_an_impression_that_came_before_its_issue_counts() -> None:
    case = Case(REPORTED)
    case.hear(feedback("impression", "i1"))
    case.give(issue())
    case.wait(CLOSED)
    assert lessons(case) == [("click", False), ("redeem", False)]


def test_an_impression_of_another_coupon_or_after_the_window_makes_nothing_seen() -> None:
    case = Case(REPORTED)
    case.give(issue())
    wrong = case.hear(feedback("impression", "i1", coupon_id="c2"))
    case.wait(CLOSED)
    late = case.hear(feedback("impression", "i1", AT + DAY_S))
    assert [each.reason for each in (*wrong.refused, *late.refused)] == [Rejection.WRONG_COUPON, Rejection.LATE]
    assert lessons(case) == []


def test_an_impression_by_somebody_else_is_refused_and_makes_nothing_seen() -> None:
    case, other = Case(REPORTED), Case(REPORTED)
    case.give(issue())
    other.hear(feedback("impression", "i1"))
    assert [each.reason for each in other.wait(CLOSED).refused] == [Rejection.UNKNOWN_ISSUE]
    case.wait(CLOSED)
    assert lessons(case) == []


def test_an_observed_coupon_that_expires_unseen_teaches_nothing() -> None:
    case = Case(REPORTED)
    case.give(issue(observed=True))
    case.hear(feedback("expiry", "i1", AT + 60))
    assert ("unseen", "ecommerce") in case.wait(CLOSED).facts
    assert len(case.examples) == 2
    assert lessons(case) == []


def test_where_nothing_was_given_there_is_nothing_to_see() -> None:
    case = Case(REPORTED)
    case.give(issue(coupon_id=NO_COUPON, observed=True))
    case.withhold(control())
    case.wait(CLOSED)
    assert lessons(case) == [("order", False), ("order", False)]


@pytest.mark.parametrize(("then", "now"), [(RULES, REPORTED), (REPORTED, RULES)], ids=["begins", "ends"])
def test_what_was_given_before_a_channel_reports_or_is_closed_when_it_does_no_more_teaches_its_silence(
    then: AttributionRules, now: AttributionRules
) -> None:
    case = Case(then)
    case.give(issue("i1"))
    case.give(issue("i2"))
    case.hear(feedback("click", "i2"))
    case.rules = now
    assert ("unseen", "ecommerce") not in case.wait(CLOSED).facts
    assert [(each.head, each.label, each.seen) for each in case.examples] == [
        ("click", False, None),
        ("redeem", False, None),
        ("click", True, None),
        ("redeem", False, None),
    ]
    assert len(lessons(case)) == 4


def test_other_domains_learn_from_silence() -> None:
    case = Case(AttributionRules(impression_domains=frozenset({"travel"})))
    case.give(issue())
    case.wait(CLOSED)
    assert lessons(case) == [("click", False), ("redeem", False)]
    assert [example.seen for example in case.examples] == [None, None]


def test_observed_coupons_teach_and_free_no_money(case: Case) -> None:
    case.give(issue(observed=True))
    case.give(issue("i2", observed=True))
    case.hear(feedback("purchase", "i1"))
    case.wait(AT + 8 * DAY_S)
    assert case.bookings == []
    assert [example.observed for example in case.examples] == [True] * len(case.examples)
    assert case.learnt() == [("click", False), ("redeem", True), ("click", False), ("redeem", False)]


def test_history_counts_by_coupon_and_category(case: Case) -> None:
    for n, (coupon_id, observed) in enumerate([("c1", False), ("capped", False), ("capped", True), ("gone", False)]):
        case.give(issue(f"i{n}", coupon_id, AT + n, observed))
    history = case.shopper.history
    assert (history.issued, history.last_issued_at) == (4, AT + 3)
    assert {name: tally.issued for name, tally in history.by_coupon.items()} == {"c1": 1, "capped": 2, "gone": 1}
    assert {name: tally.issued for name, tally in history.by_category.items()} == {"tea": 1}


def test_coupons_fade_from_the_exposure_of_a_shopper(case: Case) -> None:
    assert case.shopper.history.exposures_at(AT) == (0.0, 0.0)
    for n, at in enumerate((AT, AT + DAY_S, AT + DAY_S / 2)):  # the last one is told late: it counts as now
        case.give(issue(f"i{n}", "c1", at, observed=True))
    history = case.shopper.history
    of_days, of_weeks = zip(*(history.exposures_at(AT + days * DAY_S) for days in (0.5, 1, 2, 4)), strict=True)
    assert of_days == (2.5, 2.5, 1.25, 0.3125)
    latest = 2.0 + 2.0 ** (-1 / 7)
    assert of_weeks == pytest.approx((latest, latest, latest * 2.0 ** (-1 / 7), latest * 2.0 ** (-3 / 7)))


@pytest.mark.parametrize("kind", ["impression", "click", "purchase"])
@pytest.mark.parametrize("waits", [False, True])
def test_feedback_from_long_before_its_issue_is_not_about_it(kind: str, waits: bool) -> None:
    case = Case()
    long_ago = feedback(kind, "i1", AT - DAY_S - 1)
    case.give_and_hear(long_ago, early=waits)
    [refused] = case.last.refused
    assert (refused.reason, refused.message) == (Rejection.INVALID, long_ago if waits else None)
    case.hear(feedback(kind, "i1", AT - DAY_S))
    assert case.last.facts[0] == ("feedback", kind)


def test_a_clock_that_is_behind_costs_no_feedback_where_none_waits() -> None:
    case = Case(AttributionRules(early_feedback_s=0.0))
    case.give(issue())
    case.hear(feedback("click", "i1", AT - 60))
    assert case.last.facts == [("feedback", "click")]


def test_an_order_in_scope_without_the_coupon_is_a_positive_of_the_control(case: Case) -> None:
    case.withhold(control())
    case.order(AT + DAY_S, "A")
    case.order(AT + 2 * DAY_S, "A")
    assert case.examples == []
    case.wait(CLOSED)
    assert case.learnt() == [("order", True)]
    assert (case.examples[0].predicted, case.examples[0].propensity) == (0.3, None)


@pytest.mark.parametrize(("at", "items"), [(AT - 1, "A"), (UNTIL + 1, "A"), (AT + 1, "")])
def test_an_order_outside_the_window_or_scope_says_nothing(case: Case, at: float, items: str) -> None:
    case.withhold(control())
    case.order(at, *items)
    case.wait(CLOSED)
    assert case.learnt() == [("order", False)]


@pytest.mark.parametrize(("at", "is_positive"), [(UNTIL - 1800, True), (UNTIL, True), (UNTIL + 1800, False)])
@pytest.mark.parametrize("comes_at", [UNTIL - 1, UNTIL + 3600])
def test_a_purchase_is_a_positive_of_an_issue_exactly_if_it_is_one_of_a_control(
    case: Case, at: float, comes_at: float, is_positive: bool
) -> None:
    case.withhold(control())
    case.give(issue())
    case.give(issue("x1", NO_COUPON, observed=True))
    case.wait(comes_at)
    case.order(at, "A")
    case.hear(feedback("purchase", "i1", at))
    case.hear(feedback("purchase", "x1", at))
    case.wait(CLOSED - 1)
    assert case.examples == []
    case.wait(CLOSED)
    labels = {(example.issue_id, example.head): example.label for example in case.examples}
    assert labels == {
        ("i1", "click"): False,
        ("i1", "redeem"): is_positive,
        ("x1", "order"): is_positive,
        ("i9", "order"): is_positive,
    }


def test_a_purchase_in_the_grace_is_booked_and_counted_but_a_negative_unless_one_in_time_comes_yet(case: Case) -> None:
    for issue_id in ("i1", "i2"):
        case.give(issue(issue_id))
        case.hear(feedback("purchase", issue_id, UNTIL + 1))
    case.hear(feedback("purchase", "i2", UNTIL))
    case.hear(feedback("purchase", "i2", UNTIL + 2))
    case.wait(CLOSED)
    assert (case.ends, case.booked()) == (["redeemed"] * 2, [(-100, 100)] * 2 + [(0, 0)] * 2)
    assert case.shopper.history.redeemed == 2
    assert [example.label for example in case.examples if example.head == "redeem"] == [False, True]


def test_what_was_kept_before_windows_had_an_end_of_their_own_learns_as_it_did(case: Case) -> None:
    before = msgspec.structs.astuple(issue())[: OpenIssue.__struct_fields__.index("until")]
    case.shopper.issues["i1"] = (CLOSED, msgspec.msgpack.encode(before))
    case.hear(feedback("purchase", "i1", UNTIL + 1))
    case.wait(CLOSED)
    assert case.learnt() == [("click", False), ("redeem", True)]


def test_an_order_of_another_domain_says_nothing_of_a_control(case: Case) -> None:
    case.withhold(control(coupon_id="c2"))  # for everything
    case.order(AT + 60, "flight", domain="travel")
    case.wait(CLOSED)
    assert [example.label for example in case.examples] == [False]


@pytest.mark.parametrize("orders", [True, False])
def test_of_a_control_whose_coupon_was_withdrawn_nothing_is_learnt(case: Case, orders: bool) -> None:
    case.withhold(control())
    case.known = knowledge(coupon("c2"))
    if orders:
        case.order(AT + 60, "A")
    case.wait(CLOSED)
    assert (case.examples, case.shopper.controls) == ([], {})


def test_the_oldest_control_makes_room_unlearnt(case: Case) -> None:
    for n in range(5):
        case.withhold(control(f"i{n}", at=AT + n))
    assert list(case.shopper.controls) == ["i2", "i3", "i4"]
    case.wait(AT + 9 * DAY_S)
    assert [example.issue_id for example in case.examples] == ["i2", "i3", "i4"]


def test_closed_issues_are_remembered_within_bounds(case: Case) -> None:
    for n in range(MAX_CLOSED + 5):
        case.give(issue(f"i{n}"))
    case.wait(AT + 8 * DAY_S)
    assert len(case.shopper.closed) == MAX_CLOSED


def test_the_next_deadline_is_that_of_whatever_ends_first(case: Case) -> None:
    assert case.shopper.next_due(RULES.grace_s) is None
    case.give(issue(at=AT + 5))
    assert case.shopper.next_due(RULES.grace_s) == AT + 5 + 8 * DAY_S
    case.withhold(control())
    assert case.shopper.next_due(RULES.grace_s) == CLOSED
    case.hear(feedback("click", "unknown", AT))
    assert case.shopper.next_due(RULES.grace_s) == AT + DAY_S


@pytest.mark.parametrize("withdrawn", [coupon("c1"), coupon("other")])
def test_outcomes_of_a_withdrawn_coupon_still_count(withdrawn: Coupon) -> None:
    shopper, catalogue = Shopper(), knowledge(withdrawn).catalogue
    shopper.open_issue(issue(), KNOWN.catalogue.by_id)
    effects = attribution.join(shopper, feedback("purchase", "i1"), catalogue, every_rule())
    assert changes(effects.bookings) == [(-100, 100)]


@pytest.mark.parametrize("early", [False, True])
def test_an_expiry_of_a_coupon_of_ours_is_refused_and_frees_no_money(early: bool) -> None:
    case = Case()
    forged = feedback("expiry", "i1", AT + 60, event_id="forged")
    case.give_and_hear(forged, early=early)
    refusals = [refused.reason for refused in case.last.refused]
    assert refusals == [Rejection.INVALID]
    assert (case.bookings, case.examples) == ([], [])
    assert case.shopper.issue("i1") == issue()
    case.hear(feedback("purchase", "i1", AT + 120))
    assert case.ends == ["redeemed"]


@pytest.mark.parametrize("when", ["early", "open", "closed"])
def test_the_money_of_feedback_is_in_the_currency_of_its_issue_whatever_domain_it_states(when: str) -> None:
    """A till may state no domain: its money is that of the coupon that it took."""
    case = Case(shop=ShopRules(currencies={"ecommerce": "EUR", "japan": "JPY"}))
    euros = feedback("purchase", "i1", AT + 60, "euros", discount_minor=18, currency="EUR")
    yen = feedback("purchase", "i1", AT + 61, "yen", discount_minor=18, currency="JPY")
    given = opened(domain="japan")
    if when == "early":
        case.hear(euros)
        assert not case.last.refused, "its issue is not known yet"
        case.give(given)
    else:
        case.give(given)
        if when == "closed":
            case.wait(CLOSED)
            case.bookings.clear()
        case.hear(euros)
    assert [one.reason for one in case.last.refused] == [Rejection.WRONG_CURRENCY]
    assert case.bookings == []
    case.hear(yen)
    assert not case.last.refused
    assert sum(one.after.spent_minor - one.before.spent_minor for one in case.bookings) == 18


def test_feedback_without_a_currency_or_on_a_domain_without_one_is_taken() -> None:
    case = Case(shop=ShopRules(currencies={"japan": "JPY"}))
    case.give(issue("i1"))
    case.give(opened(issue_id="i2", domain="japan"))
    case.hear(feedback("purchase", "i1", AT + 60, currency="EUR"))
    case.hear(feedback("purchase", "i2", AT + 60))
    assert case.ends == ["redeemed", "redeemed"]

"""Stand-ins for what a message lacks: each policy as it is stated, and nothing of the future in any of them."""

import math
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.decision.observation import observe
from stream_coupons.core.decision.pipeline import take_in
from stream_coupons.core.decision.table import Trigger
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent
from stream_coupons.core.rules import LabelPolicy, MissingPolicy, ProfileRules
from stream_coupons.core.shopper.imputation import LAST_CONTEXT_VALUES, fill_context, fill_labels, fill_number, remember
from stream_coupons.core.shopper.profile import Profile, decay, fold
from stream_coupons.core.shopper.state import OpenIssue, Shopper
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.testing import item
from tests.core.builders import AT, HOUR_S, browse, cart, knowledge, observed, of_type, order, rules, see
from tests.core.builders import repeatable as coupon

POLICIES: tuple[MissingPolicy, ...] = get_args(MissingPolicy)
TIMES, VALUES = [AT, AT + 10, AT + 20], [100.0, 200.0, 900.0]
FILLED: dict[MissingPolicy, float | None] = {
    "drop": None,
    "median": 200.0,
    "last": 900.0,
}
fast = settings(max_examples=150, derandomize=True)
series = st.lists(st.tuples(st.floats(0, 100).map(lambda at: round(at, 1)), st.integers(1, 10**6)), max_size=12)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_number_is_filled_as_the_policy_says(policy: MissingPolicy) -> None:
    assert fill_number(TIMES, VALUES, AT + 30, policy) == FILLED[policy]
    assert fill_number([], [], AT, policy) is None
    assert fill_number(TIMES, VALUES, AT - 1, policy) is None


@fast
@given(series, st.floats(0, 100), st.sampled_from(POLICIES), st.randoms(use_true_random=False))
def test_no_policy_uses_a_later_value_in_whatever_order_values_come(
    known: list[tuple[float, int]], at: float, policy: MissingPolicy, shuffler: Any
) -> None:
    def filled(values: list[tuple[float, int]]) -> float | None:
        times: list[float] = []
        kept: list[float] = []
        for when, value in values:
            remember(times, kept, when, float(value), 100)
        assert times == sorted(times)
        return fill_number(times, kept, at, policy)

    mixed = list(known)
    shuffler.shuffle(mixed)
    past = [each for each in mixed if each[0] <= at]
    assert filled(mixed) == filled(past)
    other = [each if each[0] <= at else (each[0] + 1, 1 + shuffler.randrange(10**6)) for each in mixed]
    assert filled(other) == filled(past)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("values", [[1.7e308, 1.7e308], [-1.7e308, 1.7e308], [-1.7e308, -1.7e308]])
@pytest.mark.parametrize("at", [AT + 10, AT + 11])
def test_a_stand_in_is_finite_or_there_is_none(policy: MissingPolicy, values: list[float], at: float) -> None:
    filled = fill_number([AT, AT + 10], values, at, policy)
    assert filled is None or math.isfinite(filled)


def test_the_earliest_values_are_forgotten_first() -> None:
    times: list[float] = []
    values: list[str] = []
    for at in (3.0, 1.0, 4.0, 2.0, 5.0):
        remember(times, values, at, f"at {at}", 3)
    assert (times, values) == ([3.0, 4.0, 5.0], ["at 3.0", "at 4.0", "at 5.0"])


# ------------------------------------------------------------ prices of a profile


@pytest.mark.parametrize("policy", POLICIES)
def test_a_late_order_is_filled_from_what_was_before_it(policy: MissingPolicy) -> None:
    rules = ProfileRules(missing_price=policy)
    early = [browse(at=AT, what=item("A", price_minor=100)), browse(at=AT + 10, what=item("A", price_minor=300))]
    late, later = order("o", AT + 15, item("B")), browse(at=AT + 20, what=item("A", price_minor=90_000))
    in_time, too_late = Profile(), Profile()
    for event in (*early, late, later):
        fold(in_time, event, rules)
    for event in (*early, later, late):
        fold(too_late, event, rules)
    assert (in_time.units, in_time.spend_minor) == (too_late.units, too_late.spend_minor)
    assert in_time.interests == too_late.interests
    assert (in_time.units > 0) is (policy != "drop")


# ------------------------------------------------------------ categories and brands


@pytest.mark.parametrize(
    ("policy", "item_id", "expected"),
    [
        ("drop", "A", None),
        ("same_item", "A", "tea"),
        ("same_item", "B", None),
        ("last", "A", "tea"),
        ("last", "B", "tea"),
    ],
)
def test_a_category_is_filled_from_the_last_item_that_had_one(
    policy: LabelPolicy, item_id: str, expected: str | None
) -> None:
    profile, rules = Profile(), ProfileRules(missing_category=policy)
    fold(profile, browse(at=AT, what=item("A", category="tea", brand="x")), rules)
    fold(profile, cart(at=AT + 1, what=item(item_id)), rules)
    weight = profile.category_interests.get(feature_index("category:tea"), 0.0) * decay(profile, AT + 1, rules)
    assert weight == pytest.approx(1.0 if expected is None else 4.0, rel=1e-5)
    assert feature_index("brand:x") in profile.finer_interests
    assert (profile.last_labels != {}) is (policy != "drop")


def test_an_order_with_a_filled_category_counts_there_in_habits_and_all() -> None:
    filled, whole = Profile(), Profile()
    rules = ProfileRules(missing_category="same_item", missing_brand="same_item")
    full = item("A", category="tea", brand="x")
    for profile, ordered in ((filled, item("A")), (whole, full)):
        fold(profile, browse(at=AT, what=full), rules)
        fold(profile, order("o", AT + 1, ordered), rules)
    assert msgspec.structs.replace(filled, last_labels={}) == msgspec.structs.replace(whole, last_labels={})


def test_a_label_is_not_filled_from_a_later_event_and_late_news_do_not_replace_newer() -> None:
    rules = ProfileRules(missing_category="last")
    known: dict[str, Any] = {}
    fill_labels(known, item("A", category="tea"), AT + 10, rules)
    assert fill_labels(known, item("B"), AT + 9, rules).category is None
    fill_labels(known, item("C", category="soap"), AT + 5, rules)
    assert fill_labels(known, item("B"), AT + 10, rules).category == "tea"


# ------------------------------------------------------------ contexts


def context_rules(*policies: str) -> ProfileRules:
    return ProfileRules(missing_context=frozenset(policies))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("context", [{"rain": None}, {}])
def test_a_number_of_the_context_is_filled_by_its_policy_and_flagged(
    policy: MissingPolicy, context: dict[str, None]
) -> None:
    known = {"rain": (list(TIMES), list(VALUES))}
    found = fill_context(known, context, AT + 30, context_rules(f"rain={policy}"))
    expected = {} if FILLED[policy] is None else {"rain": FILLED[policy]}
    assert found == expected | {"rain missing": True}
    assert fill_context(known, context, AT - 1, context_rules(f"rain={policy}")) == {"rain missing": True}


def test_texts_and_flags_are_filled_by_the_last_one() -> None:
    known: dict[str, Any] = {"channel": ([AT, AT + 1], ["app", "mail"]), "vip": ([AT, AT + 1], [True, False])}
    found = fill_context(known, {}, AT + 2, context_rules("channel=median", "vip=median"))
    assert found == {"channel": "mail", "channel missing": True, "vip": False, "vip missing": True}
    mixed: dict[str, Any] = {"n": ([AT, AT + 1, AT + 2], ["few", 4.0, 6.0])}
    assert fill_context(mixed, {}, AT + 3, context_rules("n=median")) == {"n": 5.0, "n missing": True}


def test_what_is_there_stays_and_so_does_what_is_not_named() -> None:
    known: dict[str, Any] = {"rain": ([AT], [2.0])}
    context = {"rain": 0.0, "wind": None, "vip": False}
    assert fill_context(known, context, AT + 1, context_rules("rain=last")) == context
    assert fill_context({}, context, AT, ProfileRules()) == context


def test_contexts_of_events_and_issues_are_remembered_within_bounds_and_only_if_named() -> None:
    shopper, known = Shopper(), knowledge(coupon("c1"), rules=rules(profile=context_rules("rain=last")))
    for n in range(20):
        see(shopper, browse(f"b{n}", AT + n, context={"rain": float(n), "wind": 1.0}), known)
    observe("u", shopper, observed("x1", at=AT + 30, context={"rain": 7.5}), known)
    assert shopper.profile.contexts.keys() == {"rain"}
    times, values = shopper.profile.contexts["rain"]
    assert len(times) == len(values) == LAST_CONTEXT_VALUES
    assert (times[-1], values[-1]) == (AT + 30, 7.5)


def test_decisions_and_observed_issues_see_the_filled_context() -> None:
    known = knowledge(coupon("c1"), rules=rules(profile=context_rules("rain=last")))
    plain = knowledge(coupon("c1"), rules=rules())
    first: BrowseEvent = browse("b1", AT, context={"rain": 3.0})

    def moment(context: dict[str, Any], with_rules: Any) -> Moment:
        shopper = Shopper()
        see(shopper, first, with_rules)
        undecided = take_in("u", shopper, browse("b2", AT + HOUR_S, context=context), with_rules)
        assert isinstance(undecided, Trigger)
        return undecided.moment

    assert moment({}, known).context == {"rain": 3.0, "rain missing": True}
    assert moment({}, plain).context == {}

    def features(context: dict[str, Any], with_rules: Any) -> OpenIssue:
        shopper = Shopper()
        see(shopper, first, with_rules)
        observe("u", shopper, observed("x1", at=AT + HOUR_S, context=context), with_rules)
        return shopper.issue("x1")

    told = features({"rain": 3.0, "rain missing": True}, plain)
    assert features({}, known).hashed == told.hashed != features({}, plain).hashed


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("least", [1.7e308, -1.7e308])
def test_the_greatest_numbers_of_a_context_do_not_keep_the_next_event_from_a_decision(
    policy: MissingPolicy, least: float
) -> None:
    shopper, known = Shopper(), knowledge(coupon("c1"), rules=rules(profile=context_rules(f"rain={policy}")))
    for n, rain in enumerate((least, 1.7e308)):
        see(shopper, browse(f"b{n}", AT + n, context={"rain": rain}), known)
    assert len(of_type(see(shopper, browse("b2", AT + 1), known).messages, CouponIssue)) == 1


@pytest.mark.parametrize("text", ["rain", "rain=mode", "=last", "r" * 57 + "=last"])
def test_a_policy_of_the_context_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="missing_context"):
        msgspec.convert({"missing_context": [text]}, ProfileRules)


def test_a_key_has_one_policy() -> None:
    with pytest.raises(msgspec.ValidationError, match="a key has two policies"):
        msgspec.convert({"missing_context": ["rain=last", "rain=median"]}, ProfileRules)
    rules = msgspec.convert({"missing_context": ["rain=last", "a=b=median"]}, ProfileRules)
    assert rules.context_policies == {"rain": "last", "a=b": "median"}

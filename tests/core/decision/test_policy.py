"""What a coupon is worth, who is left alone, and how likely each choice was."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.decision.policy import (
    choose,
    control_bounds,
    explored,
    is_holdout,
    is_over_frequency_cap,
    is_quiet,
    leading,
    standing_objection,
    withheld_ratio,
)
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.issue_counts import IssueCounts
from stream_coupons.core.shopper.state import History, Shopper
from tests.core.builders import AT, DAY_S, HOUR_S, rules

KEY, OTHER_KEY = DrawKey(b"one"), DrawKey(b"other")
TRIGGERS = [f"t{n}" for n in range(6000)]


def test_no_coupon_wins_when_nothing_is_worth_it() -> None:
    rules = PolicyRules(exploration_ratio=0.0, control_ratio=0.0, min_value_minor=0.0)
    choice = choose(np.array([-3.0, -1.0, 0.0]), "t", rules, KEY)
    assert (choice.row, choice.leader, choice.propensity(None), choice.best) == (None, None, 1.0, 2)


@pytest.mark.parametrize(
    ("worth", "row"), [([1.0, -1.0, 5.0, 5.0], 2), ([1.0, 4.0], 1), ([1.0, 3.0], None), ([1.0, 3.1], 1)]
)
def test_the_first_of_those_worth_most_is_given_if_it_is_worth_more_than_asked(
    worth: list[float], row: int | None
) -> None:
    rules = PolicyRules(exploration_ratio=0.0, control_ratio=0.0, min_value_minor=3.0)
    choice = choose(np.array(worth), "t", rules, KEY)
    assert (choice.row, choice.propensity(row)) == (row, 1.0)


CASES = [
    (PolicyRules(exploration_ratio=0.3), [5.0, 1.0, -2.0, 3.0]),
    (PolicyRules(exploration_ratio=0.3), [-5.0, -1.0, -2.0]),
    (PolicyRules(exploration_ratio=0.0), [1.0, 2.0]),
    (PolicyRules(exploration_ratio=1.0), [1.0, 2.0, 3.0]),
    (PolicyRules(exploration_ratio=0.3, explored_candidates=2), [5.0, 1.0, -2.0, 3.0]),
    (PolicyRules(exploration_ratio=0.3, explored_candidates=2), [-5.0, -1.0, -2.0]),
    (PolicyRules(strategy="random"), [5.0, 1.0, -2.0, 3.0]),
    (PolicyRules(exploration_ratio=0.3, control_ratio=0.2), [5.0, 1.0, -2.0, 3.0]),
]


@pytest.mark.parametrize("sold_out", [set(), {0}, {3}, {0, 1}])
@pytest.mark.parametrize(("rules", "worth"), CASES)
def test_what_is_given_is_as_frequent_as_its_propensity_says_whatever_is_sold_out(
    rules: PolicyRules, worth: list[float], sold_out: set[int]
) -> None:
    left = np.array([value for row, value in enumerate(worth) if row not in sold_out])
    if not len(left):
        return
    choices = [choose(left, trigger, rules, OTHER_KEY) for trigger in TRIGGERS]
    frequency = Counter(None if choice.is_withheld else choice.row for choice in choices)
    for row in (None, *range(len(left))):
        [propensity] = {choice.propensity(row) for choice in choices}
        error = (propensity * (1 - propensity) / len(TRIGGERS)) ** 0.5
        assert frequency[row] / len(TRIGGERS) == pytest.approx(propensity, abs=4 * error + 1e-9)


@pytest.mark.parametrize("priority", [[0, 1, 2, 1], [3, 1, 9, -1], [-1, -1, 0, -1]])
@pytest.mark.parametrize(("rules", "worth"), [case for case in CASES if len(case[1]) == 4])
def test_what_is_given_by_priority_is_as_frequent_as_its_propensity_says(
    rules: PolicyRules, worth: list[float], priority: list[int]
) -> None:
    net, level = np.array(worth), np.array(priority)
    choices = [choose(net, trigger, rules, OTHER_KEY, priority=level) for trigger in TRIGGERS]
    frequency = Counter(None if choice.is_withheld else choice.row for choice in choices)
    for row in (None, *range(4)):
        [propensity] = {choice.propensity(row) for choice in choices}
        error = (propensity * (1 - propensity) / len(TRIGGERS)) ** 0.5
        assert frequency[row] / len(TRIGGERS) == pytest.approx(propensity, abs=4 * error + 1e-9)
    if rules.strategy == "value":
        assert {choice.leader for choice in choices} == {leading(net, rules, level)}


@settings(max_examples=100, derandomize=True)
@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(-2, 2)), min_size=1, max_size=8))
def test_the_most_valuable_of_the_highest_priority_leads_among_those_worth_it(rows: list[tuple[float, int]]) -> None:
    rules, (worth, priority) = PolicyRules(), (np.array(column) for column in zip(*rows, strict=True))
    found = leading(worth, rules, priority)
    worth_it = [row for row in range(len(rows)) if worth[row] > rules.min_value_minor]
    assert found == max(worth_it, key=lambda row: (priority[row], worth[row], -row), default=None)
    assert leading(worth, rules, np.zeros_like(priority)) == leading(worth, rules)


@pytest.mark.parametrize(("rules", "worth"), CASES)
def test_the_propensities_of_all_rows_and_of_giving_none_sum_to_one(rules: PolicyRules, worth: list[float]) -> None:
    for trigger in TRIGGERS[:50]:
        choice = choose(np.array(worth), trigger, rules, OTHER_KEY)
        assert sum(choice.propensity(row) for row in (None, *range(len(worth)))) == pytest.approx(1.0)
        explores = OTHER_KEY.uniform("explore", trigger) < choice.epsilon
        assert choice.is_drawn == explores
        assert choice.is_drawn or choice.row == choice.leader
        is_low = OTHER_KEY.uniform("control", trigger) < rules.control_ratio
        assert choice.is_withheld == (is_low and choice.row is not None)
        assert choice.tried == explored(np.array(worth), rules)


@settings(max_examples=60, derandomize=True)
@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=6),
    st.floats(0, 1),
    st.text(max_size=5),
    st.sampled_from(["value", "random"]),
)
def test_a_choice_is_possible_and_always_the_same(
    worth: list[float], epsilon: float, trigger: str, strategy: str
) -> None:
    rules = PolicyRules(exploration_ratio=epsilon, strategy=strategy)  # type: ignore[arg-type]
    choice = choose(np.array(worth), trigger, rules, OTHER_KEY)
    assert 0 < choice.propensity(choice.row) <= 1
    assert choice.row in (None, *range(len(worth)))
    assert worth[choice.best] == max(worth)
    assert choose(np.array(worth), trigger, rules, OTHER_KEY) == choice


def test_the_more_a_sign_is_in_doubt_the_more_is_withheld_within_bounds() -> None:
    rules = PolicyRules(control_ratio=0.06, first_control_ratio=0.2)
    for is_first_week, most in ((True, 0.2), (False, 0.06)):
        ratios = [withheld_ratio(worth, 10.0, rules, is_first_week=is_first_week) for worth in (0.0, 4.0, 8.0, 99.0)]
        assert ratios == sorted(ratios, reverse=True)
        assert (ratios[0], ratios[-1]) == (pytest.approx(most), pytest.approx(most / 3.0))
        assert withheld_ratio(-4.0, 10.0, rules, is_first_week=is_first_week) == ratios[1]
    assert control_bounds(rules) == (pytest.approx(0.02), 0.2)
    assert withheld_ratio(0.0, 10.0, PolicyRules(control_ratio=0.0), is_first_week=True) == 0.0
    assert withheld_ratio(5.0, 0.0, rules, is_first_week=False) == pytest.approx(0.02)


def test_another_key_explores_at_other_triggers() -> None:
    rules = PolicyRules(exploration_ratio=0.5)
    worth = np.array([1.0, 9.0, 2.0])
    picks = [[choose(worth, t, rules, key).row for t in TRIGGERS[:50]] for key in (KEY, OTHER_KEY)]
    assert picks[0] != picks[1]


def test_the_holdout_is_as_large_as_asked_and_always_the_same() -> None:
    rules = PolicyRules(holdout_ratio=0.1)
    held = {user for user in TRIGGERS if is_holdout(user, rules, KEY)}
    assert len(held) / len(TRIGGERS) == pytest.approx(0.1, abs=0.015)
    assert held == {user for user in TRIGGERS if is_holdout(user, rules, KEY)}
    assert held != {user for user in TRIGGERS if is_holdout(user, rules, OTHER_KEY)}
    assert held < {user for user in TRIGGERS if is_holdout(user, PolicyRules(holdout_ratio=0.2), KEY)}
    assert not any(is_holdout(user, PolicyRules(holdout_ratio=0.0), KEY) for user in TRIGGERS)


@pytest.mark.parametrize(
    ("start", "end", "quiet"),
    [(22, 7, {22, 23, 0, 1, 2, 3, 4, 5, 6}), (9, 12, {9, 10, 11}), (0, 0, set()), (5, 5, set()), (0, 1, {0})],
)
def test_quiet_hours_include_their_start_and_pass_midnight(start: float, end: float, quiet: set[int]) -> None:
    rules = PolicyRules(quiet_from_hour=start, quiet_until_hour=end)
    midnight = AT // DAY_S * DAY_S
    assert {hour for hour in range(24) if is_quiet(midnight + hour * HOUR_S, rules)} == quiet
    assert {hour for hour in range(24) if is_quiet(midnight + (hour + 0.99) * HOUR_S, rules)} == quiet


RULES = rules(cooldown_s=100.0, max_issues_per_window=2, issue_window_s=1000.0)


@pytest.mark.parametrize(
    ("recent", "is_over"),
    [([], False), ([AT], False), ([AT, AT], True), ([AT - 1000, AT], False), ([AT - 999, AT - 1], True)],
)
def test_the_frequency_cap_counts_within_the_window(recent: list[float], is_over: bool) -> None:
    shopper = Shopper(history=History(recent_issues=recent))
    assert is_over_frequency_cap(recent, IssueCounts(), AT, RULES.policy) is is_over
    assert (standing_objection(shopper, AT, AT, RULES, {}) is NoCoupon.FREQUENCY_CAP) is is_over


def test_a_shopper_is_not_considered_twice_within_the_cooldown() -> None:
    shopper = Shopper(considered_at=AT)
    assert standing_objection(shopper, AT + 99.9, AT + 99.9, RULES, {}) is NoCoupon.COOLDOWN
    assert standing_objection(shopper, AT - 50.0, AT - 50.0, RULES, {}) is NoCoupon.COOLDOWN
    assert standing_objection(shopper, AT + 100.0, AT + 100.0, RULES, {}) is None


def test_quiet_hours_object() -> None:
    some = rules(quiet_from_hour=22, quiet_until_hour=7)
    midnight = AT // DAY_S * DAY_S
    night, noon, evening = midnight, midnight + 12 * HOUR_S, midnight + 21.9 * HOUR_S
    assert standing_objection(Shopper(), night, night, some, {}) is NoCoupon.QUIET_HOURS
    assert standing_objection(Shopper(), noon, noon, some, {}) is None
    assert standing_objection(Shopper(), evening, evening + 600.0, some, {}) is NoCoupon.QUIET_HOURS


def test_a_trigger_that_waited_too_long_is_timed_out_before_anything_else_is_said_of_it() -> None:
    some, shopper = rules(trigger_timeout_s=60.0, cooldown_s=100.0), Shopper(considered_at=AT)
    assert standing_objection(shopper, AT, AT + 60.0, some, {}) is NoCoupon.COOLDOWN
    assert standing_objection(shopper, AT, AT + 60.1, some, {}) is NoCoupon.TIMED_OUT

"""Policies valued on a log whose truth is known, and what is said of a log that cannot be trusted."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.randomised_log import (
    ARMS,
    CLICKS,
    ORDER_MINOR,
    PROPENSITIES,
    PURCHASES,
    Change,
    RandomisedLog,
    unchanged,
)
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.rules import PolicyRules
from stream_coupons.models.metrics import Interval
from stream_coupons.settings import Settings
from stream_coupons_lab.datasets import foreign
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions, decisions_of, missing_arms
from stream_coupons_lab.offline.progressive_run import run
from stream_coupons_lab.ope import policies
from stream_coupons_lab.ope.ope import Estimator, Logged
from stream_coupons_lab.ope.policies import ArmScores, Policy, parse
from stream_coupons_lab.ope.rewards import Reward, rewards
from stream_coupons_lab.ope.valuation import Question, ValuationReport, doubts, report, value

pytestmark = pytest.mark.slow

RULES = PolicyRules()


def decided(path: Path, source: RandomisedLog, change: Change = unchanged) -> LoggedDecisions:
    log = foreign.read(source.write(path, change))
    assert not log.refusals.count
    return decisions_of(run(log, Settings(), score_arms=True), log, RULES.typical_price_minor)


@pytest.fixture(scope="module")
def source() -> RandomisedLog:
    return RandomisedLog(2400, seed=1)


@pytest.fixture(scope="module")
def decisions(source: RandomisedLog, tmp_path_factory: pytest.TempPathFactory) -> LoggedDecisions:
    return decided(tmp_path_factory.mktemp("log") / "log.jsonl", source)


def is_near(interval: Interval, truth: float) -> bool:
    """Whether the truth is no more than 1.6 times as far off as the interval reaches: about three standard errors.

    Many values are compared on one log; that intervals hold the truth as often as they say is tried in test_ope.py.
    """
    reach = interval.value - interval.low if truth < interval.value else interval.high - interval.value
    return abs(truth - interval.value) <= 1.6 * reach


def by_name(found: ValuationReport) -> dict[str, Any]:
    return {each.policy: each for each in found.valued}


def truth_of(source: RandomisedLog, decisions: LoggedDecisions, target: np.ndarray, rates: np.ndarray) -> float:
    """What a policy's choices earn on average, from the hidden rates."""
    columns = np.array([ARMS.index(name) for name in decisions.names])[decisions.arm]
    return float((target * rates[source.taste[:, None], columns]).sum(axis=1).mean())


def test_decisions_are_those_of_the_log(source: RandomisedLog, decisions: LoggedDecisions) -> None:
    assert [decisions.names[arm] for arm in decisions.chosen_arm] == [ARMS[arm] for arm in source.arm]
    assert decisions.clicked.tolist() == source.clicked.tolist()
    assert decisions.purchased.tolist() == source.purchased.tolist()
    assert decisions.is_none[:, 0].all()
    assert not decisions.is_none[:, 1:].any()
    assert len(np.unique(decisions.shopper)) == len(np.unique(source.shopper))
    assert (decisions.order_value[decisions.purchased] == ORDER_MINOR).all()


@pytest.mark.parametrize(("reward", "rates"), [(Reward.CLICK, CLICKS), (Reward.PURCHASE, PURCHASES)])
def test_values_are_near_what_the_policies_truly_earn(
    source: RandomisedLog, decisions: LoggedDecisions, reward: Reward, rates: np.ndarray
) -> None:
    worth = rewards(decisions, reward, RULES).worth
    choices = ArmScores(decisions.names, decisions.arm, worth, decisions.is_arm)
    asked = [Policy("greedy"), Policy("epsilon", "0.3"), Policy("random")]
    asked += [Policy("always", arm) for arm in ARMS if reward is Reward.PURCHASE or arm != "none"]
    found = by_name(report(decisions, Question(reward, tuple(asked)), RULES))
    of_log = float((PROPENSITIES * rates)[source.taste].sum(axis=1).mean())
    for policy in asked:
        truth = truth_of(source, decisions, policies.target(policy, choices, RULES), rates)
        for estimator in Estimator:
            assert is_near(found[str(policy)].valuation.values[estimator], truth), (policy, estimator)
            assert is_near(found[str(policy)].valuation.gains[estimator], truth - of_log), (policy, estimator)
    greedy = found["greedy"].valuation
    assert all(greedy.gains[estimator].low > 0 for estimator in Estimator)
    if reward is Reward.PURCHASE:
        # What it has learnt is worth more than the best constant arm.
        assert greedy.values[Estimator.DR].value > found["always:tea"].valuation.values[Estimator.DR].value


def test_by_default_ours_is_valued_beside_the_logging_policy_random_and_every_arm(decisions: LoggedDecisions) -> None:
    found = report(decisions, Question(), RULES)
    names = [each.policy for each in found.valued]
    assert names[:4] == ["logged", "greedy", "epsilon", "random"]
    assert sorted(names[4:]) == ["always:none", "always:tea", "always:toys"]
    assert (found.decisions, found.arms) == (2400, 3)
    logged = found.valued[0].valuation
    assert {interval.value for interval in logged.values.values()} == {decisions.clicked.mean()}


def test_margin_ranks_as_the_live_policy_does(source: RandomisedLog, decisions: LoggedDecisions) -> None:
    found = rewards(decisions, Reward.MARGIN, RULES)
    assert found.worth[:, 1:].tolist() == decisions.worth[:, 1:].tolist()
    assert (found.worth[:, 0] == RULES.min_value_minor).all()
    gave_none = source.arm == 0
    assert found.reward[gave_none] == pytest.approx(600.0 * source.purchased[gave_none])
    assert found.reward[~gave_none] == pytest.approx(400.0 * source.purchased[~gave_none] - 2.0)
    target = policies.greedy(found.worth)
    earned = PURCHASES * [600, 400, 400] - [0, 2, 2]
    valued = report(decisions, Question(Reward.MARGIN, (Policy("greedy"),)), RULES).valued[0].valuation
    for estimator in Estimator:
        assert is_near(valued.values[estimator], truth_of(source, decisions, target, earned))


def test_order_values_that_are_missing_are_filled_and_said(decisions: LoggedDecisions) -> None:
    value = decisions.order_value.copy()
    value[int(decisions.purchased.argmax())] = np.nan
    assert rewards(with_changes(decisions, order_value=value), Reward.MARGIN, RULES).notes == [
        "1 purchases have no order_value_minor: they count as the coupon's typical price"
    ]


def with_changes(decisions: LoggedDecisions, **changed: np.ndarray) -> LoggedDecisions:
    return dataclasses.replace(decisions, **changed)  # type: ignore[arg-type]


def test_nothing_given_is_clicked_as_often_as_it_was_known_to_be(decisions: LoggedDecisions) -> None:
    clicked = decisions.clicked | (decisions.is_none[np.arange(2400), decisions.chosen] & (np.arange(2400) % 2 == 0))
    found = rewards(with_changes(decisions, clicked=clicked), Reward.CLICK, RULES)
    assert found.predicted[0, 0] == 0.0
    assert found.predicted[-1, 0] == pytest.approx(0.5, abs=0.05)


def test_uplift_is_found_where_it_is(source: RandomisedLog, decisions: LoggedDecisions) -> None:
    found = report(decisions, Question(Reward.PURCHASE), RULES)
    drawn, best = found.effects[:2]
    assert (drawn.controls, drawn.treated) == ((source.arm == 0).sum(), (source.arm > 0).sum())
    share = np.mean(source.taste)
    effects = PURCHASES[:, 1:] - PURCHASES[:, :1]
    assert is_near(drawn.uplift.mean, float(np.average(effects.mean(axis=1), weights=[1 - share, share])))
    assert best.uplift.mean.low > drawn.uplift.mean.value
    assert best.treated < drawn.treated
    assert len(best.uplift.curve.share) <= 101
    # A click needs a coupon: nobody clicks without one, so the uplift is the rate of clicks.
    clicks = report(decisions, Question(Reward.CLICK), RULES).effects[0].uplift
    assert is_near(clicks.mean, float(np.average(CLICKS[:, 1:].mean(axis=1), weights=[1 - share, share])))


def test_without_a_control_there_is_no_uplift(decisions: LoggedDecisions) -> None:
    gave = decisions.at_rows(decisions.chosen > 0)
    assert report(gave, Question(), RULES).effects == []


def test_skipped_decisions_are_learnt_from_and_not_valued(decisions: LoggedDecisions) -> None:
    found = report(decisions, Question(skip_ratio=0.75), RULES)
    assert found.decisions == 600
    assert found.valued[0].valuation.values[Estimator.IPS].value == decisions.clicked[1800:].mean()


def test_decisions_without_a_propensity_are_left_out_and_counted(decisions: LoggedDecisions) -> None:
    propensity = decisions.propensity.copy()
    propensity[::4] = np.nan
    found = report(with_changes(decisions, propensity=propensity), Question(), RULES)
    assert found.decisions == 1800
    assert found.warnings[0].startswith("600 of 2400 decisions have no propensity and are left out")
    with pytest.raises(BadConfig, match="no decision of the log has a propensity"):
        report(with_changes(decisions, propensity=np.full(2400, np.nan)), Question(), RULES)


def test_wrong_propensities_are_noticed(decisions: LoggedDecisions) -> None:
    found = report(with_changes(decisions, propensity=decisions.propensity * 0.8), Question(), RULES)
    assert any(text.startswith("random: the mean weight is 1.2") for text in found.warnings)
    right = report(decisions, Question(), RULES)
    assert not any("mean weight" in text for text in right.warnings)


def test_arms_that_were_never_chosen_are_noticed(decisions: LoggedDecisions) -> None:
    never = decisions.at_rows(decisions.chosen_arm != decisions.names.index("toys"))
    found = report(never, Question(), RULES)
    assert "always:toys" not in by_name(found)
    assert by_name(found)["random"].unsupported == pytest.approx(1 / 3)
    assert any(text.startswith("random: 33.3% of its choices are arms that the log never") for text in found.warnings)
    [toys] = report(never, Question(policies=(Policy("always", "toys"),)), RULES).valued
    assert toys.unsupported == pytest.approx(1.0)


def test_a_constant_arm_is_chosen_where_it_could_be_else_none() -> None:
    arm = np.array([[0, 1, -1], [0, -1, -1], [2, -1, -1]])
    choices = ArmScores(("none", "toys", "tea"), arm, np.zeros(arm.shape), arm >= 0)
    found = policies.target(Policy("always", "toys"), choices, RULES)
    assert found.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    # A decision that could have neither does not count.
    logged = Logged(
        np.arange(3), np.array([1, 0, 0]), np.array([0.5, 1.0, 0.5]), np.array([1.0, 0, 1]), np.zeros((3, 3))
    )
    [valued] = [value(Policy("always", "toys"), choices, logged, RULES, arm >= 0)]
    assert valued.valuation.diagnostics.decisions == 2
    assert [doubt for doubt in doubts(valued, "unknown") if doubt.startswith("always:toys: rests on")]


def test_issues_without_arms_are_left_out_and_a_log_of_such_alone_is_refused(tmp_path: Path) -> None:
    def without_arms(count: int) -> foreign.ForeignLog:
        def change(issue: dict[str, Any]) -> None:
            if int(issue["issue_id"][1:]) < count:
                del issue["arms"]

        return foreign.read(RandomisedLog(30).write(tmp_path / "log.jsonl", change))

    assert missing_arms(without_arms(0)) == []
    some = without_arms(12)
    assert missing_arms(some) == ["12 of 30 issues name no arms and are left out"]
    scored = run(some, Settings(), score_arms=True)
    known = sum(bool(one.arms) and one.labelled_at is not None for one in scored)
    assert len(decisions_of(scored, some, RULES.typical_price_minor)) == known > 0
    with pytest.raises(BadConfig, match="no issue of the log names its arms"):
        missing_arms(without_arms(30))


def test_open_windows_are_left_out_and_without_an_outcome_nothing_is_valued(tmp_path: Path) -> None:
    def change(issue: dict[str, Any]) -> None:
        issue["expires_at"] = issue["occurred_at"] + (10 * 86400.0 if issue["issue_id"] != "i3" else 60.0)

    assert len(decided(tmp_path / "log.jsonl", RandomisedLog(30), change)) == 1
    log = foreign.read(tmp_path / "log.jsonl")
    scored = [each for each in run(log, Settings(), score_arms=True) if each.issue_id != "i3"]
    with pytest.raises(BadConfig, match="before the window of any of its 29 issues"):
        decisions_of(scored, log, RULES.typical_price_minor)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("best", "there is no policy 'best', expected one of logged, greedy"),
        ("always", "there is no policy 'always'"),
        ("always:tee", "the log has no arm 'tee', expected one of none, tea, toys"),
        ("random:1", "there is no policy 'random:1'"),
        ("greedy:x", "'x', expected a number from -inf to inf"),
        ("epsilon:2", "'2', expected a number from 0 to 1"),
        ("epsilon:hot", "'hot', expected a number"),
    ],
)
def test_a_policy_that_does_not_exist_is_refused(text: str, named: str) -> None:
    with pytest.raises(BadConfig, match=named):
        parse(text, set(ARMS))

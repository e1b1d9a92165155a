"""A policy from another package decides by probabilities; money and events are out of its reach."""

import logging
from collections import Counter
from typing import Any

import numpy as np
import pytest

from stream_coupons.core.decision.policy_plugin import Offer, load_policy, shares
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.effects import Effects
from stream_coupons.core.errors import BadConfig, PluginError
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.ops.explain.candidate_verdicts import CandidateVerdicts, consider
from stream_coupons.settings import Settings
from stream_coupons.testing import coupon
from stream_coupons_lab.ope.own_decisions import arrays
from tests.core.builders import AT, FixedScorer, browse, knowledge, of_type, purses, rules, see

from .packages import POLICIES, install

SOFTMAX = "softmax"
TERMS = [coupon("a"), coupon("b", discount_minor=150), coupon("sold-out", stock=0), coupon("poor", budget_minor=1)]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, POLICIES)


def known(strategy: str, **policy: Any) -> Knowledge:
    return knowledge(*TERMS, rules=rules(strategy=strategy, key=DrawKey(b"plugins"), **policy), scorer=FixedScorer())


def decide(known: Knowledge, count: int = 1) -> list[Effects]:
    """The effects of one event of each of some shoppers, who share the purses of a partition."""
    wallet = Wallet(purses(), 0, 1)
    return [see(Shopper(), browse("t", AT, user=f"u{n}"), known, wallet) for n in range(count)]


def records(effects: list[Effects]) -> list[LoggedDecision]:
    return [record for one in effects for record in of_type(one.messages, LoggedDecision)]


def results(effects: Effects) -> list[str]:
    return [kind for noun, kind in effects.facts if noun == "decision"]


def offer(strategy: str, size: int = 2) -> Offer:
    values = np.linspace(10.0, 20.0, size)
    ids = [f"c{n}" for n in range(size)]
    return Offer("u", "ecommerce", AT, ids, np.zeros((size, 3)), values, np.zeros(size), PolicyRules(strategy=strategy))


@pytest.mark.parametrize(
    ("strategy", "temperature"), [(SOFTMAX, 20), ("shop_policies:Softmax", 20), ("shop_policies:gentle", 100)]
)
def test_it_is_an_entry_point_or_an_import_path_of_a_class_or_an_object(strategy: str, temperature: float) -> None:
    [low, high, none] = shares(offer(strategy))
    assert [low / none, high / none] == pytest.approx([np.exp(10 / temperature), np.exp(20 / temperature)])


def test_each_arm_is_given_as_often_as_its_propensity_says() -> None:
    """The count of what is given less its expectation stays within four standard deviations."""
    excess, variance = Counter[str](), Counter[str]()
    decided = records(decide(known(SOFTMAX, control_ratio=0.3), 1500))
    for record in decided:
        assert record.arms == ["a", "b"], "what is sold out, or cannot be paid for, is offered"
        kept = 1.0 - record.control_ratio
        chances = dict(zip(record.arms, (kept * share for share in record.shares), strict=False))
        chances["none"] = record.control_ratio + kept * record.shares[-1]
        assert sum(chances.values()) == pytest.approx(1.0)
        assert record.propensity == pytest.approx(chances[record.coupon_id], abs=1e-8)
        for arm, chance in chances.items():
            excess[arm] += (record.coupon_id == arm) - chance  # type: ignore[assignment]
            variance[arm] += chance * (1.0 - chance)  # type: ignore[assignment]
    assert len(decided) == 1500
    assert set(variance) == {"a", "b", "none"}
    for arm, spread in variance.items():
        assert abs(excess[arm]) <= 4 * spread**0.5, arm


def test_the_issue_has_the_propensity_of_the_record_and_a_repeated_event_gets_the_same() -> None:
    first, second = decide(known(SOFTMAX), 50), decide(known(SOFTMAX), 50)
    assert [one.messages for one in first] == [one.messages for one in second]
    for one in first:
        [record], issues = records([one]), of_type(one.messages, CouponIssue)
        assert len(issues) == (record.result == "given")
        for issue in issues:
            assert (issue.coupon_id, issue.propensity) == (record.coupon_id, record.propensity)
            assert issue.is_explored


def test_its_propensities_are_those_that_other_policies_are_valued_by() -> None:
    found = arrays(records(decide(known(SOFTMAX), 40)), "ecommerce", AT + 1)
    assert found.logging.sum(axis=1) == pytest.approx(np.ones(40))
    assert found.propensity == pytest.approx(
        [record.propensity for record in records(decide(known(SOFTMAX), 40))], abs=1e-8
    )


def test_the_holdout_gets_nothing_from_it() -> None:
    [effects] = decide(known(SOFTMAX, holdout_ratio=1.0))
    assert of_type(effects.messages, CouponIssue) == []
    assert records([effects])[0].is_holdout


def test_an_explanation_has_its_propensities() -> None:
    context = known(SOFTMAX)
    coupons = context.catalogue.domains["ecommerce"]
    moment = Moment("u", Shopper(), AT, {}, browse("t"))
    verdicts = CandidateVerdicts(consider(moment, "ecommerce", coupons, Wallet(purses(), 0, 1), context))
    scores = [verdicts.verdict(position, None).score for position in range(len(coupons))]
    assert 0.0 < sum(score.propensity for score in scores if score is not None) < 1.0
    assert verdicts.leader is None


FAILURES = {
    "shop_policies:Fails": "raised LookupError: no table of segments",
    "shop_policies:Tampers": "assignment destination is read-only",
    "shop_policies:too_few": r"expected 3 probabilities with sum 1",
    "shop_policies:too_many": "with sum 1",
    "shop_policies:negative": "with sum 1",
    "shop_policies:no_numbers": "raised ValueError",
}


@pytest.mark.parametrize(("strategy", "message"), FAILURES.items(), ids=FAILURES)
def test_a_failure_gives_no_coupon_and_counts_the_event(
    strategy: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PluginError, match=message):
        shares(offer(strategy))
    with caplog.at_level(logging.ERROR):
        [effects] = decide(known(strategy))
    assert results(effects) == [NoCoupon.POLICY_FAILED]
    assert of_type(effects.messages, CouponIssue) == records([effects]) == []
    assert strategy in caplog.text


def test_after_a_failure_the_next_trigger_of_the_shopper_is_decided() -> None:
    shopper, wallet = Shopper(), Wallet(purses(), 0, 1)
    assert results(see(shopper, browse("t1"), known("shop_policies:Fails"), wallet)) == [NoCoupon.POLICY_FAILED]
    always = known("shop_policies:always_b")
    [issue] = of_type(see(shopper, browse("t2"), always, wallet).messages, CouponIssue)
    assert (issue.coupon_id, issue.propensity) == ("b", 1.0)


WRONG = {
    "shop_policies:Answers": "cannot be made: TypeError.*answer",
    "collections:OrderedDict": "is a OrderedDict without probabilities: expected the interface",
}


@pytest.mark.parametrize(("strategy", "message"), WRONG.items(), ids=WRONG)
def test_a_policy_that_cannot_be_made_stops_a_worker_at_its_start(strategy: str, message: str) -> None:
    with pytest.raises(BadConfig, match=rf"policy\.strategy: .*{message}"):
        Settings(policy=PolicyRules(strategy=strategy)).rules(DrawKey(b"any"))


def test_one_object_serves_all_decisions() -> None:
    assert load_policy(SOFTMAX) is load_policy(SOFTMAX)

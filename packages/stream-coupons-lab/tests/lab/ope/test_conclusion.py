"""The sentence that `ope` ends in follows from the numbers: better, worse, undecided, and where nothing is known."""

import math

import pytest

from stream_coupons.models.metrics import Interval
from stream_coupons_lab.ope.ope import Diagnostics, Estimator, Valuation
from stream_coupons_lab.ope.rewards import Reward
from stream_coupons_lab.ope.valuation import NEVER, OURS, Valued, conclusion

NONE = Interval(0.0, 0.0, 0.0)
ALL = 1000
BETTER, WORSE, OPEN = Interval(310.0, 220.0, 400.0), Interval(-310.0, -400.0, -220.0), Interval(90.0, -20.0, 200.0)


def valued(
    policy: str,
    gain: Interval,
    *,
    decisions: int = ALL,
    effective: float = 500.0,
    rewarded: int = 50,
    never: float = 0.0,
) -> Valued:
    # The other estimators say the opposite: the sentence is by the doubly robust one.
    opposite = Interval(-gain.value, -gain.high, -gain.low)
    gains = {Estimator.IPS: opposite, Estimator.SNIPS: opposite, Estimator.DR: gain}
    diagnostics = Diagnostics(decisions, decisions, effective, 0.5, rewarded, 2.0, Interval(1.0, 0.9, 1.1))
    return Valued(policy, Valuation(gains, gains, diagnostics), never)


def said(*policies: Valued, reward: Reward = Reward.MARGIN, currency: str | None = "EUR", own: bool = False) -> str:
    logged = valued("logged", NONE)
    return conclusion([logged, *policies], ALL, reward, currency, NEVER, () if own else OURS)


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        (
            BETTER,
            "would have brought 3.1 (2.2 to 4) EUR of margin a decision more than the logging policy: significant",
        ),
        (WORSE, "would have brought 3.1 (2.2 to 4) EUR of margin a decision less than the logging policy: significant"),
        (OPEN, "is not distinguishable from the logging policy at 95 %: it brings 0.9 (−0.2 to 2) EUR of margin"),
        (NONE, "is not distinguishable from the logging policy at 95 %: it brings 0 (0 to 0) EUR of margin"),
        (Interval(310.0, 0.0, 620.0), "is not distinguishable"),
    ],
)
def test_it_states_the_sign_and_the_size_of_the_gain(gain: Interval, text: str) -> None:
    assert said(valued("greedy", gain)).startswith(f"The engine's policy (greedy) {text}")


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (valued("greedy", BETTER, effective=99.0), "rests on 99 effective decisions and 50 rewards: too few."),
        (valued("greedy", BETTER, rewarded=9), "rests on 500 effective decisions and 9 rewards: too few."),
        (valued("greedy", BETTER, never=0.4), "40.0% of its choices are arms that the log never chose"),
        (valued("greedy", Interval(310.0, math.nan, math.nan)), "all decisions have the same reward."),
    ],
)
def test_it_concludes_nothing_from_doubtful_values(one: Valued, why: str) -> None:
    assert said(one).startswith(f"No conclusion: greedy: {why}")


def test_it_has_the_unit_of_the_reward() -> None:
    one = valued("greedy", Interval(0.031, 0.022, 0.04))
    assert "3.1 (2.2 to 4) clicks per 100 decisions more" in said(one, reward=Reward.CLICK)
    assert "310 (220 to 400) minor units of margin" in said(valued("greedy", BETTER), currency=None)
    assert "310 (220 to 400) JPY of margin" in said(valued("greedy", BETTER), currency="JPY")


def test_the_policy_is_chosen_without_its_value() -> None:
    """Ours first, the first without doubts of them; then giving nothing; then the first that was asked for."""
    some, greedy, epsilon = valued("random", BETTER), valued("greedy", OPEN), valued("epsilon:0.1", WORSE)
    assert said(some, epsilon, greedy).startswith("The engine's policy (greedy) is not")
    doubtful = valued("greedy", BETTER, rewarded=1)
    assert said(some, doubtful, epsilon).startswith("The engine's policy (epsilon:0.1) would have")
    assert said(some, doubtful) == "No conclusion: greedy: rests on 500 effective decisions and 1 rewards: too few."
    assert said(some, valued("always:none", WORSE)).startswith("The policy always:none would")
    assert said(some, greedy, own=True).startswith("The policy random would")
    assert said() == "No conclusion: only the logging policy was valued."


def test_it_names_other_decisions() -> None:
    text = said(valued("always:tea", BETTER, decisions=300), own=True)
    assert text.endswith(
        "than the logging policy, on the 300 of 1,000 decisions that could have its arm: significant at 95 %."
    )

"""The intervals of `ope` hold the true value of a second policy, on logs that the engine wrote in small worlds."""

from statistics import mean

import pytest

from benchmarks.coverage import Setup, measure

RUNS = 12
POLICIES = ("greedy", "random")


@pytest.mark.slow
@pytest.mark.parametrize("sells_out", [False, True], ids=["plenty", "sold out"])
def test_the_intervals_hold_the_true_value_of_a_second_policy(sells_out: bool) -> None:
    found = measure(RUNS, Setup(shoppers=300, sells_out=sells_out, policies=POLICIES), jobs=1)
    covered = {
        what: [each["covered"] for policy in found["policies"].values() for each in policy[what].values()]
        for what in ("values", "gains")
    }
    # Of so few decisions a value is nearly always within its interval, a gain in some nine of ten.
    assert min(covered["values"]) >= 11 / RUNS
    assert mean(covered["gains"]) >= 0.75
    for name in POLICIES:
        policy = found["policies"][name]
        assert (policy["sold_out"] > 0.2) == sells_out
        assert policy["effective"] > 40

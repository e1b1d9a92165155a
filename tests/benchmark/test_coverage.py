"""The intervals of `ope` hold the true value of a second policy, on logs that the engine wrote in small worlds."""

import pytest

from benchmarks.coverage import Setup, measure

RUNS = 12
POLICIES = ("greedy", "random")


@pytest.mark.slow
@pytest.mark.parametrize("sells_out", [False, True], ids=["plenty", "sold out"])
def test_the_intervals_hold_the_true_value_of_a_second_policy(sells_out: bool) -> None:
    found = measure(RUNS, Setup(shoppers=250, sells_out=sells_out, policies=POLICIES), jobs=1)
    covered = [
        each["covered"] for policy in found["policies"].values() for what in ("values", "gains")
        for each in policy[what].values()
    ]  # fmt: skip
    # Of 12 runs at 95 %, 9 or more hold it in 998 of 1,000 experiments.
    assert len(covered) == 12
    assert min(covered) >= 9 / RUNS
    for name in POLICIES:
        policy = found["policies"][name]
        assert (policy["sold_out"] > 0.2) == sells_out
        assert policy["effective"] > 40

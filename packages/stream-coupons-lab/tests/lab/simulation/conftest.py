"""One run by chance and one by the ground truth, shared by all tests: they only read."""

import pytest

from stream_coupons_lab.simulation.shoppers import WorldSettings

from .policy_runs import Run, at_random, by_redemption, run


@pytest.fixture(scope="session")
def random_run() -> Run:
    return run(WorldSettings(seed=11, shoppers=600, days=14), at_random())


@pytest.fixture(scope="session")
def truth_run() -> Run:
    return run(WorldSettings(seed=11, shoppers=600, days=14), by_redemption)

"""The lower bound of a proportion: valid at all looks together, and close to the ratio in the end."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_coupons.core.measurement.proportions import ALPHA, lower_bound

Numbers = NDArray[Any]
STREAMS, TRIALS = 1000, 1000


LOG_FACTORIAL = np.array([math.lgamma(k + 1) for k in range(TRIALS + 2)])


def evidence_against(ratio: float, successes: Numbers, trials: Numbers) -> Numbers:
    """Return the logarithm of the mixture."""
    failures = trials - successes
    mixture = LOG_FACTORIAL[successes] + LOG_FACTORIAL[failures] - LOG_FACTORIAL[trials + 1]
    found: Numbers = mixture - successes * math.log(ratio) - failures * math.log1p(-ratio)
    return found


def ever_above(outcomes: Numbers, ratio: float) -> float:
    """Return the share of streams whose bound exceeds the ratio after some trial."""
    trials, successes = np.arange(1, TRIALS + 1), outcomes.cumsum(axis=1)
    is_above = (evidence_against(ratio, successes, trials) >= math.log(1 / ALPHA)) & (successes > ratio * trials)
    return float(is_above.any(axis=1).mean())


@given(st.integers(1, 400), st.integers(0, 400), st.floats(0.01, 0.99))
def test_the_bound_exceeds_a_ratio_where_the_mixture_rejects_it(trials: int, successes: int, ratio: float) -> None:
    successes = min(successes, trials)
    bound = lower_bound(successes, trials)
    assert 0.0 <= bound <= successes / trials
    evidence = float(evidence_against(ratio, np.array(successes), np.array(trials)))
    if abs(evidence - math.log(1 / ALPHA)) > 1e-6:
        assert (bound > ratio) == (evidence > math.log(1 / ALPHA) and successes > ratio * trials)


@pytest.mark.parametrize("ratio", [0.02, 0.2, 0.5])
def test_at_most_one_in_twenty_streams_is_ever_above_its_own_ratio(ratio: float) -> None:
    trials = np.random.default_rng(7).random((STREAMS, TRIALS)) < ratio
    assert 0.0 < ever_above(trials, ratio) <= ALPHA


def test_trials_of_changing_ratios_that_keep_the_limit_are_not_above_it_either() -> None:
    rng = np.random.default_rng(8)
    ratios = np.where(np.arange(TRIALS) < TRIALS // 4, 0.02, 0.2)
    assert ever_above(rng.random((STREAMS, TRIALS)) < ratios, 0.2) <= ALPHA


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_later_success_only_raises_the_bound(successes: int, failures: int) -> None:
    trials = successes + failures + 1
    assert lower_bound(successes, trials) <= lower_bound(successes + 1, trials)


def test_the_bound_comes_close_to_the_ratio() -> None:
    assert lower_bound(0, 0) == lower_bound(0, 100) == 0.0
    assert 0.28 < lower_bound(3000, 10_000) < 0.3

"""The benchmark of near shoppers: one bucket of the engine finds the exact nearest, and sixteen find fewer."""

import numpy as np
import pytest

from benchmarks.neighbours import NEAREST, buckets, nearest_exact, shoppers_of
from stream_coupons.core.neighbours.buckets import MAX_INTERESTS


@pytest.mark.parametrize(("cells", "low", "high"), [("1", 0.98, 1.0), ("16", 0.05, 0.6)])
def test_recall_depends_on_the_bucket_that_the_engine_searches(
    cells: str, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_COUPONS_NEIGHBOURHOOD__CELLS", cells)
    _, weights = shoppers_of(200, np.random.default_rng(3))
    weights = weights[(weights > 0).sum(axis=1) <= MAX_INTERESTS]
    follow, count = buckets()
    for _ in range(2):
        answers = [follow(shopper, vector) for shopper, vector in enumerate(weights)]
    exact = nearest_exact(weights, np.arange(len(weights)))
    shares = [len(near & set(found)) / NEAREST for near, found in zip(exact, answers, strict=True)]
    assert count() == len(weights) > 150
    assert low < np.mean(shares) <= high

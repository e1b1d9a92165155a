"""What the benchmark of content vectors says, on one small log of each truth."""

import numpy as np
import pytest

from benchmarks.content import compare, draw, evaluate, is_unseen, losses, ratio, without_vectors


@pytest.mark.parametrize("truth", ["common", "topics"])
@pytest.mark.slow
def test_coupons_never_seen_before_are_told_better_with_vectors_than_without(truth: str) -> None:
    unseen, others = compare(draw(truth, coupons=90, dimensions=64, seed=1))
    assert unseen.value < 0.95
    assert unseen.high < 1.0, "the 95 % interval over coupons"
    assert others.value < 1.0


@pytest.mark.long
def test_the_judged_issues_are_those_of_which_nothing_was_known() -> None:
    records = draw("topics", coupons=4, dimensions=8, seed=2)
    issues = evaluate(records)
    unseen = is_unseen(issues)
    assert 0 < sum(unseen) < len(issues)
    for issue, is_first in zip(issues, unseen, strict=True):
        own = [other for other in issues if other.coupon_id == issue.coupon_id]
        assert is_first == all((other.labelled_at or 0.0) > issue.occurred_at for other in own)


def test_without_vectors_the_log_is_the_same_but_for_them() -> None:
    records = draw("personal", coupons=3, dimensions=8, seed=3)
    bare = list(without_vectors(records))
    assert all("vector" not in record.get("coupon", {}) for record in bare)
    for record in records:
        record.get("coupon", {}).pop("vector", None)
    assert bare == records


def test_a_ratio_is_of_sums_and_its_interval_is_over_groups() -> None:
    one, other = np.array([1.0, 1.0, 4.0]), np.array([2.0, 2.0, 4.0])
    found = ratio(one, other, ["a", "a", "b"])
    assert found.value == pytest.approx(6 / 8)
    assert (found.low, found.high) == (0.5, 1.0)
    assert losses([]).shape == (0,)

"""Baselines: they learn what is known when an issue is scored, and nothing of later."""

from typing import Any

import numpy as np
import pytest

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons_lab.offline import baselines
from stream_coupons_lab.offline.baselines import OURS, RIVER, TREES, Beside, compare, online_logistic, raw_features
from stream_coupons_lab.offline.quality import LabelledIssues, judged
from stream_coupons_lab.offline.scored import Scored

COUPON = Coupon(coupon_id="c", discount_percent=10, max_discount_minor=100, attributes={"colour": "green"})


def scored(number: int, label: bool, context: dict[str, Any], delay_s: float = 1.0) -> Scored:
    return Scored(
        issue_id=f"i{number}",
        user_id=f"u{number % 50}",
        arm="c",
        coupon_id="c",
        occurred_at=10.0 * number,
        propensity=None,
        p_click=0.5,
        p_redeem=0.5,
        p_order=0.5,
        model_version=0,
        clicked=False,
        redeemed=label,
        labelled_at=10.0 * number + delay_s,
        context=context,
    )


def series(delay_s: float = 1.0, count: int = 800) -> list[LabelledIssues]:
    """Rain decides, and so does an interaction that no linear model sees."""
    rng = np.random.default_rng(2)
    issues = []
    for number in range(count):
        one, other = rng.random(2) < 0.5
        context = {"weather": "rain" if one else "sun", "is_new": bool(other), "noise": float(rng.random())}
        issues.append(scored(number, bool(rng.random() < (0.8 if one == other else 0.2)), context, delay_s))
    return judged(issues)


def by_model(found: list[Beside]) -> dict[str, Beside]:
    return {one.model: one for one in found if one.head == "redeem"}


@pytest.mark.long
def test_trees_find_an_interaction_that_a_logistic_regression_does_not() -> None:
    steps: list[tuple[int, int]] = []
    found = by_model(compare(series(), {"c": COUPON}, lambda done, total: steps.append((done, total))))
    assert list(found) == [OURS, RIVER, TREES]
    assert found[OURS].log_loss == pytest.approx(np.log(2))
    assert found[TREES].log_loss < found[OURS].log_loss - 0.05
    assert found[TREES].lead.high < 0
    assert found[RIVER].log_loss == pytest.approx(np.log(2), abs=0.03)
    assert steps == [(1, 2), (2, 2)]


def test_what_is_not_known_yet_is_not_learnt() -> None:
    """No label comes before the last issue: all predictions are those before learning."""
    found = by_model(compare(series(delay_s=1e6, count=300), {"c": COUPON}))
    assert found[RIVER].roc_auc == found[TREES].roc_auc == 0.5
    assert found[RIVER].log_loss == pytest.approx(np.log(2))


def test_the_logistic_regression_is_rivers_label_by_label() -> None:
    [one] = [each for each in series(count=60) if each.head == "redeem"]
    features = [raw_features(issue.context) for issue in one.issues]
    model, expected = online_logistic(), []
    for row, label in zip(features, one.labels.tolist(), strict=True):
        expected.append(model.predict_proba_one(row).get(True, 0.5))
        model.learn_one(row, label)
    at = np.array([issue.occurred_at for issue in one.issues])
    assert baselines._progressive(features, at, at + 1, one.labels).tolist() == expected


def test_a_head_with_one_outcome_only_has_no_baseline() -> None:
    assert compare(judged([scored(number, True, {}) for number in range(5)]), {}) == []

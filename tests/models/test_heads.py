"""One head as a whole: a drift makes its models learn faster, and what it serves is what it saves."""

import numpy as np
import pytest

from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.models.champion import Contest, Promotion, log_loss
from stream_coupons.models.heads import Drift, Happening, Head
from stream_coupons.models.inputs import Row
from stream_coupons.models.registry import make_models
from stream_coupons.models.rules import LearningRules, ModelName

from .builders import example

RULES = LearningRules()
OTHER = "river.linear_model:LogisticRegression"


def tastes(seed: int, size: int, *, is_changed: bool = False) -> list[TrainingExample]:
    """Ten kinds of shopper, of which the even ones redeem often; after a change the odd ones do."""
    rng = np.random.default_rng(seed)
    return [
        example(
            example_id=f"{seed}-{n}",
            head="redeem",
            numeric=[0.0] * len(NUMERIC),
            hashed=[100 + int(kind)],
            label=bool(rng.random() < (0.5 if (kind % 2 == 0) != is_changed else 0.02)),
        )
        for n, kind in enumerate(rng.integers(0, 10, size))
    ]


def row_of(example: TrainingExample) -> Row:
    return Row(example.numeric, example.hashed)


def learn(head: Head, examples: list[TrainingExample]) -> list[Happening]:
    return [happening for each in examples for happening in head.learn(each, row_of(each))]


@pytest.mark.long
def test_a_drift_is_noticed_and_recovered_from_faster_than_without_noticing() -> None:
    before, after = tastes(1, 12_000), tastes(2, 3000, is_changed=True)
    head, unwatched = Head("effect", RULES), Contest(make_models("effect", RULES), RULES)
    assert learn(head, before) == []
    happenings = learn(head, after)
    assert happenings
    assert all(isinstance(each, Drift) for each in happenings)
    for each in before + after:
        unwatched.learn_one(row_of(each), each.label)
    losses = [0.0, 0.0]
    for each in tastes(3, 1000, is_changed=True):
        for n, contest in enumerate((head.contest, unwatched)):
            probability, _ = contest.learn_one(row_of(each), each.label)
            losses[n] += log_loss(probability, each.label)
    assert losses[0] < 0.95 * losses[1]


def test_promotion_changes_what_is_served() -> None:
    models = [OTHER, ModelName.KALMAN]
    head = Head("effect", LearningRules(models=models, promotion_min_examples=100, promotion_margin_ratio=0.0))
    good, bad = head.contest.models[ModelName.KALMAN], head.contest.models[OTHER]
    for each in tastes(6, 4000):
        good.learn_one(row_of(each), each.label)
    [promotion] = [each for each in learn(head, tastes(7, 1500)) if isinstance(each, Promotion)]
    assert (promotion.old, promotion.new) == (OTHER, ModelName.KALMAN)
    assert head.champion is good is not bad
    assert head.state().champion == "kalman"

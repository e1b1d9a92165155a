"""A sample of the training examples: nothing that happened is left out, and the rest stands for all."""

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.messages.learning import MAX_THINNING, ModelSnapshot, OnView, TrainingExample
from stream_coupons.models.effect import sigmoid
from stream_coupons.models.inputs import WHOLE, Row, Sample
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.learner import Trainer
from stream_coupons.models.sampling import MAX_DOUBLINGS, draw
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.settings import LearningSettings

from .builders import example, random_rows

LEVELS = range(1, MAX_THINNING + 1)
RARE = (
    {"label": True},
    {"label": True, "head": "visit"},
    {"head": "redeem", "ordered": True, "order_value_minor": 500},
    {"head": "redeem", "discount_minor": 100},
)


def negatives(count: int, **about: object) -> list[TrainingExample]:
    return [example(example_id=f"{n}:visit", **{"head": "visit", "predicted": 0.002, **about}) for n in range(count)]


@pytest.mark.parametrize("about", RARE)
@pytest.mark.parametrize("level", LEVELS)
def test_what_happened_is_always_learnt_and_stands_for_itself(about: dict[str, object], level: int) -> None:
    drawn = [draw(each, level, PUBLIC_KEY) for each in negatives(200, **about)]
    assert {sample.weight for sample in drawn} == {1}


def test_without_thinning_all_is_learnt() -> None:
    assert {draw(each, 0, PUBLIC_KEY) for each in negatives(50)} == {WHOLE}


def test_each_level_halves_what_is_learnt_and_draws_from_the_level_below() -> None:
    every = negatives(20_000)
    learnt = [{each.example_id for each in every if draw(each, level, PUBLIC_KEY).weight} for level in (0, *LEVELS)]
    assert all(higher <= lower for lower, higher in pairwise(learnt))
    assert [len(each) / 20_000 for each in learnt[1:]] == pytest.approx([2**-n for n in (4, 5, 6, 7, 8, 8, 8)], rel=0.3)


@pytest.mark.parametrize("level", LEVELS)
def test_those_learnt_stand_for_as_many_as_there_are(level: int) -> None:
    every = negatives(20_000)
    weights = [draw(each, level, PUBLIC_KEY).weight for each in every]
    assert sum(weights) == pytest.approx(len(every), rel=0.25)
    assert all(weight == 0 or math.log2(weight).is_integer() for weight in weights)


def test_the_less_an_outcome_was_expected_the_fewer_of_its_negatives_are_learnt_down_to_a_bound() -> None:
    odds = [draw(example(predicted=p), 3, PUBLIC_KEY).odds for p in (0.9, 0.1, 0.01, 1e-3, 1e-9, 0.0)]
    assert odds == [1.0, 2.0, 16.0, 128.0, 2.0**MAX_DOUBLINGS, 2.0**MAX_DOUBLINGS]


def test_few_examples_by_chance_are_learnt_more_often() -> None:
    about = {"predicted": 0.01, "observed": False}
    usual, withheld = example(**about), example(**about, withheld=True)
    explored = example(**about, propensity=0.01)
    samples = [draw(each, 5, PUBLIC_KEY) for each in (usual, withheld, explored)]
    assert samples[0].odds == 8 * samples[1].odds == 8 * samples[2].odds


def test_the_key_decides_what_is_drawn() -> None:
    every = negatives(2_000)
    learnt = [[draw(each, 3, DrawKey(key)).weight for each in every] for key in (b"one", b"one", b"other")]
    assert learnt[0] == learnt[1] != learnt[2]


def stream(count: int, seed: int) -> list[TrainingExample]:
    """Visits and clicks, rare ones, that depend on one number."""
    rng, rows = np.random.default_rng(seed), random_rows(seed, 300)
    found = []
    for n in range(count):
        at = int(rng.integers(300))
        head, base = (("visit", -5.0), ("click", -3.0))[n % 2]
        p = sigmoid(base + float(rows.numeric[at, 0]))
        found.append(
            example(
                example_id=f"{n}:{head}",
                head=head,
                label=bool(rng.random() < p),
                predicted=min(p * float(np.exp(rng.normal(0.0, 0.5))), 1.0),
                numeric=rows.numeric[at].tolist(),
                hashed=rows.hashed[at].tolist(),
            )
        )
    return found


def learnt(examples: list[TrainingExample], level: int) -> tuple[ModelSnapshot, int]:
    """Return the model of a sample, and the number of examples that it learnt."""
    trainer = Trainer(LearningSettings())
    trainer.learn(examples[0], 0, None)
    for _ in range(level):
        trainer.thin(1)
    for offset, each in enumerate(examples[1:], start=1):
        assert trainer.learn(each, offset, None, sample=trainer.draw(each))
    [snapshot] = trainer.snapshots()
    return snapshot, trainer.models["ecommerce"].examples


def test_a_model_of_a_sample_is_about_as_good_as_one_of_all_examples() -> None:
    examples = stream(6_000, 3)
    whole, sample = learnt(examples, 0), learnt(examples, 4)
    assert sample[1] < 0.4 * whole[1]
    assert sample[0].source_offset == whole[0].source_offset
    rows = random_rows(3, 300)
    truth = np.array([sigmoid(-3.0 + float(value)) for value in rows.numeric[:, 0]])

    def loss(p: Floats) -> float:
        return float(-(truth * np.log(p) + (1.0 - truth) * np.log(1.0 - p)).mean())

    of_whole, of_sample = (loss(compile_snapshot(each).predict(rows)[:, 0]) for each, _ in (whole, sample))
    of_rate = loss(np.full(len(truth), truth.mean()))
    assert of_sample - of_whole < 0.25 * (of_rate - of_whole)


def test_quality_and_level_count_those_left_out() -> None:
    examples = stream(3_000, 4)
    whole, sample = learnt(examples, 0)[0].quality, learnt(examples, 4)[0].quality
    for label in ("click", "visit"):
        assert sample[label].positives == whole[label].positives
        assert sample[label].examples == pytest.approx(whole[label].examples, rel=0.25)
        assert sample[label].log_loss == pytest.approx(whole[label].log_loss, rel=0.3)


def test_a_restart_draws_the_same_examples_and_ends_at_the_same_model() -> None:
    examples = stream(1_500, 5)
    one = Trainer(LearningSettings())
    one.learn(examples[0], 0, None)
    other = one
    for offset, each in enumerate(examples[1:], start=1):
        if offset % 300 == 0:
            one.thin(1)
            if other is not one:
                other.thin(1)
            [snapshot] = one.snapshots()
            other = Trainer(LearningSettings())
            other.restore({"ecommerce": msgspec.json.decode(msgspec.json.encode(snapshot), type=ModelSnapshot)})
        for trainer in {id(each): each for each in (one, other)}.values():
            trainer.learn(each, offset, None, sample=trainer.draw(each))
    ends = [trainer.models["ecommerce"] for trainer in (one, other)]
    assert [end.thinning for end in ends] == [4, 4]
    states = [msgspec.json.encode([head.state() for head in end.heads.values()]) for end in ends]
    assert states[0] == states[1]


def test_an_example_left_out_counts_as_taken_and_its_view_is_counted() -> None:
    trainer = Trainer(LearningSettings())
    view = OnView(category="c", price_minor=100)
    first, second = (example(example_id=f"{n}", head="visit", on_view=view) for n in range(2))
    trainer.learn(first, 0, ("ticks:0", (0, 0)))
    assert trainer.learn(second, 1, ("ticks:0", (1, 0)), sample=Sample(0, 64.0))
    assert not trainer.learn(second, 2, ("ticks:0", (1, 0))), "a copy"
    model = trainer.models["ecommerce"]
    assert (model.examples, model.offset) == (1, 1)
    assert model.views.served.views.tolist() == [2.0]


def test_the_level_of_thinning_stays_within_its_bounds() -> None:
    trainer = Trainer(LearningSettings())
    trainer.learn(example(), 0, None)
    found = []
    for change in (-1, *[1] * 10):
        trainer.thin(change)
        found.append(trainer.thinning)
    assert found[0] == 0
    assert found[-1] == MAX_THINNING


def test_a_redemption_of_a_sample_moves_a_model_as_the_odds_among_those_learnt_demand() -> None:
    """A base rate of 1 in 50, of which 1 in 16 negatives is learnt: without the odds it would be 1 in 4."""
    rng = np.random.default_rng(1)
    model = KalmanFilter({}, of_constant=4.0)
    for label in rng.random(20_000) < 0.02:
        if label or rng.random() < 1 / 16:
            model.learn_one(Row([0.0] * 58, [], Sample(1 if label else 16, 16.0)), bool(label))
    assert model.probability(Row([0.0] * 58, [])) == pytest.approx(0.02, rel=0.2)

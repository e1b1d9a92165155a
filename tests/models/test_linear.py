"""The compiled model says what the learning one says; the prior ranks by the two scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_coupons.core.decision.incremental import USES_RATIO, uses_of
from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.features.feature import PRIOR_HEADS
from stream_coupons.core.features.numeric import FEATURES, NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, HASHED, FeatureRows
from stream_coupons.models.effect import probabilities, sigmoids
from stream_coupons.models.encoding import BIAS, BINS, CONSTANT, FIRST_BIN, HELD, bins_of, encode
from stream_coupons.models.inputs import Row
from stream_coupons.models.learner import DomainModel
from stream_coupons.models.linear import ALL_HEADS, HEAD_OF, PRIOR_RATE, LinearScorer, prior
from stream_coupons.models.model import Servable
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName

from .builders import examples, predict, random_rows

Heads = dict[str, Servable]


def trained(seed: int, size: int, prior_variance: float = 1.0) -> Heads:
    rules = LearningRules(prior_variance=prior_variance)
    heads = {head: make_model(ModelName.KALMAN, head, rules) for head in ALL_HEADS}
    for each in examples(seed, size):
        heads[HEAD_OF[each.head]].learn_one(Row(each.numeric, each.hashed), each.label)
    return heads  # type: ignore[return-value]


def compiled(heads: Heads) -> LinearScorer:
    return LinearScorer(1, np.stack([heads[name].dense for name in ALL_HEADS]))


@pytest.mark.long
@settings(max_examples=25, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.integers(0, 200),
    st.sampled_from([0.001, 0.05, 1.0, 20.0]),
)
def test_the_compiled_model_equals_the_learning_one(seed: int, size: int, prior_variance: float) -> None:
    heads = trained(seed, size, prior_variance)
    rows = random_rows(seed + 1, 20)
    scorer = compiled(heads)
    found = sigmoids(scorer.log_odds(rows))
    assert found.shape == (20, len(ALL_HEADS))
    for column, head in enumerate(ALL_HEADS):
        assert found[:, column] == pytest.approx(predict(heads[head], rows), abs=1e-9)
    assert (
        scorer.predict(rows).tolist()
        == probabilities(scorer.log_odds(rows), uses_of(rows.numeric, USES_RATIO)).tolist()
    )


def test_a_compiled_model_does_not_learn_along() -> None:
    heads = trained(3, 50)
    scorer, rows = compiled(heads), random_rows(4, 5)
    before = scorer.predict(rows)
    for each in examples(5, 50):
        heads[HEAD_OF[each.head]].learn_one(Row(each.numeric, each.hashed), each.label)
    assert scorer.predict(rows).tolist() == before.tolist()


def test_one_row_is_scored_as_in_a_batch_to_the_last_bit() -> None:
    scorer, rows = compiled(trained(6, 100)), random_rows(7, 30)
    whole = scorer.predict(rows)
    for n in range(30):
        one = scorer.predict(FeatureRows(rows.numeric[n : n + 1], rows.hashed[n : n + 1]))
        assert one[0].tolist() == whole[n].tolist()
    assert scorer.predict(FeatureRows(rows.numeric[:0], rows.hashed[:0])).shape == (0, 4)


def test_contributions_add_up_to_the_log_odds_loudest_first() -> None:
    scorer, rows = compiled(trained(8, 200)), random_rows(9, 10)
    log_odds = scorer.log_odds(rows)
    bias = scorer.log_odds(FeatureRows(np.zeros((1, len(NUMERIC))), np.zeros((1, len(HASHED)), np.uint32)))[0]
    for row in range(10):
        for head in range(len(ALL_HEADS)):
            parts = scorer.contributions(rows, row, head)
            total = bias[head] + sum(added for _, _, added in parts)
            assert total == pytest.approx(log_odds[row, head], abs=1e-9)
            sizes = [abs(added) for _, _, added in parts]
            assert sizes == sorted(sizes, reverse=True)
            assert {name for name, _, _ in parts} <= {*NUMERIC, *HASHED}
            assert 0.0 not in sizes


def test_probabilities_stay_within_bounds_however_loud_the_features() -> None:
    heads = trained(10, 200, prior_variance=100.0)
    rows = FeatureRows(np.full((1, len(NUMERIC)), 1e6), np.ones((1, len(HASHED)), np.uint32))
    predicted = compiled(heads).predict(rows)
    assert ((predicted >= 0) & (predicted <= 1)).all()


def row_with(**numbers: float) -> FeatureRows:
    numeric = np.zeros((1, len(NUMERIC)))
    for name, value in numbers.items():
        numeric[0, NUMERIC.index(name)] = value
    return FeatureRows(numeric, np.ones((1, len(HASHED)), np.uint32))


def test_the_prior_knows_base_rates() -> None:
    assert prior().version == 0
    found = sigmoids(prior().log_odds(row_with()))[0].tolist()
    assert found == pytest.approx([PRIOR_RATE[head] for head in ALL_HEADS])


def test_prior_weights_are_of_heads_that_there_are() -> None:
    assert set(PRIOR_HEADS) == set(ALL_HEADS)
    assert {head for each in FEATURES for head in each.prior} <= set(PRIOR_HEADS)


@pytest.mark.parametrize("score", ["demand_share", "near_scope_share"])
@pytest.mark.parametrize("head", ["click", "redeem"])
def test_the_prior_ranks_by_own_and_neighbours_interest(score: str, head: str) -> None:
    ranks = [prior().predict(row_with(**{score: value}))[0, HEADS.index(head)] for value in (-1.0, 0.0, 0.5, 1.0)]
    assert ranks == sorted(set(ranks))


def test_the_prior_expects_more_of_deeper_discounts_and_no_more_orders_without_them() -> None:
    pulls = [prior().predict(row_with(discount_pull=pull))[0].tolist() for pull in (-2.0, 0.0, 1.0)]
    clicks, redeems, orders, _visits = zip(*pulls, strict=True)
    assert list(clicks) == sorted(set(clicks))
    assert list(redeems) == sorted(set(redeems))
    assert len(set(orders)) == 1


def test_a_new_head_starts_from_the_prior() -> None:
    rows = random_rows(11, 5)
    assert DomainModel("shop", LearningRules()).scorer().predict(rows) == pytest.approx(prior().predict(rows))


def mapping(indices: NDArray[np.int64], values: NDArray[np.float64]) -> dict[int, float]:
    assert len(set(indices.tolist())) == len(indices), "no index comes twice"
    return dict(zip(indices.tolist(), values.tolist(), strict=True))


def test_nothing_is_no_feature_and_a_place_hit_twice_counts_twice() -> None:
    numeric, places = np.zeros(len(NUMERIC)), np.array([0, 9, 7, 7])
    numeric[1] = 2.0
    features = mapping(*encode(numeric, places))
    bin_of_2 = FIRST_BIN + BINS + 3
    assert features == {7: 2.0, 9: 1.0, DIMENSIONS + 1: 2.0, bin_of_2: 1.0, BIAS: CONSTANT}
    assert mapping(*encode(numeric, places, is_held=True)) == features | {HELD: 1.0}


def test_bins_are_apart_by_number_and_open_at_their_ends() -> None:
    values = np.array([-100.0, -1.0, -0.2, 0.0, 0.01, 0.99, 1.0, 3.9, 100.0])
    numeric = np.zeros((len(values), len(NUMERIC)))
    numeric[:, 0] = values
    numeric[:, -1] = values
    bins = bins_of(numeric)
    assert bins[:, 0].tolist() == [1, 1, 1, 0, 2, 2, 3, 5, 5]
    assert (bins[:, -1] > 0).tolist() == (values != 0).tolist()
    assert bins.max() == HELD - FIRST_BIN
    assert not set(bins[:, 0]) & set(bins[:, -1]) - {0}


def test_a_linear_model_follows_a_curve_by_its_bins() -> None:
    rng = np.random.default_rng(0)
    head = make_model(ModelName.KALMAN, "click", LearningRules(prior_variance=4.0))
    column = NUMERIC.index("price_fit")
    for _ in range(3000):
        numeric = [0.0] * len(NUMERIC)
        numeric[column] = float(rng.uniform(0.0, 3.0))
        head.learn_one(Row(numeric, []), bool(1.0 < numeric[column] < 2.0))
    rows = FeatureRows(np.zeros((2, len(NUMERIC))), np.zeros((2, 0), np.uint32))
    rows.numeric[:, column] = 1.5, 2.6
    inside, outside = predict(head, rows)
    assert inside > 0.7 > 0.3 > outside


def test_a_number_whose_bin_and_size_both_speak_is_one_reason() -> None:
    scorer, rows = compiled(trained(12, 200)), random_rows(13, 1)
    names = [name for name, _, _ in scorer.contributions(rows, 0, 0)]
    assert len(names) == len(set(names))

"""The Mondrian forest stays bounded, forgets, and comes back from its rows."""

import numpy as np
import pytest

from stream_coupons.core.features import FeatureRows
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.models.inputs import Row
from stream_coupons.models.mondrian import MondrianForest


def stream(seed: int, size: int, *, is_reversed: bool = False) -> list[tuple[Row, bool]]:
    rng = np.random.default_rng(seed)
    numbers = rng.random((size, len(NUMERIC))) * 0.2
    numbers[:, 3] = rng.uniform(0, 3, size)
    return [(Row(each, []), (each[3] > 1.5) != is_reversed) for each in numbers.tolist()]


def rows() -> FeatureRows:
    numeric = np.full((2, len(NUMERIC)), 0.1)
    numeric[:, 3] = 0.4, 2.6
    return FeatureRows(numeric, np.zeros((2, 0), np.uint32))


@pytest.mark.parametrize("cut", [29, 30, 59, 60, 61, 150])
def test_it_comes_back_from_its_rows_across_generations(cut: int) -> None:
    one, other = MondrianForest(0.04, 0, max_rows=60), MondrianForest(0.04, 0, max_rows=60)
    examples = stream(1, 230)
    for row, label in examples[:cut]:
        one.learn_one(row, label)
    other.restore(one.state())
    learnt = [[model.learn_one(row, label) for row, label in examples[cut:]] for model in (one, other)]
    assert learnt[0] == learnt[1]
    assert {name: array.tolist() for name, array in one.state().items()} == {
        name: array.tolist() for name, array in other.state().items()
    }


def test_it_stays_bounded() -> None:
    model = MondrianForest(0.04, 0, max_rows=40)
    sizes = []
    for row, label in stream(2, 200):
        model.learn_one(row, label)
        sizes.append(model.state()["rows"].shape[0])
    assert max(sizes) < 40
    assert min(sizes[40:]) >= 20


def test_it_forgets_what_is_no_longer_so() -> None:
    model = MondrianForest(0.04, 0, max_rows=400)
    for row, label in [*stream(3, 400), *stream(4, 500, is_reversed=True)]:
        model.learn_one(row, label)
    low, high = model.predict(rows())
    assert low > 0.7
    assert high < 0.3


def test_without_a_positive_it_tells_the_base_rate() -> None:
    model = MondrianForest(0.04, 0)
    model.learn_one(stream(5, 1)[0][0], False)
    assert model.predict(rows()).tolist() == [0.04, 0.04]

"""Codes of vectors: alike vectors share them, whatever model made the vectors and whatever machine hashes them."""

import math

import numpy as np
import pytest

from stream_coupons.core.catalogue.content_vectors import BITS, CODES, vector_codes
from stream_coupons.core.messages.catalogue import check_vector
from stream_coupons.core.messages.fields import MAX_NUMBERS

PINNED = (
    3168854771,
    1935389952,
    4209359175,
    2241245133,
    275162329,
    382274295,
    2665904438,
    2191460113,
    4274286778,
    4057830079,
    2687588809,
    955933252,
)


def shared(one: list[float], other: list[float]) -> int:
    return sum(a == b for a, b in zip(vector_codes(one), vector_codes(other), strict=True))


def test_the_codes_are_the_ones_that_models_were_trained_on() -> None:
    # A change of these needs a new SCHEMA in core/features/rows.py: models know a content by them.
    assert vector_codes([0.12, -0.53, 0.07, 0.84]) == PINNED


def test_as_many_codes_are_shared_as_the_angle_says() -> None:
    rng = np.random.default_rng(0)
    for angle in (0.1, 0.4, 0.8, math.pi / 2):
        pairs = []
        for _ in range(400):
            first, second = np.linalg.qr(rng.standard_normal((32, 2)))[0].T
            pairs.append(shared(first.tolist(), (math.cos(angle) * first + math.sin(angle) * second).tolist()))
        expected = (1 - angle / math.pi) ** BITS
        # One set of hyperplanes for all pairs: its own luck adds to that of the pairs.
        assert np.mean(pairs) / CODES == pytest.approx(expected, abs=0.06), angle


@pytest.mark.parametrize("scale", [1e-300, 0.25, 1024.0, 1e300])
def test_length_does_not_matter_direction_does(scale: float) -> None:
    vector = [0.5, -1.0, 3.0]
    assert vector_codes([scale * number for number in vector]) == vector_codes(vector)
    assert shared([-number for number in vector], vector) == 0


def test_vectors_of_different_length_share_nothing() -> None:
    assert shared([1.0, 2.0], [1.0, 2.0, 0.0]) == 0


@pytest.mark.parametrize("vector", [[1.0], [-1.0], [0.0] * (MAX_NUMBERS - 1) + [1e-320]], ids=["one", "minus", "most"])
def test_the_smallest_and_the_largest_have_codes(vector: list[float]) -> None:
    check_vector(vector)
    assert len(set(vector_codes(vector))) == CODES
    assert min(vector_codes(vector)) > 0


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        ([], "vector has 0 numbers, expected 1 to 4096"),
        ([1.0] * 4097, "vector has 4097 numbers"),
        ([1.0, math.nan], r"vector\[1\] is nan, expected a finite number"),
        ([-math.inf], r"vector\[0\] is -inf"),
        ([0.0, -0.0], "vector is all zeros"),
    ],
)
def test_what_has_no_direction_is_refused(vector: list[float], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        check_vector(vector)

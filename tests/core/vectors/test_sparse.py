"""Vectors, hashes and cells: the same everywhere, and what the formulas say."""

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.draws import stable_hash
from stream_coupons.core.vectors.sparse import feature_index, simhash, top

fast = settings(max_examples=60, derandomize=True)
weights = st.floats(-1e6, 1e6).filter(lambda weight: weight == 0 or abs(weight) > 1e-6)
vectors = st.dictionaries(st.integers(0, 30), weights, max_size=12)


@fast
@given(vectors, st.integers(1, 15))
def test_top_keeps_the_largest_and_breaks_ties_by_index(vector: dict[int, float], size: int) -> None:
    kept = top(vector, size)
    assert len(kept) == min(size, len(vector))
    assert kept.items() <= vector.items()
    left = vector.keys() - kept.keys()
    if left:
        weakest = min((abs(weight), -index) for index, weight in kept.items())
        assert all((abs(vector[index]), -index) < weakest for index in left)


def test_top_gives_a_copy() -> None:
    vector = {1: 1.0}
    assert top(vector, 5) is not vector


@fast
@given(vectors, st.integers(1, 40), st.floats(1e-3, 1e3))
def test_a_cell_is_within_range_and_blind_to_length(vector: dict[int, float], cells: int, scale: float) -> None:
    cell = simhash(vector, cells)
    assert 0 <= cell < cells
    powers = {index: weight * 2.0 ** round(math.log2(scale)) for index, weight in vector.items()}
    assert simhash(powers, cells) == cell


def test_near_shoppers_mostly_share_a_cell_and_strangers_do_not() -> None:
    taste = [{feature_index(f"item:{t}-{i}"): 1.0 + i % 3 for i in range(20)} for t in range(60)]
    near = [vector | {feature_index(f"item:new-{t}"): 1.0} for t, vector in enumerate(taste)]
    together = sum(simhash(a, 16) == simhash(b, 16) for a, b in zip(taste, near, strict=True))
    apart = sum(simhash(a, 16) != simhash(b, 16) for a, b in pairwise(taste))
    assert together > 40
    assert apart > 40


def test_all_cells_are_used() -> None:
    cells = {simhash({feature_index(f"item:{i}-{j}"): 1.0 for j in range(5)}, 8) for i in range(400)}
    assert cells == set(range(8))


def test_hashes_are_the_same_on_every_machine() -> None:
    # Stored states, models and issue ids hang on these values: a change orphans all of them.
    assert feature_index("item:A") == 4209920259
    assert stable_hash("u1", "t1") == 12012881621232000610


def test_the_parts_of_a_hash_do_not_run_together() -> None:
    assert (
        len({stable_hash(*parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), ("a", "b", "c"), ("", "abc"))}) == 5
    )
    assert stable_hash("a\x1fb", "c") != stable_hash("a", "b\x1fc")
    assert stable_hash("1:a", "") != stable_hash("1", "a")

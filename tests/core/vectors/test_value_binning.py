"""Values that nobody has described."""

import math

import pytest

from stream_coupons.core.vectors.sparse import _remembered_index, feature_index
from stream_coupons.core.vectors.value_binning import value_hashes


def test_a_value_is_hashed_as_any_name_is() -> None:
    assert value_hashes("city", "Köln") == (feature_index("city=Köln"), 0, 0, 0, 0, 0)
    assert value_hashes("rain", None) == (feature_index("rain=None"), 0, 0, 0, 0, 0)
    names = ("rain=2^1*0+0.0", "rain=2^1*-1+0.5", "rain=2^3*-1+0.75", "rain=1.3e+00")
    assert value_hashes("rain", 1.26) == (*map(feature_index, names), 0, 0)
    names = ("rain=2^1*-6+0.0", "rain=2^1*-6+0.5", "rain=2^3*-2+0.75", "rain=-1.2e+02")
    finer = ("rain=-1.24e+02", "rain=-1.2350e+02")
    assert value_hashes("rain", -123.5) == tuple(map(feature_index, (*names, *finer)))


@pytest.mark.parametrize("factor", [1.0, -1.0])
@pytest.mark.parametrize("size", [5e-324, 1e-9, 0.37, 1.0, 97.0, 2.0**40, 1e308, 10**40])
def test_numbers_are_like_their_neighbours_whatever_their_size(size: float, factor: float) -> None:
    one = value_hashes("x", size * factor)
    assert len(set(one) - {0}) == (6 if size >= 100 else 4)
    assert one != value_hashes("x", -size * factor)
    if size > 1e-300:
        near, far, further = (value_hashes("x", size * factor / by) for by in (1.4, 2.0, 3.0))
        assert any(a == b for a, b in zip(one[:2], near[:2], strict=True)), "two tiles that are shifted by half"
        assert not any(a == b for other in (far, further) for a, b in zip(one[:2], other[:2], strict=True))
        spans = [one[2] == value_hashes("x", size * factor / by)[2] for by in (1.0, 2.0, 4.0, 8.0)]
        assert spans == sorted(spans, reverse=True)
        assert (spans[0], spans[3]) == (True, False)


@pytest.mark.parametrize(("offset", "span"), [(1950, 60), (985, 50), (1_767_225_600, 60 * 86_400)])
def test_numbers_with_an_offset_are_told_apart(offset: float, span: float) -> None:
    told_apart = [{value_hashes("x", offset + span * part / 100)[level] for part in range(100)} for level in (0, 4, 5)]
    assert len(told_apart[0]) <= 2
    assert max(map(len, told_apart)) > 6


def test_zero_is_a_number_apart() -> None:
    assert set(value_hashes("x", 0.0)) & set(value_hashes("x", 1e-9)) == {0}
    assert value_hashes("x", 0) == value_hashes("x", 0.0) == value_hashes("x", -0.0)


def test_what_is_no_finite_number_is_a_category() -> None:
    for value in (math.inf, -math.inf, math.nan):
        assert value_hashes("x", value) == (feature_index(f"x={value}"), 0, 0, 0, 0, 0)


def test_values_without_end_are_not_remembered() -> None:
    before = _remembered_index.cache_info()
    for number in range(100):
        value_hashes("page", f"/article/{number}")
        value_hashes("page", number)
    assert _remembered_index.cache_info() == before

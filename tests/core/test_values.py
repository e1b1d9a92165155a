"""Values that nobody has described."""

from stream_coupons.core.similarity import feature_index
from stream_coupons.core.values import value_hashes


def test_a_value_is_hashed_as_any_name_is() -> None:
    assert value_hashes("city", "Köln") == (feature_index("city=Köln"), 0, 0)
    assert value_hashes("rain", None) == (feature_index("rain=None"), 0, 0)
    assert value_hashes("rain", 1.26) == tuple(map(feature_index, ("rain=1e+00", "rain=1.3e+00", "rain=1.26e+00")))


def test_values_without_end_are_not_remembered() -> None:
    before = feature_index.cache_info()
    for number in range(100):
        value_hashes("page", f"/article/{number}")
        value_hashes("page", number)
    assert feature_index.cache_info() == before

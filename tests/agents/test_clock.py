"""The order in which partitions are told the time."""

from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.agents.clock import MAX_TURNS, turns


@given(st.integers(1, 500))
def test_every_partition_has_one_turn_and_turns_are_of_like_size(partitions: int) -> None:
    found = turns(partitions)
    assert sorted(partition for turn in found for partition in turn) == list(range(partitions))
    sizes = {len(turn) for turn in found}
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == min(partitions, MAX_TURNS)

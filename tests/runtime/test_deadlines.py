"""Deadlines: the latest one set counts, each comes once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.runtime.deadlines import Deadlines


def test_keys_come_in_order_of_their_deadlines_and_once() -> None:
    deadlines = Deadlines()
    for key, due in (("a", 30.0), ("b", 10.0), ("c", 20.0), ("d", 20.1)):
        deadlines.set(key, due)
    assert deadlines.pop_due(9.9) == []
    assert deadlines.pop_due(20.0) == ["b", "c"]
    assert deadlines.pop_due(20.0) == []
    assert deadlines.pop_due(99.0) == ["d", "a"]


def test_the_latest_deadline_of_a_key_counts() -> None:
    deadlines = Deadlines()
    for due in (10.0, 50.0, 30.0, 30.0):
        deadlines.set("a", due)
    assert deadlines.pop_due(20.0) == []
    assert deadlines.pop_due(30.0) == ["a"]
    assert deadlines.pop_due(99.0) == []


def test_a_deadline_can_be_removed_and_set_again() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 10.0)
    deadlines.set("a", None)
    deadlines.set("never", None)
    assert deadlines.pop_due(20.0) == []
    deadlines.set("a", 10.0)
    assert deadlines.pop_due(20.0) == ["a"]


moves = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)) | st.integers(0, 9), max_size=40)


@settings(max_examples=150, derandomize=True)
@given(moves)
def test_it_is_a_dictionary_that_is_searched_in_order(steps: list[tuple[str, int | None] | int]) -> None:
    deadlines, model = Deadlines(), dict[str, float]()
    for step in steps:
        if isinstance(step, tuple):
            key, due = step
            deadlines.set(key, due)
            if due is None:
                model.pop(key, None)
            else:
                model[key] = due
        else:
            expected = sorted((due, key) for key, due in model.items() if due <= step)
            keys, taken = [key for _, key in expected], step % 3
            assert deadlines.split_due(step, taken) == (keys[:taken], keys[taken:])
            for key in keys[:taken]:
                del model[key]
            if step % 2:
                assert deadlines.pop_due(step) == keys[taken:]
                model = {key: due for key, due in model.items() if due > step}


def test_deadlines_that_count_no_more_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for due in range(1000):
        for key in "abcdefgh":
            deadlines.set(key, 1000.0 - due)
    assert len(deadlines._heap) <= 14
    assert deadlines.pop_due(1.0) == list("abcdefgh")

"""Categories that go together: what is related, what counts when, bounds, and that a model follows from the states."""

from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.messages.neighbours import NeighbourUpdate, UserVector
from stream_coupons.core.neighbours.buckets import BucketMember, departure
from stream_coupons.core.neighbours.relations import (
    FIT_EVERY_S,
    FREE_AFTER_S,
    MAX_CATEGORIES,
    MAX_DAMPED_WEIGHT,
    MAX_RELATED,
    CategoryBucket,
    bucket_of,
    is_category_bucket,
    relate,
    slot_of,
)
from stream_coupons.core.vectors.sparse import SparseVector

BUCKET = bucket_of("u", "shop", 1)
DAY = FIT_EVERY_S
BREAD, BUTTER, JAM, NAILS, HAMMER = range(1, 6)


def vector(user: str, at: float, weights: SparseVector) -> UserVector:
    return UserVector(user_id=user, cell=BUCKET, at=at, indices=list(weights), weights=list(weights.values()))


def likes(*categories: int) -> SparseVector:
    return dict.fromkeys(categories, 3.0)


@dataclass
class Sample:
    """States and view of one bucket, as the neighbours agent keeps them."""

    slots: int = 4096
    bucket: CategoryBucket = field(default_factory=CategoryBucket)
    members: dict[str, BucketMember] = field(default_factory=dict)

    def take(self, message: UserVector) -> SparseVector | None:
        """The answer; None if there is none."""
        slot = slot_of(message.user_id, self.slots)
        state = self.members.setdefault(slot, BucketMember())
        effects = relate(state, slot, message, self.bucket)
        if effects.is_over:
            del self.members[slot]
        assert [type(each) for each in effects.messages] in ([], [NeighbourUpdate])
        for each in effects.messages:
            assert isinstance(each, NeighbourUpdate)
            assert (each.user_id, each.cell, each.at) == (message.user_id, BUCKET, message.at)
            return dict(zip(each.indices, each.weights, strict=True))
        return None

    def recovered(self) -> CategoryBucket:
        """A view made of the states as they are kept."""
        bucket = CategoryBucket()
        for slot, state in self.members.items():
            bucket.put(slot, msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=BucketMember))
        return bucket


def breakfast_and_tools() -> Sample:
    """Twenty shoppers of a first day: half have breakfast, half build, and two in three of all buy jam."""
    sample = Sample()
    for n in range(20):
        mine = likes(BREAD, BUTTER) if n % 2 else likes(NAILS, HAMMER)
        assert sample.take(vector(f"u{n}", n, mine | (likes(JAM) if n % 3 else {}))) is None
    return sample


def test_what_goes_with_a_shoppers_categories_is_related_and_what_they_have_is_not() -> None:
    answer = breakfast_and_tools().take(vector("new", DAY, likes(BREAD)))
    assert answer is not None
    assert BREAD not in answer
    assert answer[BUTTER] == max(answer.values())
    assert HAMMER not in answer
    assert NAILS not in answer


def test_what_everybody_buys_is_related_less_than_what_goes_together() -> None:
    sample = Sample()
    for n in range(30):
        sample.take(vector(f"u{n}", n, likes(JAM) | (likes(BREAD, BUTTER) if n < 6 else likes(NAILS))))
    answer = sample.take(vector("new", DAY, likes(BREAD)))
    assert answer is not None
    # All six with bread have jam, as all others have, and butter, as nobody else has.
    assert answer[BUTTER] > answer[JAM]


def test_scores_are_those_of_the_closed_form() -> None:
    sample, rows = Sample(), np.random.default_rng(3).uniform(0.0, 5.0, (12, 4)).astype(np.float32)
    for n, row in enumerate(rows.tolist()):
        sample.take(vector(f"u{n}", DAY - 1e-3, dict(enumerate(row))))
    answer = sample.take(vector("new", DAY, {1: 2.0, 3: 4.0}))
    gram = rows.astype(np.float64).T @ rows
    inverse = np.linalg.inv(gram + np.trace(gram) / 4 * np.eye(4))
    expected = -(2.0 * inverse[1] + 4.0 * inverse[3]) / np.diag(inverse)
    assert answer == pytest.approx({k: expected[k] for k in (0, 2) if expected[k] > 0}, abs=1e-5)


def test_a_model_stays_for_its_period_and_then_follows() -> None:
    sample = breakfast_and_tools()
    before = sample.take(vector("new", DAY, likes(BREAD)))
    for n in range(20):
        sample.take(vector(f"u{n}", DAY + n, likes(BREAD, HAMMER)))
    assert sample.take(vector("new", DAY + 30, likes(BREAD))) == before
    after = sample.take(vector("new", 2 * DAY, likes(BREAD)))
    assert after is not None
    assert set(after) == {HAMMER}, "the members' latest vectors count, not those of before"


def test_older_vectors_and_departures_are_not_answered() -> None:
    sample = breakfast_and_tools()
    sample.take(vector("new", DAY + 5, likes(BREAD)))
    assert sample.take(vector("new", DAY + 4, likes(BREAD))) is None
    assert sample.take(departure("new", BUCKET, DAY + 6)) is None


def test_who_leaves_counts_no_more_and_leaves_no_state() -> None:
    sample = breakfast_and_tools()
    assert sample.take(vector("new", DAY, likes(BREAD)))
    for n in range(1, 20, 2):
        sample.take(departure(f"u{n}", BUCKET, DAY + 1))
    assert len(sample.members) == 11
    assert sample.take(vector("late", DAY + 2, likes(BREAD))) is None, "nobody else has bread"
    for n in range(0, 20, 2):
        sample.take(departure(f"u{n}", BUCKET, DAY + 3))
    for user in ("new", "late", "unknown"):
        sample.take(departure(user, BUCKET, DAY + 3))
    assert sample.members == {}
    assert sample.bucket.period == 0


def test_a_slot_is_its_shoppers_until_nothing_was_heard_of_them_for_long() -> None:
    sample = Sample(slots=1)
    sample.take(vector("first", 0.0, likes(BREAD, BUTTER)))
    assert sample.take(vector("second", DAY, likes(NAILS))) is None
    sample.take(departure("second", BUCKET, DAY))
    assert sample.members["0"].user_id == "first"
    sample.take(vector("third", FREE_AFTER_S - DAY, likes(NAILS)))
    assert sample.members["0"].user_id == "first"
    sample.take(vector("fourth", FREE_AFTER_S + DAY, likes(NAILS)))
    sample.take(vector("fifth", FREE_AFTER_S + 2 * DAY, likes(NAILS)))
    sample.take(vector("sixth", FREE_AFTER_S + 3 * DAY, likes(NAILS)))
    assert sample.members["0"].user_id == "fourth"


def test_rows_fade_with_the_time_without_news() -> None:
    def answer(age_days: int) -> float:
        sample = Sample()
        for n in range(10):
            sample.take(vector(f"old{n}", 0.0, likes(BREAD, BUTTER)))
        for n in range(10):
            sample.take(vector(f"new{n}", age_days * DAY, likes(BREAD, JAM)))
        found = sample.take(vector("asks", (age_days + 1) * DAY, likes(BREAD)))
        assert found is not None
        return found[JAM] / found[BUTTER]

    assert answer(0) == pytest.approx(1.0, rel=1e-2)
    assert 1.0 < 1.2 * answer(0) < answer(90) < answer(180)


def test_answers_vocabulary_and_weights_are_bounded() -> None:
    sample = Sample()
    for n in range(10):
        weights = {BREAD: 1.0} | {100 * n + k: 1.0 for k in range(100, 190)}
        sample.take(vector(f"u{n}", 0.0, weights))
    sample.take(vector("forger", 0.0, {BREAD: 1e6, JAM: 1e6}))
    answer = sample.take(vector("asks", DAY, {BREAD: 1e6}))
    assert answer is not None
    assert len(answer) == MAX_RELATED
    known, related = sample.bucket._fit()
    assert len(known) == MAX_CATEGORIES
    assert related.shape == (MAX_CATEGORIES, MAX_CATEGORIES)
    assert BREAD in known, "the most frequent categories are kept"
    assert max(answer.values()) < MAX_DAMPED_WEIGHT


def test_duplicates_change_nothing_and_have_the_same_answer() -> None:
    sample = breakfast_and_tools()
    first = sample.take(vector("new", DAY, likes(BREAD)))
    before = msgspec.msgpack.encode(sorted(sample.members.items()))
    assert sample.take(vector("new", DAY, likes(BREAD))) == first
    assert msgspec.msgpack.encode(sorted(sample.members.items())) == before


moves = st.lists(
    st.tuples(
        st.sampled_from([f"u{n}" for n in range(6)]),
        st.sampled_from([0.0, 0.1 * DAY, DAY, 3 * DAY, FREE_AFTER_S]),
        st.dictionaries(st.integers(1, 6), st.sampled_from([0.5, 1.0, 4.0]), max_size=4),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(moves, st.sampled_from([3, 4096]))
def test_a_model_made_of_the_states_is_the_one_that_grew_to_the_last_bit(
    moves: list[tuple[str, float, SparseVector]], slots: int
) -> None:
    sample, at = Sample(slots=slots), 0.0
    for user, later, weights in moves:
        at += later
        sample.take(vector(user, at, weights))
        recovered = sample.recovered()
        assert recovered.period == sample.bucket.period
        for asked in (BREAD, BUTTER, JAM):
            assert recovered.related([asked], [1.0]) == sample.bucket.related([asked], [1.0])


@pytest.mark.parametrize("domain", ["shop", "a/categories-1", "categories", "/"])
def test_buckets_of_categories_are_told_from_those_of_shoppers_whatever_the_domain(domain: str) -> None:
    assert is_category_bucket(bucket_of("u", domain, 7))
    assert not is_category_bucket(f"{domain}/3")
    assert {bucket_of(f"u{n}", domain, 3) for n in range(50)} == {f"{domain}/categories-{n}" for n in range(3)}

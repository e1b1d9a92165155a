"""Neighbours by cosine: the golden case, brute force, moving, eviction, and what the view forgets."""

import math
import random
from collections import defaultdict
from itertools import islice

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.messages.fields import MAX_WEIGHT
from stream_coupons.core.messages.neighbours import NeighbourUpdate, UserVector
from stream_coupons.core.neighbours.buckets import (
    MAX_INTERESTS,
    MAX_SUM,
    BucketMember,
    BucketVectors,
    cell_key,
    split_cell_key,
    update,
)
from stream_coupons.core.rules import NeighbourhoodRules
from stream_coupons.core.vectors.sparse import SparseVector, feature_index, pack_vector, top
from stream_coupons.testing import coupon
from tests.core.builders import AT, dense

EVERYBODY = NeighbourhoodRules(neighbours=100)


def member(vector: SparseVector, at: float = AT) -> BucketMember:
    return BucketMember(at, pack_vector(vector))


def stored(weight: float) -> float:
    """A weight with the 32 bits in which members keep it: brute force is to see what the cell sees."""
    return float(np.float32(weight))


def items(names: str) -> SparseVector:
    return {feature_index(f"item:{name}"): 1.0 for name in names}


def cell_of(vectors: dict[str, SparseVector], rules: NeighbourhoodRules = EVERYBODY) -> BucketVectors:
    cell = BucketVectors(rules)
    for user, vector in vectors.items():
        cell.put(user, member(vector))
    return cell


def similarities(cell: BucketVectors, user: str) -> dict[str, float]:
    return {neighbour.user_id: neighbour.similarity for neighbour in cell.nearest(user)[0]}


def test_golden_case_neighbours_are_two_thirds_alike_and_d_scores_four_thirds() -> None:
    cell = cell_of({"u1": items("ABC"), "u2": items("BCD"), "u3": items("CDA")})
    neighbours, sums = cell.nearest("u1")
    assert {neighbour.user_id: neighbour.similarity for neighbour in neighbours} == pytest.approx(
        {"u2": 2 / 3, "u3": 2 / 3}
    )
    compiled = CouponSet([coupon(name, items=[name]) for name in "ABCD"], 1000.0)
    scores = dict(zip("ABCD", compiled.scopes.content(dense(compiled, sums))[0], strict=True))
    assert scores["D"] == pytest.approx(4 / 3)
    assert scores == pytest.approx({"A": 2 / 3, "B": 2 / 3, "C": 4 / 3, "D": 4 / 3})


sparse = st.dictionaries(
    st.integers(1, 12), st.floats(-10, 10, width=32).filter(lambda w: abs(w) > 1e-3), min_size=1, max_size=6
)


def cosine(a: SparseVector, b: SparseVector) -> float:
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(weight * b.get(index, 0.0) for index, weight in a.items()) / lengths if lengths else 0.0


@settings(max_examples=80, derandomize=True)
@given(st.dictionaries(st.sampled_from("abcdefgh"), sparse, min_size=1))
def test_the_nearest_are_those_of_brute_force(vectors: dict[str, SparseVector]) -> None:
    cell = cell_of(vectors)
    for user, own in vectors.items():
        neighbours, sums = cell.nearest(user)
        exact = {other: cosine(own, vector) for other, vector in vectors.items() if other != user}
        found = {neighbour.user_id: neighbour.similarity for neighbour in neighbours}
        assert found == pytest.approx({other: found_ for other, found_ in exact.items() if other in found}, abs=1e-9)
        assert all(exact[other] <= 1e-9 for other in exact.keys() - found.keys())
        assert list(found.values()) == sorted(found.values(), reverse=True)
        for index in range(1, 13):
            expected = sum(sim * vectors[other].get(index, 0.0) for other, sim in found.items())
            assert sums.get(index, 0.0) == pytest.approx(expected, abs=1e-6)


def test_only_so_many_and_only_the_nearest() -> None:
    vectors = {"me": {1: 1.0}} | {f"u{n}": {1: 1.0, 2: n / 10} for n in range(1, 10)}
    cell = cell_of(vectors, NeighbourhoodRules(neighbours=3))
    assert [neighbour.user_id for neighbour in cell.nearest("me")[0]] == ["u1", "u2", "u3"]


def test_the_sum_is_cut_to_its_largest_terms_and_ties_go_to_the_smaller_index() -> None:
    # Six vectors share feature 0. Of their own features some weigh most, half are tied, and a vector's end is cut.
    others = {
        f"u{n}": {0: 4.0} | {100 * n + 7 * k % 64 + 1: -3.0 if k < 9 else 1.0 + k % 2 for k in range(MAX_INTERESTS)}
        for n in range(6)
    }
    neighbours, sums = cell_of(others | {"me": {0: 1.0}}).nearest("me")
    full: SparseVector = {}
    for neighbour in neighbours:
        for index, weight in islice(others[neighbour.user_id].items(), MAX_INTERESTS):
            full[index] = full.get(index, 0.0) + neighbour.similarity * weight
    assert (len(neighbours), len(full)) == (6, 1 + 6 * (MAX_INTERESTS - 1))
    assert sums == pytest.approx(top(full, MAX_SUM))
    assert [*sums] == sorted(sums)


@pytest.mark.long
@settings(max_examples=80, derandomize=True)
@given(st.dictionaries(st.sampled_from("abcdefgh"), sparse, min_size=2), st.randoms(use_true_random=False))
def test_what_is_said_depends_on_neither_the_order_nor_what_was_there_before(
    vectors: dict[str, SparseVector], chance: random.Random
) -> None:
    # A worker that took over reads members in another order than they came in.
    rules = NeighbourhoodRules(neighbours=2)
    long = dict.fromkeys(range(60), 1.0)
    worn = cell_of(dict.fromkeys([*vectors, "gone"], long), rules)
    worn.put("gone", BucketMember())
    for user in chance.sample(sorted(vectors), len(vectors)):
        worn.put(user, member(vectors[user]))
    fresh = cell_of(vectors, rules)
    for user in vectors:
        assert worn.nearest(user) == fresh.nearest(user)


def test_a_new_vector_replaces_the_old_one() -> None:
    cell = cell_of({"a": {1: 1.0}, "b": {1: 1.0}})
    cell.put("b", member({2: 1.0}))
    assert similarities(cell, "a") == {}
    assert len(cell) == 2


def test_who_moves_away_is_no_neighbour_and_the_row_is_used_again() -> None:
    cell = cell_of({"a": {1: 1.0}, "b": {1: 1.0}})
    cell.put("b", BucketMember())
    assert similarities(cell, "a") == {}
    assert len(cell) == 1
    cell.put("c", member({1: 1.0, 3: 1.0}))
    assert similarities(cell, "a") == pytest.approx({"c": 2**-0.5})
    cell.put("nobody", BucketMember())
    assert len(cell) == 2


def test_a_full_cell_gives_up_its_stalest_member() -> None:
    cell = BucketVectors(NeighbourhoodRules(max_members=3))
    for user, at in (("b", 2.0), ("a", 1.0), ("c", 3.0), ("d", 4.0)):
        cell.put(user, member({1: 1.0}, at))
    assert len(cell) == 3
    assert set(similarities(cell, "d")) == {"b", "c"}


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 2), st.booleans()), max_size=40))
def test_a_view_made_anew_holds_whom_the_one_that_saw_all_come_and_go_holds(
    steps: list[tuple[str, int, bool]],
) -> None:
    cell, members, at = BucketVectors(NeighbourhoodRules(max_members=3)), dict[str, BucketMember](), AT
    for user, passed_s, stays in steps:
        at += passed_s
        message = vector_message(user, {1: 1.0} if stays else {}, at)
        if update(members.setdefault(user, BucketMember()), message, cell).is_over:
            del members[user]
    anew = BucketVectors(NeighbourhoodRules(max_members=3))
    for user, each in sorted(members.items()):
        anew.put(user, each)
    last = vector_message("me", {1: 1.0}, at)
    told = [update(BucketMember(), last, view).messages for view in (cell, anew)]
    assert told[0] == told[1]


def test_who_was_left_out_does_not_come_back_when_another_moves_away() -> None:
    cell = BucketVectors(NeighbourhoodRules(max_members=3))
    for user, at in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)):
        cell.put(user, member({1: 1.0}, at))
    cell.put("d", BucketMember(10.0))
    assert set(similarities(cell, "c")) == {"b"}


def test_whoever_comes_first_a_full_cell_holds_the_freshest() -> None:
    # After a crash members are placed in the order of the table, not in that of their vectors.
    for seed in range(20):
        users = [(user, float(n)) for n, user in enumerate("abcdef")]
        random.Random(seed).shuffle(users)
        cell = BucketVectors(NeighbourhoodRules(max_members=3))
        for user, at in users:
            cell.put(user, member({1: 1.0}, at))
        assert set(similarities(cell, "f")) == {"d", "e"}


def test_many_members_and_features_keep_the_results_of_brute_force() -> None:
    # Enough comings and goings that rows grow, are used again, and columns are renumbered.
    rng = random.Random(3)
    cell, vectors = BucketVectors(EVERYBODY), {}
    for step in range(3000):
        user = f"u{rng.randrange(40)}"
        if rng.random() < 0.4:
            vectors.pop(user, None)
            cell.put(user, BucketMember())
        else:
            vectors[user] = {rng.randrange(step, step + 60): stored(rng.random() + 0.1) for _ in range(3)}
            cell.put(user, member(vectors[user], float(step)))
    assert len(cell) == len(vectors) > 10
    for user, own in vectors.items():
        exact = {other: cosine(own, vector) for other, vector in vectors.items() if other != user}
        assert similarities(cell, user) == pytest.approx(
            {other: similarity for other, similarity in exact.items() if similarity > 0}, abs=1e-9
        )


def test_features_nobody_has_any_more_are_forgotten() -> None:
    cell = BucketVectors(EVERYBODY)
    cell.put("still", member({0: 1.0}))
    for n in range(0, 40_000, 4):
        cell.put("changing", member({n + 1: 1.0, n + 2: 1.0, n + 3: 1.0, 0: 1.0}))
    assert similarities(cell, "still") == pytest.approx({"changing": 0.5})
    assert len(cell._indices) < 2000


def vector_message(user: str, vector: SparseVector, at: float = AT, cell: str = "shop/0") -> UserVector:
    return UserVector(user_id=user, cell=cell, at=at, indices=list(vector), weights=list(vector.values()))


class Town:
    """States and view of some cells, as the neighbours agent keeps them."""

    def __init__(self) -> None:
        self.cells = defaultdict[str, BucketVectors](lambda: BucketVectors(EVERYBODY))
        self.members: dict[str, BucketMember] = {}

    def take(self, message: UserVector) -> list[NeighbourUpdate]:
        state = self.members.setdefault(cell_key(message.cell, message.user_id), BucketMember())
        return update(state, message, self.cells[message.cell]).messages  # type: ignore[return-value]


def test_the_owner_hears_who_is_near() -> None:
    town = Town()
    assert town.take(vector_message("a", {1: 1.0}))[0].neighbours == []
    told = town.take(vector_message("b", {1: 1.0, 2: 1.0}, AT + 1))[0]
    assert (told.user_id, told.cell, told.at) == ("b", "shop/0", AT + 1)
    assert [neighbour.user_id for neighbour in told.neighbours] == ["a"]
    assert dict(zip(told.indices, told.weights, strict=True)) == pytest.approx({1: 2**-0.5})


@pytest.mark.parametrize("forged", [2, 3, 40])
def test_the_greatest_vectors_that_are_let_in_add_up_to_what_may_be_said(forged: int) -> None:
    town = Town()
    for n in range(forged):
        town.take(vector_message(f"u{n}", {1: MAX_WEIGHT, 2: -MAX_WEIGHT, 3: 1.0}, AT + n))
    [told] = town.take(vector_message("honest", {1: 4.0, 2: -4.0, 3: 1.0}, AT + forged))
    assert len(told.neighbours) == forged
    sums = dict(zip(told.indices, told.weights, strict=True))
    assert (sums[1], sums[2]) == (MAX_WEIGHT, -MAX_WEIGHT)
    assert 0.9 * forged < sums[3] < forged, "what is within bounds is said as it is"
    assert msgspec.json.decode(msgspec.json.encode(told), type=NeighbourUpdate) == told


@pytest.mark.parametrize("cell", ["shop/0", "12:shop/0", "a\x1fb/0", ":", "1"])
@pytest.mark.parametrize("user", ["u", "12:u", "a\x1fb", ":"])
def test_a_state_key_tells_cell_and_shopper_apart_whatever_their_names(cell: str, user: str) -> None:
    assert split_cell_key(cell_key(cell, user)) == (cell, user)
    town = Town()
    assert town.take(vector_message(user, {1: 1.0}, cell=cell))[0].cell == cell


def test_cells_do_not_see_each_other() -> None:
    town = Town()
    town.take(vector_message("a", {1: 1.0}, cell="shop/0"))
    assert town.take(vector_message("b", {1: 1.0}, cell="shop/1"))[0].neighbours == []


def test_older_news_is_ignored() -> None:
    town = Town()
    town.take(vector_message("a", {1: 1.0}, AT))
    assert town.take(vector_message("a", {2: 1.0}, AT - 1)) == []
    assert town.take(vector_message("b", {1: 1.0}, AT))[0].neighbours[0].user_id == "a"


def test_moving_away_leaves_nothing_behind_and_nobody_is_told() -> None:
    town = Town()
    town.take(vector_message("a", {1: 1.0}, AT))
    assert town.take(vector_message("a", {}, AT + 1)) == []
    assert town.take(vector_message("b", {1: 1.0}, AT + 1))[0].neighbours == []
    assert town.take(vector_message("a", {1: 1.0}, AT)) == []


def test_a_view_made_of_the_states_is_the_view_that_grew() -> None:
    rng = random.Random(9)
    town = Town()
    for n in range(200):
        vector = {rng.randrange(30): rng.random() + 0.1 for _ in range(rng.randrange(5))}
        town.take(vector_message(f"u{rng.randrange(20)}", vector, AT + n))
    recovered = BucketVectors(EVERYBODY)
    for key, state in town.members.items():
        recovered.put(split_cell_key(key)[1], state)
    living = [split_cell_key(key)[1] for key, state in town.members.items() if state.packed[0]]
    assert len(living) > 10
    for user in living:
        assert similarities(recovered, user) == pytest.approx(similarities(town.cells["shop/0"], user), abs=1e-12)
        assert np.isfinite(list(similarities(recovered, user).values())).all()

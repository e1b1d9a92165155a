"""The protocol of the next-category benchmark, on orders few enough to count by hand."""

import math

import numpy as np
import pytest

from benchmarks.next_category import (
    COLUMNS,
    Judge,
    Purchases,
    compare,
    exact_neighbours,
    interval,
    recall,
    shares,
    states,
)
from stream_coupons.core.messages.inputs import OrderEvent
from stream_coupons.core.rules import NeighbourhoodRules, ProfileRules
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.settings import Settings
from stream_coupons.testing import item, order

CUT = 100 * DAY_S
SETTINGS = Settings(
    profile=ProfileRules(half_life_s=1e9, habit_half_life_s=1e9, order_weight=1.0),
    neighbourhood=NeighbourhoodRules(cells=1, publish_every_s=0.0),
)


def ordered(user: str, day: float, categories: str) -> OrderEvent:
    """One line for each letter; a dash is a line without a category."""
    items = [item(f"{user}{i}", category=None if c == "-" else c) for i, c in enumerate(categories)]
    return order(user, *items, at=day * DAY_S)


ORDERS = [
    ordered("u5", 9, "E"),
    ordered("u2", 10, "BCD"),
    ordered("u3", 11, "CDA"),
    ordered("u1", 12, "AB-C"),
    ordered("u5", 20, "E"),
    ordered("u1", 100, "AADD"),  # at the cut: no longer known
    ordered("u1", 127.9, "AE"),
    ordered("u4", 101, "A"),  # never seen before the cut
    ordered("u2", 128, "A"),  # beyond the window
]
PURCHASES = Purchases.of(ORDERS)


def test_the_cut_ends_what_is_known_and_lines_without_a_category_count_nowhere() -> None:
    judge = Judge.at(CUT, PURCHASES)
    assert PURCHASES.households == ["u1", "u2", "u3", "u4", "u5"]
    assert PURCHASES.categories == ["A", "B", "C", "D", "E"]
    assert judge.known.tolist() == [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [1, 0, 1, 1, 0], [0] * 5, [0, 0, 0, 0, 2]]
    assert judge.bought.tolist() == [[3, 0, 0, 2, 1], [0] * 5, [0] * 5, [1, 0, 0, 0, 0], [0] * 5]


def test_counts_halve_with_each_half_life() -> None:
    counts = PURCHASES.counts(-np.inf, 20 * DAY_S, half_life_s=4 * DAY_S)
    assert counts[0].tolist() == [0.25, 0.25, 0.25, 0, 0]


def test_recall_is_the_share_of_what_was_bought_among_the_highest() -> None:
    bought = np.array([[3.0, 0.0, 0.0, 2.0, 1.0]])
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
    everything = np.ones((1, 5), bool)
    assert recall(scores, bought, everything, size=2).tolist() == [3 / 6]
    assert recall(scores, bought, everything, size=4).tolist() == [5 / 6]
    only_new = np.array([[False, False, True, True, True]])
    assert recall(scores, bought, only_new, size=2).tolist() == [2 / 3]
    assert math.isnan(recall(scores, np.array([[3.0, 1.0, 0.0, 0.0, 0.0]]), only_new, size=2)[0])


def test_ties_go_to_the_name_that_sorts_first() -> None:
    bought, everything = np.array([[1.0, 0.0, 4.0]]), np.ones((1, 3), bool)
    assert recall(np.array([[7.0, 7.0, 7.0]]), bought, everything, size=1).tolist() == [1 / 5]
    assert recall(np.array([[-1.0, -1.0, 0.0]]), bought, everything, size=2).tolist() == [1.0]


def test_households_never_seen_or_that_buy_nothing_do_not_count() -> None:
    judge = Judge.at(CUT, PURCHASES, size=1)
    recalls = judge.recalls(np.tile([5.0, 0.0, 0.0, 2.0, 1.0], (5, 1)))
    assert recalls[0] == pytest.approx([3 / 6, 2 / 3, 1 / 3, 1 / 2])
    assert np.isnan(recalls[1:]).all()


def test_the_agents_hold_what_was_ordered_before_each_cut_and_the_golden_case() -> None:
    [nothing, (own, habits, near, related)] = states(ORDERS, (5 * DAY_S, CUT), PURCHASES, SETTINGS)
    assert not np.any(nothing)
    assert own == pytest.approx(Judge.at(CUT, PURCHASES).known, rel=1e-2)
    assert habits == pytest.approx(Judge.at(CUT, PURCHASES).known, rel=1e-2)
    exact = exact_neighbours(Judge.at(CUT, PURCHASES).known)
    assert exact[0] == pytest.approx([2 / 3, 2 / 3, 4 / 3, 4 / 3, 0])
    # Here vectors hold items, too, each of one shopper only: the cosine is 2 / sqrt(7 * 6), not 2 / 3.
    assert near[0] == pytest.approx(exact[0] * 3 / math.sqrt(42), rel=1e-2)
    assert related[0].argmax() == 3, "u1 has all that others have but D"
    assert np.count_nonzero(related[0]) == 1


def test_feeding_stops_at_the_last_cut() -> None:
    late = [*ORDERS, ordered("u1", 200, "E" * 50)]
    found, again = states(late, (CUT,), PURCHASES, SETTINGS), states(ORDERS[:5], (CUT,), PURCHASES, SETTINGS)
    assert np.array_equal(found[0][0], again[0][0])


def test_rows_become_shares_of_what_is_positive() -> None:
    assert shares(np.array([[1.0, 3.0, -9.0], [0.0, 0.0, 0.0]])).tolist() == [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]


def test_the_weights_are_those_of_the_earlier_cut() -> None:
    a, b, d, e = (np.tile(row, (5, 1)) for row in np.eye(5)[[0, 1, 3, 4]])
    # At the earlier cut u5 buys E, as the neighbours say; at the judged one u1 buys A above all, as the interests say.
    found = compare(PURCHASES, (15 * DAY_S, CUT), [[a, b, e, d]] * 2, size=1)
    assert found["weights"] == (0.0, 0.0, 0.6, 0.4)
    assert (found["households"], found["categories"]) == (1, 5)
    by_lines = {name: row["by lines"][0] for name, row in found["rows"].items()}
    assert by_lines["popularity"] == 0.0  # C, which all know, goes first
    assert by_lines["ours: interests"] == 3 / 6
    assert by_lines["ours: habits"] == 0.0
    assert by_lines["ours: 0.0 interests + 0.0 habits + 0.6 neighbours + 0.4 related"] == pytest.approx(1 / 6)
    assert by_lines["difference, ours - exact"] == pytest.approx(1 / 6)
    # Without neighbours, related categories alone say D at both cuts, of which u1 buys two of six lines.
    assert by_lines["without neighbours: 0.0 interests + 0.0 habits + 0.0 neighbours + 1.0 related"] == 2 / 6
    assert by_lines["difference, ours - without neighbours"] == pytest.approx(1 / 6 - 2 / 6)
    assert set(found["rows"]["popularity"]) == set(COLUMNS)


def test_an_interval_spans_the_mean_and_is_the_same_again() -> None:
    values = np.array([0.0, 1.0] * 200 + [math.nan] * 50)
    mean, lower, upper = interval(values)
    assert mean == 0.5
    assert upper - lower == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(400), rel=0.15)
    assert interval(values) == (mean, lower, upper)

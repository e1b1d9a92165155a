"""Exact sums of the live measurement: any order of changes, periods, and the matrices that lift is computed from."""

import numpy as np
import pytest

from stream_coupons.core.measurement.lift import contrast
from stream_coupons.core.measurement.lift import sums as offline_sums
from stream_coupons.core.measurement.lift_sums import (
    COVARIATES,
    MARGIN,
    UNITS,
    WIDTH,
    LiftChange,
    LiftSums,
    Row,
    matrices,
)


def row(start: int, best: int, margin: int, orders: int, rate: int = 0) -> Row:
    return (1, start, best, rate, rate, start * rate, start * rate, margin, orders)


def changes(count: int, seed: int = 1) -> list[LiftChange]:
    """Shoppers who enrol and order twice."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        cell, start, best, rate = (int(each) for each in rng.integers([0, 29_000_000, 0, 0], [8, 29_100_000, 900, 99]))
        first = row(start, best, 0, 0, rate)
        then = row(start, best, int(rng.integers(-500, 90_000)), 1, rate)
        last = row(start, best, then[MARGIN] + int(rng.integers(10**12)), 2, rate)
        found += [
            LiftChange("shop", 0, cell, None, first),
            LiftChange("shop", 0, cell, first, then, predicted=7),
            LiftChange("shop", 0, cell, then, last, closed=3),
        ]
    return found


def summed(some: list[LiftChange]) -> LiftSums:
    found = LiftSums()
    for change in some:
        found.add(change)
    return found


def test_changes_in_any_order_make_the_same_sums_to_the_last_bit() -> None:
    some = changes(60)
    shuffled = [some[place] for place in np.random.default_rng(2).permutation(len(some))]
    assert summed(some).cells == summed(shuffled).cells
    assert (summed(some).predicted, summed(some).closed) == (60 * 7, 60 * 3)


def test_sums_are_those_of_the_last_rows_with_enrolment_relative_to_its_mean() -> None:
    some = changes(200)
    last = [change for change in some if change.closed]
    rows = np.array([[value * unit for value, unit in zip(one.after, UNITS, strict=True)] for one in last])
    start = rows[:, 1] - rows[:, 1].mean()
    rows[:, 1], rows[:, 5], rows[:, 6] = start, start * rows[:, 3], start * rows[:, 4]
    cells = np.array([one.cell for one in last])
    expected = offline_sums(rows[:, COVARIATES], rows[:, MARGIN], cells % 2 == 1, cells // 2)
    found = matrices(np.array(summed(some).products()))
    assert found.shape[-1] == WIDTH
    kept = [0, *COVARIATES, MARGIN]
    live, offline = contrast(found[..., kept, :][..., kept]), contrast(expected)
    assert float(live.value) == pytest.approx(float(offline.value), rel=1e-6)
    assert float(live.error) == pytest.approx(float(offline.error), rel=1e-6)


def test_a_shopper_counts_as_buyer_once() -> None:
    assert summed(changes(5)).buyers == 5


def test_a_later_period_begins_anew_and_earlier_ones_are_over() -> None:
    one = row(5, 1, 0, 0)
    found = summed([*changes(3), LiftChange("shop", 1, 0, None, one)])
    assert (found.period, found.version, found.buyers, found.predicted) == (1, 1, 0, 0)
    assert found.cells == summed([LiftChange("shop", 0, 0, None, one)]).cells
    late = LiftChange("shop", 0, 0, row(9, 9, 0, 0), row(9, 9, 7, 1))
    before_it_began = LiftChange("shop", 2, 0, row(9, 9, 0, 0), row(9, 9, 7, 1))
    for ignored in (late, before_it_began):
        found.add(ignored)
    assert (found.period, found.version) == (1, 1)

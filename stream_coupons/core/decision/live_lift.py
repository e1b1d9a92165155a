"""Lift of a domain or a campaign, from what all partitions report."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.measurement.lift import contrast, critical_value
from stream_coupons.core.measurement.lift_sums import CELLS, COVARIATES, MARGIN, ORDERS, PAIRS, matrices
from stream_coupons.core.measurement.sample_ratio import is_mismatch
from stream_coupons.core.messages.lift import LiftTotals

Floats = NDArray[np.float64]


class LiveLift(NamedTuple):
    """Lift in margin of the shoppers of a series in one period, minor units.

    Attributes
    ----------
    treated, without : int
        Shoppers who may get coupons, and those who get none of them.
    low, mid, high : float
        Lift per shopper and its interval; its ends are NaN before the first look.
    buyers : float
        Shoppers with an order that the smaller arm is expected to have.
    predicted, closed : float
        Predicted value of all coupons given, and of those whose window has closed, before any correction.
    is_mismatch : bool
        True if the arms have not the shares that they were drawn by.
    """

    treated: int
    without: int
    low: float
    mid: float
    high: float
    buyers: float
    predicted: float
    closed: float
    is_mismatch: bool

    @property
    def agrees(self) -> bool:
        """False if the predicted values are outside of the measured interval, open coupons counted or not."""
        ends = self.treated * self.low, self.treated * self.high
        return not (max(self.closed, self.predicted) < ends[0] or min(self.closed, self.predicted) > ends[1])


def is_whole(totals: LiftTotals) -> bool:
    """Return True if a report has as many sums as it must."""
    return len(totals.products) == CELLS * len(PAIRS)


def measure(parts: Sequence[LiftTotals], expected: float) -> LiveLift:
    """Return the lift of a series.

    Parameters
    ----------
    parts : sequence of LiftTotals
        The latest report of each partition, all of one period.
    expected : float
        Share of the shoppers that the arm without coupons should have.
    """
    nothing = [0.0] * (CELLS * len(PAIRS))
    sums = matrices(np.array([one.products for one in parts] or [nothing]).sum(axis=0))
    treated, without = (int(count) for count in sums[..., 0, 0].sum(axis=0))
    buyers = np.array(sum(one.buyers for one in parts))
    mid, low, high = map(float, intervals(sums, buyers, MARGIN))
    return LiveLift(
        treated=treated,
        without=without,
        low=low,
        mid=mid,
        high=high,
        buyers=float(smaller_share(sums) * buyers),
        predicted=sum(one.predicted_minor for one in parts),
        closed=sum(one.closed_minor for one in parts),
        is_mismatch=is_mismatch(without, treated, expected),
    )


def smaller_share(sums: Floats) -> Floats:
    """Return the share of the shoppers that the smaller arm has; parameters as of `intervals`."""
    counts = sums[..., 0, 0].sum(axis=-2)
    share: Floats = counts.min(axis=-1) / np.maximum(counts.sum(axis=-1), 1.0)
    return share


def intervals(sums: Floats, buyers: NDArray[np.int_], outcome: int, covariates: Sequence[int] = COVARIATES) -> Floats:
    """Return the lift per shopper, and the ends of its interval, which are NaN before the first look.

    Parameters
    ----------
    sums : array, shape (..., FOLDS, 2, w, w)
        Sums of products at each of some looks, as of `lift_sums.centred`.
    buyers : array of int, shape (...)
        Shoppers with an order.
    outcome : int
        Column of the outcome.
    covariates : sequence of int
        Columns that the lift is adjusted for.

    Returns
    -------
    array, shape (3, ...)
    """
    kept = [0, *covariates, outcome]
    found, share = contrast(sums[..., kept, :][..., kept]), smaller_share(sums)
    orders = sums[..., 0, ORDERS].sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):  # an error of 0 before the first look
        half = critical_value(share * orders, share * buyers) * found.error
    half = np.where(np.isfinite(half), half, np.nan)
    return np.array([found.value, found.value - half, found.value + half])

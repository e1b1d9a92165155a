"""Lift of a domain or a campaign, from what all partitions report."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream_coupons.core.measurement.lift import contrast, critical_value
from stream_coupons.core.measurement.lift_sums import CELLS, COVARIATES, MARGIN, ORDERS, PAIRS, matrices
from stream_coupons.core.measurement.sample_ratio import is_mismatch
from stream_coupons.core.messages.lift import LiftTotals


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
    counts = sums[..., 0, 0].sum(axis=0)
    kept = [0, *COVARIATES, MARGIN]
    found = contrast(sums[..., kept, :][..., kept])
    share = counts.min() / max(counts.sum(), 1.0)
    buyers, orders = share * sum(one.buyers for one in parts), share * sums[..., 0, ORDERS].sum()
    half = float(critical_value(orders, buyers)) * float(found.error)
    treated, without, mid = int(counts[0]), int(counts[1]), float(found.value)
    return LiveLift(
        treated=treated,
        without=without,
        low=mid - half if math.isfinite(half) else math.nan,
        mid=mid,
        high=mid + half if math.isfinite(half) else math.nan,
        buyers=float(buyers),
        predicted=sum(one.predicted_minor for one in parts),
        closed=sum(one.closed_minor for one in parts),
        is_mismatch=is_mismatch(without, treated, expected),
    )

"""Policies that know what no shop knows: what coupons are truly worth, for each shopper or on average.

Caps, stocks, budgets and the holdout are those of the product.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.scoring import ValueScorer
from stream_coupons.core.features.rows import Subject
from stream_coupons_lab.simulation.shoppers import World
from stream_coupons_lab.simulation.worth import Worth


class AllEqual(ValueScorer):
    """Values all coupons alike: for the strategy that draws among them."""

    def values_of(self, subject: Subject) -> Floats:
        """Return zeros."""
        return np.zeros(len(subject.positions))


class TrueValue(ValueScorer):
    """Gives the coupon that is truly worth most for this shopper at this moment, whatever comes later.

    Parameters
    ----------
    world : World
        World of the shoppers.
    cost_minor : float
        Cost of sending a coupon, minor units.
    """

    def __init__(self, world: World, cost_minor: float) -> None:
        self._world = world
        self._cost_minor = cost_minor
        self._coupons = {coupon.coupon_id: coupon for coupon in world.catalogue()}
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._times: defaultdict[str, int] = defaultdict(int)

    def values_of(self, subject: Subject) -> Floats:
        """Return the expected incremental margin of each coupon, less the cost of sending it, minor units."""
        return np.asarray(self.worth_of(subject).margin_minor - self._cost_minor)

    def worth_of(self, subject: Subject) -> Worth:
        """Return what each coupon is truly worth, and count it for the average."""
        # Those of a campaign carry its terms in the compiled catalogue, and would be other coupons to the world.
        coupons = [self._coupons[subject.coupons.coupons[n].coupon_id] for n in subject.positions]
        worth = self._world.worth(subject.user_id, coupons, subject.at)
        for coupon, margin in zip(coupons, worth.margin_minor.tolist(), strict=True):
            self._sums[coupon.coupon_id] += margin
            self._times[coupon.coupon_id] += 1
        return worth

    def average_minor(self) -> dict[str, float]:
        """Return the mean worth of each coupon over the moments at which it was valued, minor units."""
        return {name: self._sums[name] / times for name, times in sorted(self._times.items())}


class FixedRanking(ValueScorer):
    """Gives everybody the coupon that is worth most on average, or the next one if they may not get it."""

    def __init__(self, average_minor: Mapping[str, float], cost_minor: float) -> None:
        self._average_minor = average_minor
        self._cost_minor = cost_minor

    def values_of(self, subject: Subject) -> Floats:
        """Return the average worth of each coupon, less the cost of sending it."""
        names = [subject.coupons.coupons[n].coupon_id for n in subject.positions]
        return np.array([self._average_minor.get(name, 0.0) for name in names]) - self._cost_minor

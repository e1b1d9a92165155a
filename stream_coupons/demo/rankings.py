"""Policies that know what no shop knows: what coupons are truly worth, for each shopper or on average.

The product decides by a formula of probabilities. These scorers return probabilities for which the formula gives the
value that they want, so that caps, stocks, budgets and the holdout are those of the product.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import FeatureRows, Subject
from stream_coupons.core.scoring import HEADS
from stream_coupons.simulation.shoppers import World

WORTH_MINOR = 1e6
"""`policy.redemption_worth_minor` for which these scorers are made; `policy.cost_weight` has to be 0."""


class Ranking:
    """Base of scorers whose value of a coupon in minor units is given."""

    version = 0

    def values(self, subject: Subject) -> Floats:
        """Return what each coupon is worth for a shopper at a moment, minor units."""
        raise NotImplementedError

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities, shape (n, 3), for which the policy's value is that of `values`.

        Raises
        ------
        ValueError
            If it is not known whom the rows are about.
        """
        if len(rows) and not rows.subjects:
            raise ValueError("rows without a subject: a ranking by the ground truth has to be told whom they are about")
        return np.concatenate([self._predict(subject) for subject in rows.subjects])

    def _predict(self, subject: Subject) -> Floats:
        margins = subject.coupons.margin_minor[subject.positions]
        discounts = subject.coupons.discount_minor[subject.positions]
        values = self.values(subject)
        predicted = np.zeros((len(values), len(HEADS)))
        predicted[:, HEADS.index("redeem")] = np.where(values > 0, values / (margins - discounts + WORTH_MINOR), 0.0)
        losses = np.where(values < 0, -values / np.maximum(margins, 1e-9), 0.0)
        predicted[:, HEADS.index("order")] = np.minimum(losses, 1.0)
        return predicted

    def contributions(
        self,
        rows: FeatureRows,  # noqa: ARG002
        row: int,  # noqa: ARG002
        head: int,  # noqa: ARG002
        names: Sequence[str] = (),  # noqa: ARG002
    ) -> list[tuple[str, float, float]]:
        """Return nothing: there are no weights."""
        return []


class TrueWorth(Ranking):
    """Gives the coupon that is truly worth most for this shopper at this moment, whatever comes later."""

    def __init__(self, world: World, cost_minor: float) -> None:
        self._world = world
        self._cost_minor = cost_minor
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._times: defaultdict[str, int] = defaultdict(int)

    def values(self, subject: Subject) -> Floats:
        """Return the expected incremental margin of each coupon, less the cost of sending it."""
        coupons = [subject.coupons.coupons[n] for n in subject.positions]
        margins = self._world.worth(subject.user_id, coupons, subject.at).margin_minor
        for coupon, margin in zip(coupons, margins.tolist(), strict=True):
            self._sums[coupon.coupon_id] += margin
            self._times[coupon.coupon_id] += 1
        return np.asarray(margins - self._cost_minor)

    def average_minor(self) -> dict[str, float]:
        """Return the mean worth of each coupon over the moments at which it was valued, minor units."""
        return {name: self._sums[name] / times for name, times in sorted(self._times.items())}


class FixedRanking(Ranking):
    """Gives everybody the coupon that is worth most on average, or the next one if they may not get it."""

    def __init__(self, average_minor: Mapping[str, float], cost_minor: float) -> None:
        self._average_minor = average_minor
        self._cost_minor = cost_minor

    def values(self, subject: Subject) -> Floats:
        """Return the average worth of each coupon, less the cost of sending it."""
        names = [subject.coupons.coupons[n].coupon_id for n in subject.positions]
        return np.array([self._average_minor.get(name, 0.0) for name in names]) - self._cost_minor

"""Reader of the live totals of lift, and the brake: where chance shows that coupons lose money, few are given.

**Brake.** When the interval of a domain's lift lies below zero, the domain is braked: of the shoppers beside the
holdout only `policy.brake_probe_ratio`, drawn by the secret, may get coupons. Shoppers are then followed anew, in a new
period. The few are compared with the others, who got coupons before, too, and get none now.

**Release.** The domain is released at the first look at which that interval does not lie below zero, but not before the
smaller arm is expected to have `FIRST_LOOK` shoppers with an order; twice as many at each further brake. That shows no
gain, only that a loss is not proved any more. If coupons still lose, the domain is braked again, and for longer. In the
period after a release shoppers count from their next decision on; caps delay it for the few who just had coupons.

**Correction.** While a domain is not braked, and the predicted values of coupons whose window has closed exceed the
upper end of the measured lift, all values are multiplied by the ratio of the two.

Each period's interval holds the effect at all of its looks together with 95 %. A wrong sample ratio changes nothing:
the arms cannot be compared then.
"""

import math
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from stream_coupons.core.decision.scoring import NO_BRAKE
from stream_coupons.core.measurement.lift import FIRST_LOOK, contrast, critical_value
from stream_coupons.core.measurement.lift_sums import CELLS, COVARIATES, MARGIN, ORDERS, PAIRS, matrices
from stream_coupons.core.measurement.sample_ratio import is_mismatch
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import PolicyRules

LEAST_VALUE_RATIO = 0.01
"""Lower bound of the correction of values: those of coupons given by exploration still tell what was predicted."""


class LiveLift(NamedTuple):
    """Lift in margin of a domain's shoppers in the present period, minor units.

    Attributes
    ----------
    treated, without : int
        Shoppers who may get coupons, and those who get none.
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


class LiftReader:
    """Adds up the totals of partitions, and derives the brake of each domain.

    Attributes
    ----------
    brakes : dict of LiftBrake
        By domain; those of the last snapshots, when the reader goes on.
    lifts : dict of LiveLift
        The present lift, by domain.
    """

    def __init__(self, rules: PolicyRules) -> None:
        self._rules = rules
        self.brakes: dict[str, LiftBrake] = {}
        self.lifts: dict[str, LiveLift] = {}
        self._totals: LatestReports[LiftTotals] = LatestReports()
        self._changed: set[str] = set()

    def take(self, totals: LiftTotals) -> None:
        """Take in a report, unless a later one of its partition is known, or it is of another length."""
        if len(totals.products) == CELLS * len(PAIRS) and self._totals.take(totals):
            self._changed.add(totals.domain)

    def update(self) -> set[str]:
        """Measure the domains with new totals, and return those that were braked or released."""
        turned = set()
        for domain in sorted(self._changed):
            before = self.brakes.get(domain, NO_BRAKE)
            # A brake may be lost with its snapshots; the shoppers of its period are not.
            latest = max(one.period for one in self._totals.parts(domain))
            known = before if before.period >= latest else LiftBrake(period=latest)
            self.lifts[domain] = found = self._measure(domain, known)
            self.brakes[domain] = after = self._next(known, found)
            if after.period != before.period:
                turned.add(domain)
        self._changed.clear()
        return turned

    def _measure(self, domain: str, brake: LiftBrake) -> LiveLift:
        totals = [one for one in self._totals.parts(domain) if one.period == brake.period]
        nothing = [0.0] * (CELLS * len(PAIRS))
        sums = matrices(np.array([one.products for one in totals] or [nothing]).sum(axis=0))
        counts = sums[..., 0, 0].sum(axis=0)
        kept = [0, *COVARIATES, MARGIN]
        found = contrast(sums[..., kept, :][..., kept])
        share = counts.min() / max(counts.sum(), 1.0)
        buyers, orders = share * sum(one.buyers for one in totals), share * sums[..., 0, ORDERS].sum()
        half = float(critical_value(orders, buyers)) * float(found.error)
        treated, without, mid = int(counts[0]), int(counts[1]), float(found.value)
        expected = 1.0 - brake.given_ratio if brake.is_on else self._rules.holdout_ratio
        return LiveLift(
            treated=treated,
            without=without,
            low=mid - half if math.isfinite(half) else math.nan,
            mid=mid,
            high=mid + half if math.isfinite(half) else math.nan,
            buyers=float(buyers),
            predicted=sum(one.predicted_minor for one in totals),
            closed=sum(one.closed_minor for one in totals),
            is_mismatch=is_mismatch(without, treated, expected),
        )

    def _next(self, brake: LiftBrake, found: LiveLift) -> LiftBrake:
        """Return the brake after a look."""
        if not self._rules.lift_brake:
            return LiftBrake(period=brake.period + brake.is_on)
        if math.isnan(found.high) or found.is_mismatch:
            return brake
        if brake.is_on:
            is_enough = found.buyers >= FIRST_LOOK * 2.0 ** (brake.period // 2)
            return LiftBrake(period=brake.period + 1) if is_enough and found.high >= 0.0 else brake
        if found.high < 0.0:
            return LiftBrake(period=brake.period + 1, given_ratio=self._rules.brake_probe_ratio)
        most = found.treated * found.high
        ratio = 1.0 if found.closed <= most else max(most / found.closed, LEAST_VALUE_RATIO)
        return replace(brake, value_ratio=round(ratio, 3))

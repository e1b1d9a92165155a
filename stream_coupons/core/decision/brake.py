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

from msgspec.structs import replace

from stream_coupons.core.decision.live_lift import LiveLift, is_whole, measure
from stream_coupons.core.decision.scoring import NO_BRAKE
from stream_coupons.core.measurement.lift import FIRST_LOOK
from stream_coupons.core.measurement.totals import LatestReports
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import PolicyRules

LEAST_VALUE_RATIO = 0.01
"""Lower bound of the correction of values: those of coupons given by exploration still tell what was predicted."""


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
        """Take in a report on a domain, unless a later one of its partition is known, or it is of another length."""
        if totals.campaign_id is None and is_whole(totals) and self._totals.take(totals):
            self._changed.add(totals.domain)

    def update(self) -> set[str]:
        """Measure the domains with new totals, and return those that were braked or released."""
        turned = set()
        for domain in sorted(self._changed):
            before = self.brakes.get(domain, NO_BRAKE)
            # A brake may be lost with its snapshots; the shoppers of its period are not.
            latest = max(one.period for one in self._totals.parts((domain, "")))
            known = before if before.period >= latest else LiftBrake(period=latest)
            parts = [one for one in self._totals.parts((domain, "")) if one.period == known.period]
            expected = 1.0 - known.given_ratio if known.is_on else self._rules.holdout_ratio
            self.lifts[domain] = found = measure(parts, expected)
            self.brakes[domain] = after = self._next(known, found)
            if after.period != before.period:
                turned.add(domain)
        self._changed.clear()
        return turned

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

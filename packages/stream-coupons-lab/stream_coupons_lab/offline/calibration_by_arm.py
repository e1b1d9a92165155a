"""P(order) where it is learnt, on issues that gave nothing, beside where it is used: on those that gave a coupon.

Labels judge it on the former only. On the latter it is what P(redeem) has to beat, and nobody knows who would have
ordered anyway; but it should not be far from what was observed without a coupon, and a coupon should seldom keep
anybody from ordering.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stream_coupons.models.metrics import Interval
from stream_coupons_lab.offline.quality import LabelledIssues, rate_interval


class OrderAnyway(Struct, frozen=True, kw_only=True):
    """P(order) on the judged issues: those with a coupon and those without.

    `below_zero_ratio` is the share of those with a coupon whose predicted uplift, P(redeem) - P(order), is below zero.
    """

    with_coupon: int
    without: int
    predicted_with_coupon: float
    predicted_without: float
    observed_without: Interval
    below_zero_ratio: float


def order_anyway(series: Sequence[LabelledIssues]) -> OrderAnyway | None:
    """Return the figures on P(order) for both kinds of issue; None if one kind is missing."""
    of_head = {each.head: each for each in series}
    given, withheld = of_head["redeem"], of_head["order"]
    if not len(given) or not len(withheld):
        return None
    p_order = np.array([issue.p_order for issue in given.issues])
    return OrderAnyway(
        with_coupon=len(given),
        without=len(withheld),
        predicted_with_coupon=float(p_order.mean()),
        predicted_without=float(withheld.probabilities.mean()),
        observed_without=rate_interval(int(withheld.labels.sum()), len(withheld)),
        below_zero_ratio=float((given.probabilities < p_order).mean()),
    )

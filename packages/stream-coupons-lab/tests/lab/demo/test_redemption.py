"""Redeem rates leave out open coupons, and count first coupons and shoppers at the cap."""

import math
from typing import Any

from stream_coupons.core.reasons import NoCoupon
from stream_coupons.testing import feedback, issue
from stream_coupons_lab.demo.outcomes import Outcomes
from stream_coupons_lab.demo.redemption import ClosedCoupon, closed, share, thirds
from stream_coupons_lab.demo.watch import Watch
from stream_coupons_lab.simulation.behaviour import DAY_S

NO_SYSTEM: Any = None
START = 10 * DAY_S


def given_on(*days: tuple[str, float, float]) -> Outcomes:
    outcomes = Outcomes(START)
    for user_id, day, chance in days:
        outcomes.add_issue(issue(user_id, at=START + day * DAY_S), chance, 1.0)
    return outcomes


def test_coupons_still_open_are_left_out_and_only_the_first_of_a_shopper_is_fresh() -> None:
    outcomes = given_on(("ann", 2.0, 0.2), ("ann", 0.5, 0.1), ("bob", 1.5, 0.4), ("ann", 9.0, 0.3))
    outcomes.add_feedback(feedback(outcomes.issues[1], "purchase", at=START + DAY_S))
    ends_at = outcomes.issues[0].expires_at
    assert closed(outcomes, ends_at) == [
        ClosedCoupon(0, True, True, 0.1),
        ClosedCoupon(1, True, False, 0.4),
        ClosedCoupon(2, False, False, 0.2),
    ]


def sampled(at: float, capped: float, given: float) -> tuple[float, dict[Any, float]]:
    counted = {NoCoupon.FREQUENCY_CAP.value: capped, "given": given}
    return at, {("stream_coupons_decisions_total", (("outcome", name),)): count for name, count in counted.items()}


def test_the_share_at_the_cap_is_that_of_each_third_alone() -> None:
    watch = Watch(NO_SYSTEM, samples=[sampled(START + 2 * DAY_S, 10, 30), sampled(START + 4 * DAY_S, 40, 40)])
    given = [ClosedCoupon(0, True, True, 0.2), ClosedCoupon(5, False, False, 0.1)]
    found = thirds(given, 6, watch, START)
    assert [(name, some) for name, some, _ in found] == [("1 to 2", given[:1]), ("3 to 4", []), ("5 to 6", given[1:])]
    assert [capped for *_, capped in found[:2]] == [0.25, 0.75]
    assert math.isnan(found[2][2])


def test_shares_are_means_and_unknown_without_coupons() -> None:
    given = [ClosedCoupon(0, True, True, 0.2), ClosedCoupon(0, True, False, 0.1)]
    assert (share(given, "is_used"), share(given, "is_first")) == (0.5, 1.0)
    assert math.isnan(share([], "chance"))

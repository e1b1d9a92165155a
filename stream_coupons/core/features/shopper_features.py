"""Numeric features of the shopper and of the moment."""

import math
from collections.abc import Callable

from stream_coupons.core.features.affinity import ShopperMoment
from stream_coupons.core.features.feature import Feature
from stream_coupons.core.shopper.habits import rhythm
from stream_coupons.core.shopper.profile import DAY_S, HOUR_S
from stream_coupons.core.shopper.state import NEUTRAL_CLICK_RATE, NEUTRAL_REDEEM_RATE, shrunk_rate

NEUTRAL_DISCOUNTED_RATE = 0.1
FEW = "drawn to the average while there are few"
"""Part of a text: the rate is shrunk."""
UNKNOWN_RECENCY_H = 30 * 24.0
RECENCY_SCALE = 2.2
"""Divisor of the logarithm of hours since the last order, or event: bins of numbers, one wide, end after 8 hours, 3
days and 30 days. Demand differs an hour, a day and a month after an order."""
MOST_ABOVE = 5.0
"""Bound of the distance of a shopper's rates from neutral ones, log-odds."""
RHYTHM_BOUNDS = (-4.0, 2.0)
FLAG = (0.0, 1.0)
RATE_DECIMALS = 3
"""Decimals of a rate that four decimals of its log-odds determine."""


def log_odds(rate: float) -> float:
    """Return the log-odds of a rate within (0, 1).

    Examples
    --------
    >>> log_odds(0.5)
    0.0
    """
    return math.log(rate / (1.0 - rate))


def rate_above(above: float, neutral: float) -> float:
    """Return the rate that lies `above` log-odds above a neutral rate.

    Parameters
    ----------
    above : float
        Distance, log-odds.
    neutral : float
        The neutral rate, within (0, 1).

    Examples
    --------
    >>> round(rate_above(log_odds(0.4) - log_odds(0.1), 0.1), 9)
    0.4
    """
    return 1.0 / (1.0 + math.exp(-above - log_odds(neutral)))


def _days(value: float) -> float:
    return math.expm1(RECENCY_SCALE * value) / 24


def _rate_of(neutral: float) -> Callable[[float], float]:
    """Return the function from a feature's log-odds above a neutral rate to the rate."""
    return lambda value: round(rate_above(value, neutral), RATE_DECIMALS)


_CLICK_LOG_ODDS, _REDEEM_LOG_ODDS = log_odds(NEUTRAL_CLICK_RATE), log_odds(NEUTRAL_REDEEM_RATE)


def _ratio_of_rhythm(value: float) -> float:
    return math.exp(2.0 * value)


def hands(at: float) -> list[float]:
    """Return the first two Fourier terms of the time of day: sine and cosine of one and of two turns a day, halved.

    A weighted sum of them is a smooth periodic function with up to two peaks a day.

    Examples
    --------
    >>> [round(each, 3) + 0.0 for each in hands(6 * 3600.0)]
    [0.5, 0.0, 0.0, -0.5]
    """
    angle = math.tau * (at / 86400.0 % 1.0)
    return [0.5 * of(rounds * angle) for rounds in (1, 2) for of in (math.sin, math.cos)]


def shopper_numbers(known: ShopperMoment) -> tuple[float, ...]:
    """Return the features of a shopper at a moment before logarithms and bounds, in the order of `SHOPPER_FEATURES`."""
    profile, history, at, fading = known.profile, known.history, known.at, known.fading
    ordered_at, heard_at, issued_at = profile.last_order_at, profile.last_event_at, history.last_issued_at
    recent_days, recent_weeks = history.exposures_at(at)
    discounted = shrunk_rate(profile.usual_discounted, profile.usual_orders, NEUTRAL_DISCOUNTED_RATE)
    on_weekday, at_hour = rhythm(profile.rhythm, at)
    return (
        UNKNOWN_RECENCY_H if ordered_at is None else (at - ordered_at) / HOUR_S,
        profile.orders * fading,
        profile.browses * fading,
        profile.carts * fading,
        known.mean_price_minor or 0.0,
        history.issued,
        math.log(known.click_rate / (1.0 - known.click_rate)) - _CLICK_LOG_ODDS,
        math.log(known.redeem_rate / (1.0 - known.redeem_rate)) - _REDEEM_LOG_ODDS,
        # 1 for a coupon just issued, 1/2 for one issued a day ago; a shopper who got none counts as 30 days.
        1.0 / (1.0 + (30.0 if issued_at is None else max((at - issued_at) / DAY_S, 0.0))),
        ordered_at is None,
        known.mean_price_minor is None,
        not known.moment.shopper.neighbourhood.packed[0],
        profile.usual_orders * known.habit_fading,
        2.0 * discounted,
        recent_days,
        (at - heard_at) / HOUR_S if heard_at else UNKNOWN_RECENCY_H,
        recent_weeks,
        0.5 * on_weekday,
        0.5 * at_hour,
        *hands(at),
    )


SHOPPER_FEATURES = (
    Feature(
        name="order_recency",
        log_divisor=RECENCY_SCALE,
        text="goes to someone who last ordered {number} days ago (30 stands for not known)",
        number=_days,
    ),
    Feature(
        name="orders",
        log_divisor=1.0,
        text="goes to someone with {number} orders, older ones counting less",
    ),
    Feature(
        name="browses",
        log_divisor=2.0,
        text="goes to someone with {number} items looked at, older ones counting less",
    ),
    Feature(
        name="carts",
        log_divisor=1.0,
        text="goes to someone with {number} items put into the cart, older ones counting less",
    ),
    Feature(
        name="mean_price",
        log_divisor=10.0,
        text="goes to someone who pays {number} cents for an item",
    ),
    Feature(
        name="coupons_issued",
        log_divisor=3.0,
        text="goes to someone who had {whole} coupons before",
    ),
    Feature(
        name="click_rate",
        bounds=(-MOST_ABOVE, MOST_ABOVE),
        text=f"goes to someone who clicks {{percent}} of their coupons ({FEW})",
        number=_rate_of(NEUTRAL_CLICK_RATE),
    ),
    Feature(
        name="redeem_rate",
        bounds=(-MOST_ABOVE, MOST_ABOVE),
        text=f"goes to someone who redeems {{percent}} of their coupons ({FEW})",
        number=_rate_of(NEUTRAL_REDEEM_RATE),
        is_of_effect=True,
    ),
    Feature(
        name="since_last_issue",
        bounds=(0.0, 1.0),
        text="comes {number} days after the last coupon (30 stands for none)",
        number=lambda value: 1 / value - 1,
    ),
    Feature(
        name="no_order_known",
        bounds=FLAG,
        text="goes to someone of whom no order is known",
    ),
    Feature(
        name="no_price_known",
        bounds=FLAG,
        text="goes to someone of whom no price is known",
    ),
    Feature(
        name="no_neighbours",
        bounds=FLAG,
        text="goes to someone of whom no similar shoppers are known",
    ),
    Feature(
        name="usual_orders",
        log_divisor=2.0,
        text="goes to someone with {number} orders in the long run",
    ),
    Feature(
        name="usual_discounts",
        bounds=(0.0, 2.0),
        text=f"goes to someone who orders with a discount {{percent}} of the time ({FEW})",
        number=lambda value: value / 2,
    ),
    Feature(
        name="exposure",
        log_divisor=1.0,
        text="goes to someone who had {number} coupons within days, older ones counting less",
        prior={"effect": -0.2},
        is_of_effect=True,
    ),
    Feature(
        name="event_recency",
        log_divisor=RECENCY_SCALE,
        text="goes to someone who was last heard of {number} days ago (30 stands for never)",
        number=_days,
    ),
    Feature(
        name="weekly_exposure",
        log_divisor=1.0,
        text="goes to someone who had {number} coupons within weeks, older ones counting less",
    ),
    Feature(
        name="usual_weekday",
        bounds=RHYTHM_BOUNDS,
        text="comes on a weekday with {number} times this shopper's usual activity",
        number=_ratio_of_rhythm,
    ),
    Feature(
        name="usual_hour",
        bounds=RHYTHM_BOUNDS,
        text="comes at an hour with {number} times this shopper's usual activity",
        number=_ratio_of_rhythm,
    ),
    *(
        Feature(
            name=name,
            bounds=(-0.5, 0.5),
            text="comes at this time of day: experience with all coupons about that time",
        )
        for name in ("day_sine", "day_cosine", "half_day_sine", "half_day_cosine")
    ),
)

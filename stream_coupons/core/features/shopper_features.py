"""Numeric features of the shopper and of the moment."""

import math
from collections.abc import Callable

from stream_coupons.core.features.feature import ShopperFeature, ShopperMoment
from stream_coupons.core.shopper.profile import DAY_S, HOUR_S

NEUTRAL_CLICK_RATE = 0.1
NEUTRAL_REDEEM_RATE = 0.05
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


def shrunk_rate(successes: float, trials: float, prior: float, strength: float = 4.0) -> float:
    """Return the mean of a Beta posterior: the rate, shrunk towards `prior` while there are few trials.

    Parameters
    ----------
    successes, trials : float
        Counts, possibly decayed.
    prior, strength : float
        Mean of the Beta prior, and the number of trials that it counts as.
    """
    return (successes + prior * strength) / (max(trials, successes) + strength)


def log_odds_above(successes: float, trials: float, neutral: float) -> float:
    """Return the distance of a shrunk rate above a neutral one, log-odds, as models add them: 0 without trials.

    Parameters
    ----------
    successes, trials : float
        Counts, possibly decayed.
    neutral : float
        The rate to expect without trials, within (0, 1).
    """
    rate = shrunk_rate(successes, trials, neutral)
    return math.log(rate / (1.0 - rate)) - math.log(neutral / (1.0 - neutral))


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
    >>> round(shrunk_rate(5.0, 10.0, 0.1), 9), round(rate_above(log_odds_above(5.0, 10.0, 0.1), 0.1), 9)
    (0.385714286, 0.385714286)
    """
    return 1.0 / (1.0 + math.exp(-above - math.log(neutral / (1.0 - neutral))))


def _hours_since(then: float | None, now: float) -> float:
    return (now - then) / HOUR_S if then is not None else UNKNOWN_RECENCY_H


def _days(value: float) -> float:
    return math.expm1(RECENCY_SCALE * value) / 24


def _since_last_issue(known: ShopperMoment) -> float:
    """Return 1 for a coupon just issued, 1/2 for one issued a day ago; a shopper who got none counts as 30 days."""
    last = known.history.last_issued_at
    days = (known.at - last) / DAY_S if last is not None else 30.0
    return 1.0 / (1.0 + max(days, 0.0))


def _rate_of(neutral: float) -> Callable[[float], float]:
    """Return the function from a feature's log-odds above a neutral rate to the rate."""
    return lambda value: round(rate_above(value, neutral), RATE_DECIMALS)


def _hand(nth: int) -> Callable[[ShopperMoment], float]:
    """Return the function from a moment to one of its Fourier terms, see `rhythm.hands`."""
    return lambda known: known.hands[nth]


def _ratio_of_rhythm(value: float) -> float:
    return math.exp(2.0 * value)


SHOPPER_FEATURES = (
    ShopperFeature(
        name="order_recency",
        compute=lambda known: _hours_since(known.profile.last_order_at, known.at),
        log_divisor=RECENCY_SCALE,
        text="goes to someone who last ordered {number} days ago (30 stands for not known)",
        number=_days,
    ),
    ShopperFeature(
        name="orders",
        compute=lambda known: known.profile.orders * known.fading,
        log_divisor=1.0,
        text="goes to someone with {number} orders, older ones counting less",
    ),
    ShopperFeature(
        name="browses",
        compute=lambda known: known.profile.browses * known.fading,
        log_divisor=2.0,
        text="goes to someone with {number} items looked at, older ones counting less",
    ),
    ShopperFeature(
        name="carts",
        compute=lambda known: known.profile.carts * known.fading,
        log_divisor=1.0,
        text="goes to someone with {number} items put into the cart, older ones counting less",
    ),
    ShopperFeature(
        name="mean_price",
        compute=lambda known: known.mean_price_minor or 0.0,
        log_divisor=10.0,
        text="goes to someone who pays {number} cents for an item",
    ),
    ShopperFeature(
        name="coupons_issued",
        compute=lambda known: known.history.issued,
        log_divisor=3.0,
        text="goes to someone who had {whole} coupons before",
    ),
    ShopperFeature(
        name="click_rate",
        compute=lambda known: log_odds_above(known.history.clicked, known.history.issued, NEUTRAL_CLICK_RATE),
        bounds=(-MOST_ABOVE, MOST_ABOVE),
        text=f"goes to someone who clicks {{percent}} of their coupons ({FEW})",
        number=_rate_of(NEUTRAL_CLICK_RATE),
    ),
    ShopperFeature(
        name="redeem_rate",
        compute=lambda known: log_odds_above(known.history.redeemed, known.history.issued, NEUTRAL_REDEEM_RATE),
        bounds=(-MOST_ABOVE, MOST_ABOVE),
        text=f"goes to someone who redeems {{percent}} of their coupons ({FEW})",
        number=_rate_of(NEUTRAL_REDEEM_RATE),
        is_of_effect=True,
    ),
    ShopperFeature(
        name="since_last_issue",
        compute=_since_last_issue,
        bounds=(0.0, 1.0),
        text="comes {number} days after the last coupon (30 stands for none)",
        number=lambda value: 1 / value - 1,
    ),
    ShopperFeature(
        name="no_order_known",
        compute=lambda known: known.profile.last_order_at is None,
        bounds=FLAG,
        text="goes to someone of whom no order is known",
    ),
    ShopperFeature(
        name="no_price_known",
        compute=lambda known: known.mean_price_minor is None,
        bounds=FLAG,
        text="goes to someone of whom no price is known",
    ),
    ShopperFeature(
        name="no_neighbours",
        compute=lambda known: not known.moment.shopper.neighbourhood.packed[0],
        bounds=FLAG,
        text="goes to someone of whom no similar shoppers are known",
    ),
    ShopperFeature(
        name="usual_orders",
        compute=lambda known: known.profile.usual_orders * known.habit_fading,
        log_divisor=2.0,
        text="goes to someone with {number} orders in the long run",
    ),
    ShopperFeature(
        name="usual_discounts",
        compute=lambda known: (
            2.0 * shrunk_rate(known.profile.usual_discounted, known.profile.usual_orders, NEUTRAL_DISCOUNTED_RATE)
        ),
        bounds=(0.0, 2.0),
        text=f"goes to someone who orders with a discount {{percent}} of the time ({FEW})",
        number=lambda value: value / 2,
    ),
    ShopperFeature(
        name="exposure",
        compute=lambda known: known.exposures[0],
        log_divisor=1.0,
        text="goes to someone who had {number} coupons within days, older ones counting less",
        prior={"effect": -0.2},
        is_of_effect=True,
    ),
    ShopperFeature(
        name="event_recency",
        compute=lambda known: _hours_since(known.profile.last_event_at or None, known.at),
        log_divisor=RECENCY_SCALE,
        text="goes to someone who was last heard of {number} days ago (30 stands for never)",
        number=_days,
    ),
    ShopperFeature(
        name="weekly_exposure",
        compute=lambda known: known.exposures[1],
        log_divisor=1.0,
        text="goes to someone who had {number} coupons within weeks, older ones counting less",
    ),
    ShopperFeature(
        name="usual_weekday",
        compute=lambda known: 0.5 * known.rhythm[0],
        bounds=RHYTHM_BOUNDS,
        text="comes on a weekday with {number} times this shopper's usual activity",
        number=_ratio_of_rhythm,
    ),
    ShopperFeature(
        name="usual_hour",
        compute=lambda known: 0.5 * known.rhythm[1],
        bounds=RHYTHM_BOUNDS,
        text="comes at an hour with {number} times this shopper's usual activity",
        number=_ratio_of_rhythm,
    ),
    *(
        ShopperFeature(
            name=name,
            compute=_hand(nth),
            bounds=(-0.5, 0.5),
            text="comes at this time of day: experience with all coupons about that time",
        )
        for nth, name in enumerate(("day_sine", "day_cosine", "half_day_sine", "half_day_cosine"))
    ),
)

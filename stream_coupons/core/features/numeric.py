"""Numeric features of a (shopper, coupon, moment): each bounded, and 0 where it carries no information.

They are transformed here into about [0, 3], logarithms of ratios into [-1, 4], log-odds into [-5, 5]: no scaler has to
be learnt or served. A missing number is a constant with a flag of its own, or 0, so that a model can tell.
"""

import math
from collections.abc import Sequence

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.catalogue.scopes import Pairs
from stream_coupons.core.features.affinity import Moment, Views
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import habit_fading, hands, rhythm, usual_gap_s
from stream_coupons.core.shopper.profile import DAY_S, HOUR_S, Profile, decay
from stream_coupons.core.shopper.state import History, Shopper, Tally

NEUTRAL_CLICK_RATE = 0.1
NEUTRAL_REDEEM_RATE = 0.05
NEUTRAL_DISCOUNTED_RATE = 0.1
REORDER_S = 3 * DAY_S
UNKNOWN_RECENCY_H = 30 * 24.0
RECENCY_SCALE = 2.2
"""Divisor of the logarithm of hours since the last order, or event: bins of numbers, one wide, end after 8 hours, 3
days and 30 days. Demand differs an hour, a day and a month after an order."""

OF_SHOPPER = (
    "order_recency",
    "orders",
    "browses",
    "carts",
    "mean_price",
    "coupons_issued",
    "click_rate",
    "redeem_rate",
    "since_last_issue",
    "no_order_known",
    "no_price_known",
    "no_neighbours",
    "usual_orders",
    "usual_discounts",
    "exposure",
    "event_recency",
    "weekly_exposure",
    "usual_weekday",
    "usual_hour",
)
OF_TIME = ("day_sine", "day_cosine", "half_day_sine", "half_day_cosine")
OF_COUPON = ("discount_depth", "discount_size", "time_to_redeem", "scope_size")
TERMS = ("discount_depth", "discount_size")
"""Features of the discount: they do not apply to a shopper who gets no coupon."""
OF_MATCH = (
    "content",
    "category_interest",
    "brand_interest",
    "item_interest",
    "collaborative",
    "related",
    "demand_share",
    "scope_part",
    "near_scope_share",
    "browsed_now",
    "carted_now",
    "price_fit",
    "habit",
    "fresh_habit",
    "habit_of_category",
    "habit_share",
)
OF_CATEGORY = ("category_ordered", "category_carted", "category_due")
"""The shopper in the coupon's category: recency of the last order, and of the last cart without an order since; and the
time from the last order to the middle of the coupon's window, over the usual time between two orders."""
OF_HISTORY = (
    "category_recency",
    "this_coupon_issued",
    "this_coupon_redeemed",
    "this_category_issued",
    "this_category_redeem_rate",
    "this_coupon_click_rate",
    "this_coupon_redeem_rate",
    "this_kind_click_rate",
    "this_kind_redeem_rate",
)
NUMERIC = (*OF_SHOPPER, *OF_TIME, *OF_COUPON, *OF_MATCH, *OF_CATEGORY, *OF_HISTORY)

OF_ONE = 1.5
"""Number for a ratio of 1: the middle of a bin of numbers."""
MOST_ABOVE = 5.0
"""Bound of the distance of a shopper's rates from neutral ones, log-odds."""
RATIO_BOUNDS = (-0.99, 3.99)
"""Bounds of the logarithm of a ratio: within the bins of numbers, so that the outer bins are half open."""

REDEEM_SCALE = 4.0
"""Factor of a redeem rate as a feature."""
RATE_SCALES = (1.0, REDEEM_SCALE)
"""Factors of a click rate and of a redeem rate as features."""

Rates = tuple[float, float]
"""Click rate and redeem rate."""


def _rate(successes: float, trials: float, prior: float, strength: float = 4.0) -> float:
    """Return the mean of a Beta posterior: the rate, shrunk towards `prior` while there are few trials."""
    return (successes + prior * strength) / (max(trials, successes) + strength)


def _above(successes: float, trials: float, neutral: float) -> float:
    """Return the distance of a rate above a neutral one, log-odds, as models add them: 0 without trials."""
    rate = _rate(successes, trials, neutral)
    return min(max(_log_odds(rate) - _log_odds(neutral), -MOST_ABOVE), MOST_ABOVE)


def rate_above(above: float, neutral: float) -> float:
    """Return the rate that lies `above` log-odds above a neutral rate.

    >>> round(_rate(5.0, 10.0, 0.1), 9), round(rate_above(_above(5.0, 10.0, 0.1), 0.1), 9)
    (0.385714286, 0.385714286)
    """
    return 1.0 / (1.0 + math.exp(-above - _log_odds(neutral)))


def _log_odds(rate: float) -> float:
    return math.log(rate / (1.0 - rate))


def numbers_of(moments: Sequence[Moment], views: Views, coupons: CouponSet, rules: ProfileRules) -> Floats:
    """Return all numeric features, shape (n, len(NUMERIC)).

    Parameters
    ----------
    moments : sequence of Moment
        Shoppers at their times.
    views : Views
        Scores of n pairs of these moments and coupons.
    coupons : CouponSet
        The set that the views are of.
    rules : ProfileRules
        Half-lives.
    """
    owner, position = views.pairs.owner, views.pairs.position
    return np.concatenate(
        (
            np.array([_moment_numbers(moment.shopper, moment.at, rules) for moment in moments])[owner],
            coupons.static_numeric[position],
            _match_numbers(moments, views, coupons),
            _category_numbers(moments, coupons, views.pairs),
            _history_numbers(moments, views, coupons),
        ),
        axis=1,
    )


def _moment_numbers(shopper: Shopper, at: float, rules: ProfileRules) -> list[float]:
    profile, history = shopper.profile, shopper.history
    scale = decay(profile, at, rules)
    mean_price = _mean_price(profile)
    exposure, weekly_exposure = history.exposures_at(at)
    since = (at - history.last_issued_at) / DAY_S if history.last_issued_at is not None else 30.0
    return [
        _recency(profile.last_order_at, at),
        math.log1p(profile.orders * scale),
        math.log1p(profile.browses * scale) / 2.0,
        math.log1p(max(profile.carts * scale, 0.0)),
        math.log1p(mean_price or 0.0) / 10.0,
        math.log1p(history.issued) / 3.0,
        _above(history.clicked, history.issued, NEUTRAL_CLICK_RATE),
        _above(history.redeemed, history.issued, NEUTRAL_REDEEM_RATE),
        1.0 / (1.0 + max(since, 0.0)),
        float(profile.last_order_at is None),
        float(mean_price is None),
        float(not shopper.neighbourhood.packed[0]),
        math.log1p(profile.usual_orders * habit_fading(at - profile.habits_at, rules)[0]) / 2.0,
        2.0 * _rate(profile.usual_discounted, profile.usual_orders, NEUTRAL_DISCOUNTED_RATE),
        math.log1p(exposure),
        _recency(profile.last_event_at or None, at),
        math.log1p(weekly_exposure),
        *(0.5 * each for each in rhythm(profile.rhythm, at)),
        *hands(at),
    ]


def _recency(then: float | None, now: float) -> float:
    hours = (now - then) / HOUR_S if then is not None else UNKNOWN_RECENCY_H
    return math.log1p(max(hours, 0.0)) / RECENCY_SCALE


def _mean_price(profile: Profile) -> float | None:
    if profile.units > 0:
        return profile.spend_minor / profile.units
    return sum(profile.prices) / len(profile.prices) if profile.prices else None


def _match_numbers(moments: Sequence[Moment], views: Views, coupons: CouponSet) -> Floats:
    interests = (views.content, views.category, views.brand, views.item, views.collaborative, views.related)
    scores = np.stack((*interests, views.habit, views.fresh_habit, views.habit_of_category))
    squashed = np.log1p(np.maximum(scores, 0.0)) / 2.0
    prices = (_mean_price(moment.shopper.profile) for moment in moments)
    price_log2 = np.array([math.nan if price is None else math.log2(max(price, 1.0)) for price in prices])
    distance = np.abs(coupons.price_log2[views.pairs.position] - price_log2[views.pairs.owner])
    return np.stack(
        (
            *squashed[:6],
            views.demand_share,
            views.scope_part,
            views.near_scope_share,
            views.browsed,
            views.carted,
            np.where(np.isnan(distance), 0.5, np.exp2(-distance)),
            *squashed[6:],
            views.habit_share,
        ),
        axis=1,
    )


def _category_numbers(moments: Sequence[Moment], coupons: CouponSet, pairs: Pairs) -> Floats:
    """Return the features `OF_CATEGORY` of each pair, looked up in tables by moment and category."""
    of_categories = (len(moments), len(coupons.vocabulary) + 1)
    ordered_at, carted_at = times = np.full((2, *of_categories), -math.inf)
    gap_s = np.full(of_categories, math.nan)
    for row, moment in enumerate(moments):
        for name, known in moment.shopper.profile.in_category.items():
            if column := coupons.category_columns.get(name):
                if known.ordered_at:
                    ordered_at[row, column] = known.ordered_at
                    gap_s[row, column] = usual_gap_s(known.order_slots)
                if known.carted_at > max(known.taken_out_at, known.ordered_at):
                    carted_at[row, column] = known.carted_at
    owner, position = pairs.owner, pairs.position
    now, first = np.array([moment.at for moment in moments])[owner], coupons.first_category[position]
    since_order, since_cart = np.maximum(now - pairs.scopes.categories.greatest(times.reshape(2, -1)), 0.0)
    middle_s = np.maximum(now - ordered_at[owner, first], 0.0) + coupons.redeem_within_s[position] / 2.0
    return np.stack(
        (
            1.0 / (1.0 + since_order / REORDER_S),
            1.0 / (1.0 + since_cart / DAY_S),
            _of_ratio(np.log2(middle_s) - np.log2(gap_s[owner, first])),
        ),
        axis=1,
    )


def _of_ratio(log2: Floats) -> Floats:
    """Return the logarithm of a ratio in half octaves, bounded; 0 if it is not known.

    Models learn its effect by bins: demand may peak at a ratio of 1, or rise from some ratio on.
    """
    bounded = np.clip(2.0 * log2 + OF_ONE, *RATIO_BOUNDS)
    numbers: Floats = np.where(np.isfinite(log2), bounded, 0.0)
    return numbers


def _history_numbers(moments: Sequence[Moment], views: Views, coupons: CouponSet) -> Floats:
    """Return the features `OF_HISTORY` of each pair: the shopper's history with the coupon, its kind and category.

    A coupon, or a kind, that the shopper was not given yet has the shopper's rates of all coupons.
    """
    owner, position = views.pairs.owner, views.pairs.position
    histories = [moment.shopper.history for moment in moments]
    own = [
        (
            _rate(history.clicked, history.issued, NEUTRAL_CLICK_RATE),
            _rate(history.redeemed, history.issued, NEUTRAL_REDEEM_RATE),
        )
        for history in histories
    ]
    issued, redeem_rate = _category_tallies(histories, coupons)
    counts, of_coupon = _coupon_tallies(histories, own, views.pairs, coupons)
    of_kind, first = _kind_rates(histories, own, coupons), coupons.first_category[position]
    return np.stack(
        (
            views.recency,
            *counts.T,
            issued[owner, first],
            redeem_rate[owner, first],
            *of_coupon.T,
            *of_kind[owner, coupons.kind[position]].T,
        ),
        axis=1,
    )


def _category_tallies(histories: Sequence[History], coupons: CouponSet) -> tuple[Floats, Floats]:
    """Return coupons issued and redeem rate by moment and category column."""
    of_categories = (len(histories), len(coupons.vocabulary) + 1)
    issued, redeem_rate = np.zeros(of_categories), np.full(of_categories, REDEEM_SCALE * NEUTRAL_REDEEM_RATE)
    for row, history in enumerate(histories):
        for name, tally in history.by_category.items():
            if column := coupons.category_columns.get(name):
                issued[row, column] = math.log1p(tally.issued) / 2.0
                redeem_rate[row, column] = REDEEM_SCALE * _rate(tally.redeemed, tally.issued, NEUTRAL_REDEEM_RATE)
    return issued, redeem_rate


def _coupon_tallies(
    histories: Sequence[History], own: Sequence[Rates], pairs: Pairs, coupons: CouponSet
) -> tuple[Floats, Floats]:
    """Return (issued, redeemed) and (click rate, redeem rate) of each pair's coupon, shape (n, 2) each."""
    tallies: dict[tuple[int, int], Tally] = {}
    for row, history in enumerate(histories):
        for coupon_id, tally in history.by_coupon.items():
            tallies |= {(row, position): tally for position in coupons.positions_of.get(coupon_id, ())}
    counts, rates = np.zeros((len(pairs.owner), 2)), (np.array(own) * RATE_SCALES)[pairs.owner]
    for n, pair in enumerate(zip(pairs.owner.tolist(), pairs.position.tolist(), strict=True)):
        if pair in tallies:
            tally = tallies[pair]
            counts[n] = math.log1p(tally.issued), math.log1p(tally.redeemed)
            rates[n] = _rates(tally, own[pair[0]])
    return counts, rates


def _kind_rates(histories: Sequence[History], own: Sequence[Rates], coupons: CouponSet) -> Floats:
    """Return (click rate, redeem rate) by moment and number of the kind, shape (moments, kinds + 1, 2)."""
    rates = np.repeat((np.array(own) * RATE_SCALES)[:, None], len(coupons.kinds) + 1, axis=1)
    for row, history in enumerate(histories):
        for kind, tally in history.by_kind.items():
            if number := coupons.kinds.get(kind):
                rates[row, number] = _rates(tally, own[row])
    return rates


def _rates(tally: Tally, own: Rates) -> Rates:
    """Return the scaled click and redeem rate of a tally, shrunk towards the shopper's own while there are few."""
    return _rate(tally.clicked, tally.issued, own[0]), REDEEM_SCALE * _rate(tally.redeemed, tally.issued, own[1])

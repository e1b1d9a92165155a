"""Features in words: what one says of the coupon and the shopper, and by how much it moved the odds of redeeming.

Numbers are told as they were before `core.features` brought them into its range. A feature that has no phrase is called
by its name.
"""

import math
from collections.abc import Callable, Mapping

from msgspec import Struct

from stream_coupons.core.features.affinity import PRIOR_SHARE
from stream_coupons.core.features.numeric import (
    NEUTRAL_CLICK_RATE,
    NEUTRAL_REDEEM_RATE,
    OF_ONE,
    OF_TIME,
    RECENCY_SCALE,
    REORDER_S,
    rate_above,
)
from stream_coupons.core.messages.decisions import Reason
from stream_coupons.core.shopper.profile import DAY_S

Phrase = Callable[[float], str]
"""A feature's value to what goes on with "the coupon ..."."""

MOST = 4 * PRIOR_SHARE
ROUNDED_TO = 3
"""Decimals of a rate that four decimals of its log-odds tell."""
FEW = "drawn to the average while there are few"


class FeatureText(Struct, frozen=True, kw_only=True):
    """A reason and its sentence."""

    feature: str
    value: float
    contribution: float
    """To the log-odds of redeeming."""
    sentence: str


def tell(reason: Reason) -> FeatureText:
    """A reason in words.

    >>> tell(Reason("demand_share", 0.639, 0.3365)).sentence
    'is for what this shopper looks at most (share of interest 34 %): raises the odds of redeeming by 40 %'
    >>> tell(Reason("mood", 1.5, -0.7)).sentence
    'mood is 1.5: lowers the odds of redeeming by 50 %'
    """
    name, value, added = reason.feature, reason.value, reason.contribution
    return FeatureText(
        feature=name, value=value, contribution=added, sentence=f"{_about(name, value)}: {effect(added)}"
    )


def _about(name: str, value: float) -> str:
    if "=" in name:
        return f"comes with {name.replace('*', ' and ')}: experience with all that do"
    try:
        return (OF_HASHES.get(name) or OF_NUMBERS[name])(value)
    except (KeyError, ArithmeticError, ValueError):  # no phrase, or no value that the feature can have
        return f"{name} is {value:g}"


def effect(contribution: float) -> str:
    """Return in words how a contribution to the log-odds changes the odds of redeeming."""
    percent = 100.0 * math.expm1(min(abs(contribution), 50.0))
    if percent < 0.5:
        return "hardly changes the odds of redeeming"
    if contribution < 0:
        return f"lowers the odds of redeeming by {100.0 * -math.expm1(contribution):.0f} %"
    if percent < 100:
        return f"raises the odds of redeeming by {percent:.0f} %"
    return f"makes the odds of redeeming {1 + percent / 100:.3g} times as high"


def score_of(value: float) -> float:
    """Return the score R(u, i) for a value of the features `content` and `collaborative`, not below 0.

    >>> round(score_of(0.5), 3)
    1.718
    """
    return math.expm1(2.0 * value)


def _share(value: float) -> float:
    """The share of interest that a value of `demand_share` and `near_scope_share` stands for."""
    return PRIOR_SHARE * math.exp(3.0 * value)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"


def _percent(ratio: float) -> str:
    return f"{_number(100.0 * ratio)} %"


def _own_share(value: float) -> str:
    return f"is for what this shopper {_liking(value, 's')} (share of interest {_percent(_share(value))})"


def _near_share(value: float) -> str:
    return f"is for what similar shoppers {_liking(value, '')} (share of their interest {_percent(_share(value))})"


def _liking(value: float, ending: str) -> str:
    share = _share(value)
    if share >= MOST:
        return f"look{ending} at most"
    return f"look{ending} at" if share >= PRIOR_SHARE else f"hardly look{ending} at"


def _ratio(value: float) -> float:
    """The ratio that a value in half octaves stands for."""
    return math.exp2((value - OF_ONE) / 2)


def _ratio_of_rhythm(value: float) -> float:
    return math.exp(2.0 * value)


def _category_carted(value: float) -> str:
    return f"is for a category that lies in the cart since {_number(1 / value - 1)} days"


def _category_ordered(value: float) -> str:
    return f"is for a category that was ordered {_number((1 / value - 1) * REORDER_S / DAY_S)} days ago"


def _said(text: str, inverse: Callable[[float], float], form: Callable[[float], str] = _number) -> Phrase:
    """A phrase with the number that a value of the feature stands for."""
    return lambda value: text.format(form(inverse(value)))


def _words(text: str) -> Phrase:
    return lambda _: text


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _same(value: float) -> float:
    return value


def _rate_above(neutral: float) -> Callable[[float], float]:
    return lambda value: round(rate_above(value, neutral), ROUNDED_TO)


OF_NUMBERS: Mapping[str, Phrase] = {
    "order_recency": _said(
        "goes to someone who last ordered {} days ago (30 stands for not known)",
        lambda v: math.expm1(RECENCY_SCALE * v) / 24,
    ),
    "orders": _said("goes to someone with {} orders, older ones counting less", math.expm1),
    "browses": _said("goes to someone with {} items looked at, older ones counting less", lambda v: math.expm1(2 * v)),
    "carts": _said("goes to someone with {} items put into the cart, older ones counting less", math.expm1),
    "mean_price": _said("goes to someone who pays {} cents for an item", lambda v: math.expm1(10 * v)),
    "coupons_issued": _said("goes to someone who had {} coupons before", lambda v: math.expm1(3 * v), _whole),
    "click_rate": _said(
        f"goes to someone who clicks {{}} of their coupons ({FEW})", _rate_above(NEUTRAL_CLICK_RATE), _percent
    ),
    "redeem_rate": _said(
        f"goes to someone who redeems {{}} of their coupons ({FEW})", _rate_above(NEUTRAL_REDEEM_RATE), _percent
    ),
    "since_last_issue": _said("comes {} days after the last coupon (30 stands for none)", lambda v: 1 / v - 1),
    "no_order_known": _words("goes to someone of whom no order is known"),
    "no_price_known": _words("goes to someone of whom no price is known"),
    "no_neighbours": _words("goes to someone of whom no similar shoppers are known"),
    "usual_orders": _said("goes to someone with {} orders in the long run", lambda v: math.expm1(2 * v)),
    "usual_discounts": _said(
        f"goes to someone who orders with a discount {{}} of the time ({FEW})", lambda v: v / 2, _percent
    ),
    "exposure": _said("goes to someone who had {} coupons within days, older ones counting less", math.expm1),
    "event_recency": _said(
        "goes to someone who was last heard of {} days ago (30 stands for never)",
        lambda v: math.expm1(RECENCY_SCALE * v) / 24,
    ),
    "weekly_exposure": _said("goes to someone who had {} coupons within weeks, older ones counting less", math.expm1),
    "usual_weekday": _said("comes on a weekday with {} times this shopper's usual activity", _ratio_of_rhythm),
    "usual_hour": _said("comes at an hour with {} times this shopper's usual activity", _ratio_of_rhythm),
    **dict.fromkeys(OF_TIME, _words("comes at this time of day: experience with all coupons about that time")),
    "discount_depth": _said(
        "takes {} off the usual price (15 % stands for not known, 50 % for all above)", _same, _percent
    ),
    "discount_size": _said("takes {} cents off", lambda v: math.expm1(10 * v)),
    "time_to_redeem": _said("can be used for {} days", lambda v: math.expm1(4 * v)),
    "scope_size": _said("names {} items", lambda v: math.expm1(3 * v), _whole),
    "content": _said("fits what this shopper looks at, puts into the cart and orders (score {})", score_of),
    "category_interest": _said("is for a category of interest to this shopper (score {})", score_of),
    "brand_interest": _said("is for a brand of interest to this shopper (score {})", score_of),
    "item_interest": _said("is for items of interest to this shopper (score {})", score_of),
    "collaborative": _said("fits what similar shoppers look at, put into the cart and order (score {})", score_of),
    "related": _said("is for a category that goes with those of this shopper, who is new to it (score {})", score_of),
    "demand_share": _own_share,
    "scope_part": _said("is for {} of what this shopper likes in its category", lambda v: math.exp(3.0 * v), _percent),
    "near_scope_share": _near_share,
    "browsed_now": _words("fits what this shopper was looking at just then"),
    "carted_now": _words("fits what this shopper was putting into the cart just then"),
    "price_fit": _said("is for prices as this shopper pays them (closeness {})", _same, _percent),
    "habit": _said("is for what this shopper ordered {} times in the long run", score_of),
    "fresh_habit": _said("is for what this shopper ordered {} times of late", score_of),
    "habit_of_category": _said("is for a category that this shopper ordered from {} times in the long run", score_of),
    "habit_share": _said("is for {} of all that this shopper orders", lambda v: _share(v), _percent),
    "category_ordered": _category_ordered,
    "category_carted": _category_carted,
    "category_due": _said(
        "is for a category that was last ordered {} times the usual time between two orders ago, by the middle of the "
        "coupon's time",
        _ratio,
    ),
    "category_recency": _said("is for a category that this shopper came for {} days ago", lambda v: 1 / v - 1, _whole),
    "this_coupon_issued": _said("was given to this shopper {} times before", math.expm1, _whole),
    "this_coupon_redeemed": _said("was redeemed by this shopper {} times before", math.expm1, _whole),
    "this_category_issued": _said(
        "is for a category of which this shopper had {} coupons before", lambda v: math.expm1(2 * v), _whole
    ),
    "this_category_redeem_rate": _said(
        f"is for a category of which this shopper redeems {{}} of the coupons ({FEW})", lambda v: v / 4, _percent
    ),
    "this_coupon_click_rate": _said(f"is clicked by this shopper {{}} of the time ({FEW})", _same, _percent),
    "this_coupon_redeem_rate": _said(
        f"is redeemed by this shopper {{}} of the time ({FEW})", lambda v: v / 4, _percent
    ),
    "this_kind_click_rate": _said(f"is of a kind that this shopper clicks {{}} of the time ({FEW})", _same, _percent),
    "this_kind_redeem_rate": _said(
        f"is of a kind that this shopper redeems {{}} of the time ({FEW})", lambda v: v / 4, _percent
    ),
}

OF_HASHES: Mapping[str, Phrase] = {
    "coupon": _words("is this very coupon: experience with it"),
    "kind": _words("is of this kind: experience with all coupons of the kind"),
    "category": _words("is for this category: experience with all coupons for it"),
    "brand": _words("is for this brand: experience with all coupons for it"),
    "depth": _words("has about this discount: experience with all coupons as deep"),
    "shopper": _words("goes to this very shopper: experience with their coupons"),
    "taste": _words("goes to someone with this favourite category: experience with all such shoppers"),
    "redeemer": _words("goes to someone who redeemed as often: experience with all such shoppers"),
    "shopper*coupon": _words("is this very coupon: experience with giving it to this very shopper"),
    "hour": _words("comes at this time of day: experience with all coupons at that time"),
    "clock": _words("comes at this hour of the day (UTC): experience with all coupons at that hour"),
    "weekend": _words("comes on a weekend, or not: experience with all coupons on such days"),
    "weekday": _words("comes on this day of the week: experience with all coupons on that day"),
    "shopper*category": _words("is for this category: experience with this very shopper's coupons for it"),
    "shopper*kind": _words("is of this kind: experience with this very shopper's coupons of the kind"),
    "shopper*depth": _words("has about this discount: experience with this very shopper's coupons as deep"),
    "vector": _words("has content like this: experience with all coupons whose vectors are alike"),
    "shopper*vector": _words("has content like this: experience with giving this very shopper coupons alike"),
    "hour*category": _words("is for this category at this time of day: experience with all such coupons"),
    "taste*category": _words("is for this category: experience with shoppers of the same favourite category"),
    "redeemer*depth": _words("has about this discount: experience with shoppers who redeemed as often"),
    "redeemer*kind": _words("is of this kind: experience with shoppers who redeemed as often"),
}

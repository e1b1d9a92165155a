"""Numeric features of a (shopper, coupon, moment), in the order of their columns, and their computation.

They are scaled to about [0, 3], logarithms of ratios to [-1, 4], log-odds to [-5, 5]: no scaler has to be learnt or
served. A missing number is a constant with a flag of its own, or 0, so that a model can tell.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.features.affinity import Moment, Views
from stream_coupons.core.features.categories import CATEGORY_TEXTS
from stream_coupons.core.features.coupon_features import COUPON_FEATURES
from stream_coupons.core.features.feature import (
    CouponFeature,
    Feature,
    MatchFeature,
    RowBatch,
    ShopperFeature,
    ShopperMoment,
)
from stream_coupons.core.features.history_features import HISTORY_FEATURES
from stream_coupons.core.features.match_features import MATCH_FEATURES
from stream_coupons.core.features.plugins import installed_features
from stream_coupons.core.features.shopper_features import SHOPPER_FEATURES
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.habits import habit_fading, hands, rhythm
from stream_coupons.core.shopper.profile import decay

BUILT_IN: tuple[Feature, ...] = (*SHOPPER_FEATURES, *COUPON_FEATURES, *MATCH_FEATURES, *HISTORY_FEATURES)
_ALL = (*BUILT_IN, *installed_features({each.name for each in BUILT_IN} | CATEGORY_TEXTS.keys()))
_OF_SHOPPER = tuple(each for each in _ALL if isinstance(each, ShopperFeature))
_OF_COUPON = tuple(each for each in _ALL if isinstance(each, CouponFeature))
_OF_MATCH = tuple(each for each in _ALL if isinstance(each, MatchFeature))

FEATURES: tuple[Feature, ...] = (*_OF_SHOPPER, *_OF_COUPON, *_OF_MATCH)
"""All numeric features in the order of their columns; those of installed packages are the last of their kind."""
NUMERIC = tuple(each.name for each in FEATURES)
"""Their names."""
FEATURE_BY_NAME = {each.name: each for each in FEATURES}
_LOWEST, _HIGHEST = np.array([each.bounds for each in FEATURES], np.float64).T


class Logarithms(NamedTuple):
    """Rows of an array (features, n) whose logarithms are features, and the divisor of each."""

    at: NDArray[np.intp]
    divisors: Floats

    @classmethod
    def of(cls, features: Sequence[Feature]) -> "Logarithms":
        """Return the logarithms among some features."""
        at = [row for row, each in enumerate(features) if each.log_divisor]
        return cls(np.array(at, np.intp), np.array([[features[row].log_divisor] for row in at]))

    def take(self, computed: Floats) -> Floats:
        """Return the scaled features of computed values (features, n), in place."""
        computed[self.at] = np.log1p(np.maximum(computed[self.at], 0.0)) / self.divisors
        return computed


_COMPUTE_OF_SHOPPER = tuple(each.compute for each in _OF_SHOPPER)
_COMPUTE_OF_MATCH = tuple(each.compute for each in _OF_MATCH)
_SHOPPER_LOGS, _COUPON_LOGS, _MATCH_LOGS = map(Logarithms.of, (_OF_SHOPPER, _OF_COUPON, _OF_MATCH))


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
    shoppers = [_shopper_moment(moment, rules) for moment in moments]
    rows = RowBatch(shoppers, coupons, views, views.pairs.owner, views.pairs.position)
    of_shoppers = np.array([[compute(each) for compute in _COMPUTE_OF_SHOPPER] for each in shoppers], np.float64)
    matches = np.empty((len(_OF_MATCH), len(rows.owner)))
    for row, compute in enumerate(_COMPUTE_OF_MATCH):
        matches[row] = compute(rows)
    numbers: Floats = np.concatenate(
        (
            _SHOPPER_LOGS.take(of_shoppers.T).T[rows.owner],
            coupons.once(_coupon_numbers)[rows.position],
            _MATCH_LOGS.take(matches).T,
        ),
        axis=1,
    )
    np.maximum(numbers, _LOWEST, out=numbers)
    np.minimum(numbers, _HIGHEST, out=numbers)
    return numbers


def _shopper_moment(moment: Moment, rules: ProfileRules) -> ShopperMoment:
    profile, history, at = moment.shopper.profile, moment.shopper.history, moment.at
    price = None
    if profile.units > 0:
        price = profile.spend_minor / profile.units
    elif profile.prices:
        price = sum(profile.prices) / len(profile.prices)
    return ShopperMoment(
        moment,
        profile,
        history,
        at,
        decay(profile, at, rules),
        habit_fading(at - profile.habits_at, rules)[0],
        price,
        history.exposures_at(at),
        rhythm(profile.rhythm, at),
        hands(at),
    )


def _coupon_numbers(coupons: CouponSet) -> Floats:
    """Return the features of each coupon, shape (coupons, features)."""
    computed = np.array([feature.compute(coupons) for feature in _OF_COUPON], np.float64)
    return _COUPON_LOGS.take(computed).T

"""Numeric features of a (shopper, coupon, moment), in the order of their columns, and their computation.

They are scaled to about [0, 3], logarithms of ratios to [-1, 4], log-odds to [-5, 5]: no scaler has to be learnt or
served. A missing number is a constant with a flag of its own, or 0, so that a model can tell.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.features.affinity import RowBatch
from stream_coupons.core.features.categories import CATEGORY_TEXTS
from stream_coupons.core.features.coupon_features import COUPON_FEATURES
from stream_coupons.core.features.feature import CouponFeature, Feature, MatchFeature, ShopperFeature
from stream_coupons.core.features.match_features import HISTORY_FEATURES, MATCH_FEATURES, history_numbers, match_numbers
from stream_coupons.core.features.plugins import installed_features
from stream_coupons.core.features.shopper_features import SHOPPER_FEATURES, shopper_numbers

BUILT_IN: Mapping[str, Sequence[Feature]] = {
    "shopper": SHOPPER_FEATURES,
    "coupon": COUPON_FEATURES,
    "match": MATCH_FEATURES,
    "history": HISTORY_FEATURES,
}
"""Features of this program by subject."""
_TAKEN = {each.name for features in BUILT_IN.values() for each in features} | CATEGORY_TEXTS.keys()
_INSTALLED = installed_features(_TAKEN)
_INSTALLED_OF_SHOPPER = tuple(each for each in _INSTALLED if isinstance(each, ShopperFeature))
_INSTALLED_OF_MATCH = tuple(each for each in _INSTALLED if isinstance(each, MatchFeature))
_OF_SHOPPER = (*SHOPPER_FEATURES, *_INSTALLED_OF_SHOPPER)
_OF_COUPON = (*COUPON_FEATURES, *(each for each in _INSTALLED if isinstance(each, CouponFeature)))
_OF_MATCH = (*MATCH_FEATURES, *HISTORY_FEATURES, *_INSTALLED_OF_MATCH)

FEATURES: tuple[Feature, ...] = (*_OF_SHOPPER, *_OF_COUPON, *_OF_MATCH)
"""All numeric features in the order of their columns; those of installed packages are the last of their kind."""
NUMERIC = tuple(each.name for each in FEATURES)
"""Their names."""
FEATURE_BY_NAME = {each.name: each for each in FEATURES}


class _Scale(NamedTuple):
    """Logarithms and bounds of some features, which are rows of an array (features, n)."""

    logarithms: Positions
    divisors: Floats
    lowest: Floats
    highest: Floats

    @classmethod
    def of(cls, features: Sequence[Feature]) -> "_Scale":
        divisors = np.array([each.log_divisor for each in features])
        logarithms = divisors.nonzero()[0]
        lowest, highest = np.array([each.bounds for each in features], np.float64).T[:, :, None]
        return cls(logarithms, divisors[logarithms, None], lowest, highest)

    def take(self, computed: Floats) -> Floats:
        """Return the features of computed values (features, n), which are changed, with the features last."""
        computed[self.logarithms] = np.log1p(np.maximum(computed.take(self.logarithms, axis=0), 0.0)) / self.divisors
        np.maximum(computed, self.lowest, out=computed)
        np.minimum(computed, self.highest, out=computed)
        return computed.T


_SHOPPER, _COUPON, _MATCH = map(_Scale.of, (_OF_SHOPPER, _OF_COUPON, _OF_MATCH))
_FIRST_OF_COUPON, _FIRST_OF_MATCH = len(_OF_SHOPPER), len(_OF_SHOPPER) + len(_OF_COUPON)
_FIRST_OF_HISTORY = len(MATCH_FEATURES)
_FIRST_INSTALLED = len(MATCH_FEATURES) + len(HISTORY_FEATURES)


def numbers_of(rows: RowBatch) -> Floats:
    """Return all numeric features of some rows, shape (n, len(NUMERIC))."""
    of_shoppers = np.array(
        [(*shopper_numbers(each), *(one.compute(each) for one in _INSTALLED_OF_SHOPPER)) for each in rows.shoppers],
        np.float64,
    )
    matches = np.empty((len(_OF_MATCH), len(rows.owner)))
    match_numbers(rows, matches[:_FIRST_OF_HISTORY])
    history_numbers(rows, matches[_FIRST_OF_HISTORY:_FIRST_INSTALLED])
    for row, each in enumerate(_INSTALLED_OF_MATCH, _FIRST_INSTALLED):
        matches[row] = each.compute(rows)
    numbers = np.empty((len(rows.owner), len(NUMERIC)))
    of_rows = _SHOPPER.take(of_shoppers.T)
    numbers[:, :_FIRST_OF_COUPON] = of_rows if len(of_rows) == 1 else of_rows.take(rows.owner, axis=0)
    numbers[:, _FIRST_OF_MATCH:] = _MATCH.take(matches)
    numbers[:, _FIRST_OF_COUPON:_FIRST_OF_MATCH] = rows.coupons.once(_coupon_numbers).take(rows.position, axis=0)
    return numbers


def _coupon_numbers(coupons: CouponSet) -> Floats:
    """Return the features of each coupon, shape (coupons, features)."""
    computed = np.array([feature.compute(coupons) for feature in _OF_COUPON], np.float64)
    return np.ascontiguousarray(_COUPON.take(computed))

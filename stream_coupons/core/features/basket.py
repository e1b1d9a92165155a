r"""The value of an order in a coupon's scope, by the prices that the shopper looks at.

A coupon's typical price is one number for all shoppers. The prices that a shopper looks at in the coupon's categories
predict better; if there are few, the shopper's price level over all categories does. Both are means of logarithms,
shrunk towards the typical price while there are few prices:

.. math:: \log v = \log p_i + \frac{w (\bar{l} - \log p_i) + k g}{w + k}

with :math:`\bar{l}` the mean logarithm of the shopper's prices in the categories, of weight w, and g the mean of the
shopper's logarithms over those of each category's coupons.
"""

from collections.abc import Sequence

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.catalogue.scopes import Pairs
from stream_coupons.core.features.affinity import Moment

PRICE_STRENGTH = 20.0
"""Weight of prices in the categories at which they count as much as the shopper's price level."""
LEVEL_STRENGTH = 5.0
"""Weight of all prices at which the price level is shrunk by half."""
LEVEL_CARRIES = 0.65
"""Share of a price level that carries over to the next order: the rest is of single items."""
MOST_LOG2 = 2.0
"""Bound of the logarithm (base 2) of a value over the typical price."""


def order_values(moments: Sequence[Moment], coupons: CouponSet, pairs: Pairs) -> Floats:
    """Return the expected value of an order in scope, minor units, shape (n,).

    Parameters
    ----------
    moments : sequence of Moment
        Shoppers with their price levels.
    coupons : CouponSet
        Coupons of one domain.
    pairs : Pairs
        n rows of a moment and a coupon each.
    """
    owner, position = pairs.owner, pairs.position
    shape = (len(moments), len(coupons.vocabulary) + 1)
    weight, total = np.zeros(shape), np.zeros(shape)
    for row, moment in enumerate(moments):
        for name, level in moment.shopper.profile.price_levels.items():
            if column := coupons.category_columns.get(name):
                weight[row, column], total[row, column] = level.weight, level.total
    above = total - weight * coupons.category_price_log2
    level = LEVEL_CARRIES * above.sum(axis=1) / (weight.sum(axis=1) + LEVEL_STRENGTH)
    has_items, categories = coupons.has_items[position], pairs.scopes.categories
    own = np.where(has_items, 0.0, categories.score(weight.ravel()))
    own_total = np.where(has_items, 0.0, categories.score(total.ravel()))
    log2 = (own_total - own * coupons.price_log2[position] + PRICE_STRENGTH * level[owner]) / (own + PRICE_STRENGTH)
    values: Floats = coupons.price_minor[position] * np.exp2(np.clip(log2, -MOST_LOG2, MOST_LOG2))
    return values

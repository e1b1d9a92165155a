"""The expected value of an order in a coupon's scope: what the shopper would buy there, at which prices."""

from collections.abc import Sequence

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.catalogue.scopes import Pairs
from stream_coupons.core.catalogue.viewed_prices import NOTHING_VIEWED, ScopePrices, ViewedPrices
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.vectors.sparse import feature_index

PRICE_STRENGTH = 20.0
"""Weight of prices in the categories at which they count as much as the shopper's price level."""
LEVEL_STRENGTH = 5.0
"""Weight of all prices at which the price level is shrunk by half."""
LEVEL_CARRIES = 0.65
"""Share of a price level that carries over to the next order: the rest is of single items."""
MOST_LOG2 = 2.0
"""Bound of the logarithm (base 2) of what a shopper pays over what others do, or over the typical price."""


def order_values(
    moments: Sequence[Moment], coupons: CouponSet, pairs: Pairs, viewed_prices: ViewedPrices = NOTHING_VIEWED
) -> Floats:
    r"""Return the expected value of an order in a coupon's scope, minor units, shape (n,).

    It is the level of the coupon, times what the shopper pays over what all pay. The level is the catalogue's typical
    price, corrected by the prices that all visitors view in its scope. What one coupon is good for costs one shopper
    more than another: they turn to other categories within its scope, and to dearer or cheaper products. While there
    are few views, the shopper's prices are compared with the catalogue's in place of those viewed; in logarithms.

    Parameters
    ----------
    moments : sequence of Moment
        Shoppers with their price levels.
    coupons : CouponSet
        Coupons of one domain.
    pairs : Pairs
        n rows of a moment and a coupon each.
    viewed_prices : ViewedPrices
        Prices that visitors look at.
    """
    stated = stated_values(moments, coupons, pairs)
    if not len(viewed_prices):
        return stated
    owner, position, prices = pairs.owner, pairs.position, viewed_prices.of(coupons)
    viewed = np.stack([_viewed_log2(prices, moment) for moment in moments])[owner, position]
    over_all = viewed - prices.mean_log2[position]
    over_typical = np.log2(stated) - coupons.price_log2[position]
    over = over_typical + prices.trust[position] * (over_all - over_typical)
    return np.asarray(np.exp2(prices.level_log2[position] + over))


def _viewed_log2(prices: ScopePrices, moment: Moment) -> Floats:
    """Return the logarithm of the mean price that the shopper would pay in the scope of every coupon."""
    weight, above = np.zeros(len(prices.log2)), np.zeros(len(prices.log2))
    for name, level in moment.shopper.profile.price_levels.items():
        column = prices.columns.get(feature_index(f"category:{name}"))
        if column is not None:
            weight[column], above[column] = level.weight, level.total - level.weight * prices.log2[column]
    general = LEVEL_CARRIES * above.sum() / (weight.sum() + LEVEL_STRENGTH)
    dearness = (above + PRICE_STRENGTH * general) / (weight + PRICE_STRENGTH)
    mean_minor = prices.mean_minor(weight, np.exp2(np.clip(dearness, -MOST_LOG2, MOST_LOG2)))
    return np.asarray(np.log2(np.maximum(mean_minor, 1.0)))


def stated_values(moments: Sequence[Moment], coupons: CouponSet, pairs: Pairs) -> Floats:
    r"""Return the value of an order by the typical prices that the catalogue states, minor units, shape (n,).

    The prices that a shopper looks at in the coupon's categories predict better; if there are few, the shopper's price
    level over all categories does. Both are means of logarithms, shrunk towards the typical price while there are few
    prices:

    .. math:: \log v = \log p_i + \frac{w (\bar{l} - \log p_i) + k g}{w + k}

    with :math:`\bar{l}` the mean logarithm of the shopper's prices in the categories, of weight w, and g the mean of
    the shopper's logarithms over those of each category's coupons.

    Parameters
    ----------
    moments, coupons, pairs
        As of `order_values`.
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

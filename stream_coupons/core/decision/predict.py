"""Features and probabilities of candidates, of many shoppers at once."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.viewed_prices import ScopePrices, ViewedPrices
from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.decision.table import CandidateTable
from stream_coupons.core.features.affinity import PRICE_TOTAL, PRICE_WEIGHT, Interests, Moment, RowBatch, look
from stream_coupons.core.features.rows import blank, extract
from stream_coupons.core.rules import Rules
from stream_coupons.core.vectors.sparse import feature_index

ALIKE_SHARE = 0.02
"""The least share of similar shoppers' interest that makes a coupon relevant to a hardly known shopper."""
MANY_TIMES = 16
"""Candidates over the size of a shortlist above which not all of them are sorted."""


def tabulate(
    moments: Sequence[Moment], eligible: Sequence[Positions], coupons: CouponSet, rules: Rules
) -> CandidateTable:
    """Return the most promising candidates of each moment with their features.

    A row does not depend on the other rows of the batch, to the last bit.

    Parameters
    ----------
    moments : sequence of Moment
        Shoppers, each at a time.
    eligible : sequence of arrays of int
        For each moment, positions in `coupons`.
    coupons : CouponSet
        Coupons of one domain.
    rules : Rules
        Length of the shortlist, and half-lives.
    """
    interests, size = Interests.of(moments, coupons, rules.profile), rules.policy.max_candidates
    chosen = list(eligible)
    if any(len(positions) > size for positions in chosen):
        promise = interests.promise()
        chosen = [shortlist(positions, each, size) for positions, each in zip(chosen, promise, strict=True)]
    rows = look(interests, chosen)
    features = extract(moments, coupons, chosen, rules.profile, rows)
    return CandidateTable(
        moments, coupons, rows.owner, rows.position, features, stated_values(rows), _is_strange(rows, rules)
    )


def list_all(moments: Sequence[Moment], eligible: Sequence[Positions], coupons: CouponSet) -> CandidateTable:
    """Return all candidates for a scorer that reads no features; parameters as of `tabulate`."""
    owner = np.repeat(np.arange(len(eligible)), [*map(len, eligible)])
    position, rows = np.concatenate(list(eligible)), blank(moments, coupons, eligible)
    return CandidateTable(
        moments, coupons, owner, position, rows, coupons.price_minor[position], np.zeros(len(owner), np.bool_)
    )


def predict(table: CandidateTable, scorer: Scorer) -> CandidateTable:
    """Return the table with the probabilities and the values of orders that a model expects.

    Parameters
    ----------
    table : CandidateTable
        Output of `tabulate`.
    scorer : Scorer
        Model of the domain.
    """
    order_minor, viewed_prices = table.stated_minor, scorer.viewed_prices
    if viewed_prices.views.size:
        rows = table.owner, table.position
        order_minor = at_viewed_prices(order_minor, table.moments, table.coupons, rows, viewed_prices)
    return table.filled(scorer=scorer, predicted=scorer.predict(table.features), order_minor=order_minor)


def shortlist(positions: Positions, promise: Floats, size: int) -> Positions:
    """Return the most promising positions.

    Parameters
    ----------
    positions : array of int, shape (n,)
        Candidates, ascending.
    promise : array of float, shape (coupons,)
        Sum of all scores R(u, i) of every coupon; NaN comes last.
    size : int
        Number of positions to return; all if there are no more.

    Returns
    -------
    array of int
        Ascending.

    Examples
    --------
    >>> shortlist(np.array([0, 1, 3]), np.array([0.5, 0.1, 9.0, 0.7]), 2).tolist()
    [0, 3]
    """
    if len(positions) <= size:
        return positions
    below = -promise[positions]
    if len(positions) > MANY_TIMES * size:
        # The bound of a sample holds for all, and few are within it.
        sample = below[:: math.isqrt(len(positions) // size) | 1]
        within = np.flatnonzero(~(below > np.partition(sample, size - 1)[size - 1]))
        positions, below = positions[within], below[within]
    kept: Positions = np.sort(positions[np.argsort(below, kind="stable")[:size]])
    return kept


def _is_strange(rows: RowBatch, rules: Rules) -> NDArray[np.bool_]:
    """Return the rows, as a mask, whose coupon is outside the interests of a hardly known shopper and of similar ones.

    The shopper's interest in such a coupon is a guess, and a wrong guess is noticed.
    """
    is_hardly_known = np.array([each.events < rules.policy.known_after for each in rows.shoppers])
    if not is_hardly_known.any():
        return np.zeros(len(rows.owner), np.bool_)
    is_alike = (rows.collaborative > 0.0) & (rows.shares[2] > ALIKE_SHARE)
    strange: NDArray[np.bool_] = is_hardly_known.take(rows.owner) & (rows.content <= 0.0) & ~is_alike
    return strange


PRICE_STRENGTH = 20.0
"""Weight of prices in the categories at which they count as much as the shopper's price level."""
LEVEL_STRENGTH = 5.0
"""Weight of all prices at which the price level is shrunk by half."""
LEVEL_CARRIES = 0.65
"""Share of a price level that carries over to the next order: the rest is of single items."""
MOST_LOG2 = 2.0
"""Bound of the logarithm (base 2) of a shopper's prices over those of all shoppers, or over the typical price."""


def at_viewed_prices(
    stated: Floats,
    moments: Sequence[Moment],
    coupons: CouponSet,
    rows: tuple[Positions, Positions],
    viewed_prices: ViewedPrices,
) -> Floats:
    """Return the expected value of an order in a coupon's scope, minor units, shape (n,).

    It is the coupon's level, times the ratio of the shopper's mean price in the scope to that of all shoppers
    (`ScopePrices`). While few views are counted in the scope, the ratio is that of the shopper's prices to the
    catalogue's; both ratios are weighted in logarithms.

    Parameters
    ----------
    stated : array, shape (n,)
        Output of `stated_values`, minor units.
    moments : sequence of Moment
        Shoppers with their price levels.
    coupons : CouponSet
        Coupons of one domain.
    rows : tuple of arrays of int, shape (n,)
        Index of the moment of each row, and position of its coupon.
    viewed_prices : ViewedPrices
        Prices that visitors look at.
    """
    (owner, position), prices = rows, viewed_prices.of(coupons)
    viewed = _viewed_log2(moments, prices)[owner, position]
    over_all = viewed - prices.mean_log2[position]
    over_typical = np.log2(stated) - coupons.price_log2[position]
    over = over_typical + prices.trust[position] * (over_all - over_typical)
    return np.asarray(np.exp2(prices.level_log2[position] + over))


def _own_prices(
    moments: Sequence[Moment], column_of: Callable[[str], int | None], columns: int
) -> tuple[Floats, Floats]:
    """Return the weight of each shopper's prices by category, and the sum of their logarithms, (moments, columns)."""
    weight, total = np.zeros((len(moments), columns)), np.zeros((len(moments), columns))
    for row, moment in enumerate(moments):
        for name, level in moment.shopper.profile.price_levels.items():
            if (column := column_of(name)) is not None:
                weight[row, column], total[row, column] = level.weight, level.total
    return weight, total


def _price_level(weight: Floats, above: Floats) -> Floats:
    """Return the logarithm of each shopper's price level over all categories, shape (moments,).

    The argument `above` has the sums of the logarithms of the shopper's prices over those of the categories.
    """
    level: Floats = LEVEL_CARRIES * np.add.reduce(above, axis=1) / (np.add.reduce(weight, axis=1) + LEVEL_STRENGTH)
    return level


def _viewed_log2(moments: Sequence[Moment], prices: ScopePrices) -> Floats:
    """Return the logarithm of each shopper's mean price in the scope of every coupon, shape (moments, K)."""
    columns = prices.columns
    weight, total = _own_prices(moments, lambda name: columns.get(feature_index(f"category:{name}")), len(columns))
    above = total - weight * prices.log2
    level = _price_level(weight, above)[:, None]
    dearness = np.exp2(np.clip((above + PRICE_STRENGTH * level) / (weight + PRICE_STRENGTH), -MOST_LOG2, MOST_LOG2))
    minor = [prices.mean_minor(*of_shopper) for of_shopper in zip(weight, dearness, strict=True)]
    return np.asarray(np.log2(np.maximum(minor, 1.0)))


def stated_values(rows: RowBatch) -> Floats:
    r"""Return the value of an order by the typical prices that the catalogue states, minor units, shape (n,).

    The prices that a shopper looks at in the coupon's categories predict better; if there are few, the shopper's price
    level over all categories does. Both are means of logarithms, shrunk towards the typical price while there are few
    prices:

    .. math:: \log v = \log p_i + \frac{w (\bar{l} - \log p_i) + k g}{w + k}

    with :math:`\bar{l}` the mean logarithm of the shopper's prices in the categories, of weight w, and g the mean of
    the shopper's logarithms over those of each category's coupons.

    Parameters
    ----------
    rows : RowBatch
        n rows of a moment and a coupon each.
    """
    coupons, position, interests = rows.coupons, rows.position, rows.interests.vectors
    weight, total = interests[PRICE_WEIGHT], interests[PRICE_TOTAL]
    level = _price_level(weight, total - weight * coupons.category_price_log2)
    own, own_total = rows.prices
    if coupons.any_items:
        own, own_total = np.where(coupons.has_items.take(position), 0.0, rows.prices)
    log2 = own_total - own * coupons.price_log2.take(position) + PRICE_STRENGTH * level.take(rows.owner)
    log2 /= own + PRICE_STRENGTH
    values: Floats = coupons.price_minor.take(position) * np.exp2(np.minimum(np.maximum(log2, -MOST_LOG2), MOST_LOG2))
    return values

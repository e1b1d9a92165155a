"""Views and prices of items by category and brand, and the prices in the scopes of coupons that follow from them.

A coupon for a brand is good for all that the brand sells: coffee for one shopper, loudspeakers for another. What an
order in its scope is worth to the shop depends on the categories that the shopper views, and on the brand's prices
there. The catalogue states neither: views of all shoppers show both.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Hashes, Positions
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.vectors.sparse import feature_index

PRIOR_VIEWS = 3.0
"""Prior views of a shopper, distributed over categories as the views of all shoppers."""
TRUSTED_VIEWS = 10.0
"""Views in a coupon's scope at which they count as much as what the catalogue says of its prices."""
MIN_TRUST = 0.5
"""Trust from which on the prices viewed in a coupon's scope are compared with its typical price."""
BELIEVED = 0.5
"""Weight of the prices viewed in a coupon's scope, however many, against the typical price that is stated for it."""
MAX_LOG2_ABOVE = 6.0
"""Bound of the logarithm (base 2) of a mean price over that of all views: one forged price would move all values."""
NO_BRAND = 0
"""Brand index of items without a brand."""
TINY = 1e-9


class ScopePrices(NamedTuple):
    """Prices in the scopes of K coupons, over C categories; a pair is a scope and a category within it.

    Attributes
    ----------
    columns : dict of int to int
        Column of each category, by the index of its feature.
    log2 : array, shape (C,)
        Mean logarithm (base 2) of the prices viewed, minor units.
    popularity : array, shape (C,)
        Prior views of a shopper by category; their sum is `PRIOR_VIEWS`.
    scopes : int
        Number of scopes.
    scope_of : array of int, shape (K,)
        Number of each coupon's scope, which coupons may share.
    scope, column : array of int, shape (pairs,)
        Number of the scope, and the category's column; ordered by both.
    share : array, shape (pairs,)
        Part of the category's views that is in the scope.
    price_minor : array, shape (pairs,)
        That part, times the mean price of those views.
    trust : array, shape (K,)
        Weight of these prices against the catalogue's, in [0, 1); 0 for a coupon of some items.
    mean_log2, level_log2 : array, shape (K,)
        Logarithms (base 2), over all shoppers, of the mean price in the coupon's scope and of the mean value of an
        order there, minor units.
    """

    columns: dict[int, int]
    log2: Floats
    popularity: Floats
    scopes: int
    scope_of: Positions
    scope: Positions
    column: Positions
    share: Floats
    price_minor: Floats
    trust: Floats
    mean_log2: Floats
    level_log2: Floats

    def mean_minor(self, viewed: Floats, dearness: Floats) -> Floats:
        r"""Return the mean price that a shopper would pay in each coupon's scope, shape (K,); 0 where nothing is known.

        With :math:`n_c` the views of all shoppers in a category, :math:`n_{ic}` those of them within the coupon's
        scope, at a mean price of :math:`p_{ic}`, and :math:`w_c` the shopper's own and prior views of the category:

        .. math:: v_i = \frac{\sum_c w_c \frac{n_{ic}}{n_c} p_{ic} d_c}{\sum_c w_c \frac{n_{ic}}{n_c}}

        Parameters
        ----------
        viewed : array, shape (C,)
            Weight of the shopper's own views by category.
        dearness : array, shape (C,)
            Factor :math:`d_c` of the shopper on prices.
        """
        wanted = viewed + self.popularity
        shares = np.bincount(self.scope, self.share * wanted[self.column], self.scopes)
        prices = np.bincount(self.scope, self.price_minor * (wanted * dearness)[self.column], self.scopes)
        means: Floats = np.divide(prices, shares, out=np.zeros(self.scopes), where=shares > 0.0)
        return means[self.scope_of]


@dataclass(frozen=True, slots=True, eq=False)
class ViewedPrices:
    """Views and prices of n cells, of a category and a brand each; read only.

    Attributes
    ----------
    categories, brands : array of uint32, shape (n,)
        Indices of the features "category:..." and "brand:..."; the brand is `NO_BRAND` where there is none. Ascending.
    views : array, shape (n,)
        Views that count, above 0.
    prices : array, shape (n,)
        Mean price of these views, minor units.
    logs : array, shape (n,)
        Mean logarithm (base 2) of these prices.
    """

    categories: Hashes
    brands: Hashes
    views: Floats
    prices: Floats
    logs: Floats
    _of: dict[CouponSet, ScopePrices] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.views)

    def of(self, coupons: CouponSet) -> ScopePrices:
        """Return the prices in the scopes of coupons; computed on the first call with a set.

        Examples
        --------
        >>> from stream_coupons.core.messages.catalogue import Coupon
        >>> tea, oats, acme = (feature_index(name) for name in ("category:tea", "category:oats", "brand:acme"))
        >>> cells = np.array(sorted([(tea, acme), (tea, NO_BRAND), (oats, NO_BRAND)]), np.uint32).T
        >>> seen = ViewedPrices(*cells, np.ones(3), np.full(3, 256.0), np.full(3, 8.0))
        >>> coupons = CouponSet([Coupon(coupon_id="c", brands=["acme"], max_discount_minor=1)], 1000.0)
        >>> found = seen.of(coupons)
        >>> found.share.tolist(), found.price_minor.tolist(), found.mean_minor(np.ones(2), np.ones(2)).tolist()
        ([0.5], [128.0], [256.0])
        """
        found = self._of.get(coupons)
        if found is None:
            found = self._of[coupons] = self._compile(coupons)
        return found

    def _compile(self, coupons: CouponSet) -> ScopePrices:
        scopes = coupons.once(_ScopeCells)
        cells = scopes.of(self.categories, self.brands)
        columns, pairs, count = len(cells.columns), len(cells.scope), len(scopes)
        views = np.bincount(cells.column_of, self.views, columns)
        logs = np.bincount(cells.column_of, self.views * self.logs, columns)
        most_minor = 2.0 ** (logs.sum() / views.sum() + MAX_LOG2_ABOVE)
        prices = np.minimum(self.prices, most_minor)
        viewed = np.bincount(cells.pair_of, self.views[cells.cell], pairs)
        asked = np.bincount(cells.pair_of, (self.views * prices)[cells.cell], pairs)
        within = np.bincount(cells.scope, viewed, count)
        mean_minor = np.bincount(cells.scope, asked, count) / np.maximum(within, TINY)
        trust = (within / (within + TRUSTED_VIEWS))[scopes.scope_of]
        mean_log2 = np.log2(mean_minor + TINY)[scopes.scope_of]
        return ScopePrices(
            columns=cells.columns,
            log2=logs / views,
            popularity=PRIOR_VIEWS * views / views.sum(),
            scopes=count,
            scope_of=scopes.scope_of,
            scope=cells.scope,
            column=cells.column,
            share=viewed / views[cells.column],
            price_minor=asked / views[cells.column],
            trust=trust,
            mean_log2=mean_log2,
            level_log2=_levels_log2(coupons, mean_log2, trust),
        )


def _levels_log2(coupons: CouponSet, mean_log2: Floats, trust: Floats) -> Floats:
    """Return the logarithm of the mean value of an order in each coupon's scope, shape (K,).

    An order may have several pieces, a view has one. The number of pieces is the median ratio of typical prices to
    prices viewed, over all coupons. The level of a coupon is the geometric mean of its typical price and of so many
    pieces at the price viewed in its scope; without a typical price it is the latter.
    """
    stated = coupons.states_price
    known = stated & (trust >= MIN_TRUST)
    pieces_log2 = float(np.median((coupons.price_log2 - mean_log2)[known])) if known.any() else 0.0
    weight = trust * np.where(stated, BELIEVED, 1.0)
    levels: Floats = coupons.price_log2 + weight * (mean_log2 + pieces_log2 - coupons.price_log2)
    return levels


_NONE: Floats = np.zeros(0)
NOTHING_VIEWED = ViewedPrices(np.zeros(0, np.uint32), np.zeros(0, np.uint32), _NONE, _NONE, _NONE)


class _Cells(NamedTuple):
    """The cells in each scope.

    Attributes
    ----------
    columns : dict of int to int
        Column of each category.
    column_of : array of int, shape (cells,)
        Column of each cell.
    cell, pair_of : array of int, shape (m,)
        A cell in the scope of a pair.
    scope, column : array of int, shape (pairs,)
        The scope and the category of each pair.
    """

    columns: dict[int, int]
    column_of: Positions
    cell: Positions
    pair_of: Positions
    scope: Positions
    column: Positions


class _Scope(NamedTuple):
    """Features of the categories and brands that a coupon names; no categories, or no brands, are all of them."""

    categories: frozenset[int]
    brands: frozenset[int]


def _scope_of(coupon: Coupon) -> _Scope:
    return _Scope(
        frozenset(feature_index(f"category:{name}") for name in coupon.categories),
        frozenset(feature_index(f"brand:{name}") for name in coupon.brands),
    )


class _ScopeCells:
    """Finds the cells in the scopes of a set's coupons. Cells are seldom new, and are then found for all scopes.

    Attributes
    ----------
    scope_of : array of int, shape (coupons,)
        Number of each coupon's scope. The last scope is that of coupons for some items, of which there are no cells.
    """

    def __init__(self, coupons: CouponSet) -> None:
        number: dict[_Scope, int] = {}
        of_wide = [0 if each.items else number.setdefault(_scope_of(each), len(number)) for each in coupons.coupons]
        self._scopes = list(number)
        self.scope_of: Positions = np.where(coupons.has_items, len(number), of_wide)
        self._keys: tuple[bytes, bytes] | None = None
        self._found: _Cells | None = None

    def __len__(self) -> int:
        """Return the number of scopes."""
        return len(self._scopes) + 1

    def of(self, categories: Hashes, brands: Hashes) -> _Cells:
        """Return the cells in each scope.

        Parameters
        ----------
        categories, brands : array of uint32, shape (cells,)
            The cells, ordered by category.
        """
        keys = categories.tobytes(), brands.tobytes()
        if self._found is None or keys != self._keys:
            self._keys, self._found = keys, self._find(categories, brands)
        return self._found

    def _find(self, categories: Hashes, brands: Hashes) -> _Cells:
        of_columns, first, column_of = np.unique(categories, return_index=True, return_inverse=True)
        columns = {category: column for column, category in enumerate(of_columns.tolist())}
        every = np.arange(len(categories))
        of_category = dict(zip(columns, np.split(every, first[1:]), strict=True))
        by_brand = np.argsort(brands, kind="stable")
        named, starts = np.unique(brands[by_brand], return_index=True)
        of_brand = dict(zip(named.tolist(), np.split(by_brand, starts[1:]), strict=True))

        def within(scope: _Scope) -> Positions:
            found = [of_category.get(each, every[:0]) for each in scope.categories]
            if not scope.brands:
                return np.sort(np.concatenate(found)) if found else every
            cells = np.sort(np.concatenate([of_brand.get(each, every[:0]) for each in scope.brands]))
            return cells[np.isin(cells, np.concatenate(found))] if found else cells

        each = [*map(within, self._scopes), every[:0]]
        cell = np.concatenate(each)
        scope, column = np.repeat(np.arange(len(each)), [*map(len, each)]), column_of[cell]
        is_first = np.ones(len(cell), np.bool_)
        is_first[1:] = (scope[1:] != scope[:-1]) | (column[1:] != column[:-1])
        return _Cells(columns, column_of, cell, np.cumsum(is_first) - 1, scope[is_first], column[is_first])

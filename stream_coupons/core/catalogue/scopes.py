"""Scopes of coupons as columns of a vocabulary, so that profiles are scored against all coupons at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Columns = NDArray[np.intp]

BRAND_WEIGHT = 0.5
MAX_PADDING = 4
"""Rows are padded to one length unless that makes them this many times longer in all."""
MAX_IN_ORDER = 7
"""Columns of a row up to which numpy adds them one after the other, whichever axis they lie along."""


@dataclass(frozen=True, slots=True)
class ScopeColumns:
    """For each coupon, the columns of the vocabulary that its scope has in common with profiles."""

    columns: Columns
    """Rows are padded with column 0, which is always zero."""
    axis: int = -1
    """Axis along which the columns of a row lie. Short rows are added faster across rows, to the same sum."""
    starts: Columns | None = None
    """Start of each row if the rows lie end to end: padding them all to the longest would cost too much."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "ScopeColumns":
        """Return the columns of these rows in the layout that is summed fastest."""
        filled = [row or [0] for row in rows]
        sizes = [len(row) for row in filled]
        width = max([*sizes, 1])
        if len(rows) * width > MAX_PADDING * sum(sizes):
            return cls(np.array(list(chain.from_iterable(filled)), np.intp), starts=np.cumsum([0, *sizes[:-1]]))
        padded = np.array([[*row, *[0] * (width - len(row))] for row in filled], np.intp).reshape(len(rows), width)
        return cls(padded) if width > MAX_IN_ORDER else cls(np.ascontiguousarray(padded.T), -2)

    def at(self, positions: Columns, first: Columns) -> "ScopeColumns":
        """Return some of the rows, each for a vector of its own.

        Parameters
        ----------
        positions : array of int, shape (n,)
            Rows.
        first : array of int, shape (n,)
            Index at which the vector of each row begins in all vectors end to end.
        """
        if self.starts is None and self.axis == -2:
            return ScopeColumns(self.columns.take(positions, axis=1) + first, -2)
        if self.starts is None:
            return ScopeColumns(self.columns.take(positions, axis=0) + first[:, None])
        sizes = np.diff(self.starts, append=len(self.columns))[positions]
        starts = np.cumsum(sizes) - sizes
        place = np.arange(sizes.sum()) + np.repeat(self.starts[positions] - starts, sizes)
        return ScopeColumns(self.columns[place] + np.repeat(first, sizes), starts=starts)

    def values(self, vectors: Scores) -> "ScopeValues":
        """Return the values of vectors, shape (..., columns), in the columns of every row; that of column 0 is 0."""
        return ScopeValues(vectors.take(self.columns, axis=-1), self.axis, self.starts)

    def score(self, vectors: Scores) -> Scores:
        """Return the sum of each vector over the columns of every row, shape (..., rows).

        Examples
        --------
        >>> ScopeColumns.of([[1, 2], [], [2]]).score(np.array([0.0, 1.0, 3.0])).tolist()
        [4.0, 0.0, 3.0]
        """
        return self.values(vectors).sums()


class ScopeValues(NamedTuple):
    """Values of vectors in the columns of scopes, laid out as `ScopeColumns`."""

    values: Scores
    axis: int
    starts: Columns | None = None

    def sums(self, some: slice = slice(None)) -> Scores:
        """Return the sum of some of the vectors in each scope, shape (vectors, rows)."""
        if self.starts is not None:
            return np.add.reduceat(self.values[some], self.starts, axis=-1)
        sums: Scores = np.add.reduce(self.values[some], self.axis)
        return sums

    def greatest(self, some: slice) -> Scores:
        """Return the greatest value of some of the vectors in each scope, shape (vectors, rows)."""
        if self.starts is not None:
            return np.maximum.reduceat(self.values[some], self.starts, axis=-1)
        greatest: Scores = np.maximum.reduce(self.values[some], self.axis)
        return greatest


class Scopes:
    """Scopes of coupons; `narrowest` has the features of the narrowest scope that each coupon lists."""

    def __init__(
        self, categories: ScopeColumns, brands: ScopeColumns, items: ScopeColumns, narrowest: ScopeColumns
    ) -> None:
        self.categories, self.brands, self.items, self.narrowest = self._each = categories, brands, items, narrowest
        self.sizes = [each.columns.size for each in self._each]
        self._parts: list[slice] = []
        """Places of the columns of each in `_joined`; none if some lie in another layout."""
        if all(each.axis == -2 for each in self._each):
            self._joined = np.concatenate([each.columns for each in self._each])
            bounds = accumulate([len(each.columns) for each in self._each], initial=0)
            self._parts = [slice(*pair) for pair in pairwise(bounds)]

    def values(self, vectors: Scores, positions: Columns, first: Columns) -> list[ScopeValues]:
        """Return the values of vectors in the categories, brands, items and narrowest scopes of some rows.

        Parameters
        ----------
        vectors : array, shape (vectors, columns)
            Each those of all moments, end to end.
        positions, first : array of int, shape (n,)
            As of `ScopeColumns.at`.
        """
        if not self._parts:
            return [each.at(positions, first).values(vectors) for each in self._each]
        values = vectors.take(self._joined.take(positions, axis=1) + first, axis=1)
        return [ScopeValues(values[:, part], -2) for part in self._parts]

    def content(self, vectors: Scores) -> Scores:
        """Return R(u, i) = sum_k w(i, k) f(u, k) of each vector and row; shapes as in `ScopeColumns.score`."""
        brands = BRAND_WEIGHT * self.brands.score(vectors)
        return self.categories.score(vectors) + brands + self.items.score(vectors)

"""Scopes of coupons as columns of a vocabulary, so that profiles are scored against all coupons at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
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

    def score(self, vectors: Scores) -> Scores:
        """Return the sum of each vector over the columns of every row.

        Parameters
        ----------
        vectors : array, shape (..., columns)
            Values by column of the vocabulary; that of column 0 is 0.

        Returns
        -------
        array, shape (..., rows)
            Sums.

        Examples
        --------
        >>> ScopeColumns.of([[1, 2], [], [2]]).score(np.array([0.0, 1.0, 3.0])).tolist()
        [4.0, 0.0, 3.0]
        """
        values = vectors.take(self.columns, axis=-1)
        if self.starts is not None:
            return np.add.reduceat(values, self.starts, axis=-1)
        scores: Scores = np.add.reduce(values, self.axis)
        return scores

    def greatest(self, vectors: Scores) -> Scores:
        """Return the greatest value of each vector in the columns of every row, shapes as in `score`."""
        values = vectors.take(self.columns, axis=-1)
        if self.starts is not None:
            return np.maximum.reduceat(values, self.starts, axis=-1)
        greatest: Scores = np.maximum.reduce(values, self.axis)
        return greatest


class Scopes(NamedTuple):
    """Scopes of some rows; `narrowest` has the features of the narrowest scope that each coupon lists."""

    categories: ScopeColumns
    brands: ScopeColumns
    items: ScopeColumns
    narrowest: ScopeColumns

    def content(self, vectors: Scores) -> Scores:
        """Return R(u, i) = sum_k w(i, k) f(u, k) of each vector and row; shapes as in `ScopeColumns.score`."""
        brands = BRAND_WEIGHT * self.brands.score(vectors)
        return self.categories.score(vectors) + brands + self.items.score(vectors)

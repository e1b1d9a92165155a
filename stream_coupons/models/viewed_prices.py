"""Views and prices of items by category and brand, counted online, faded and bounded."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.viewed_prices import NO_BRAND, ViewedPrices
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.messages.learning import OnView
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.models.states import State, check_finite, check_names, check_no_less

MAX_CELLS = 4096
"""Pairs of category and brand that are kept. Beyond them an eighth is dropped, those viewed least."""
PERIOD = 1000
"""Views after which all that were seen so far fade."""
LEFT = 0.98
"""Part of a view that is left after a period: the last 50,000 views count. Prices change, and so does what is sold."""
MIN_VIEWS = 10.0
"""Views from which on a price counts as at most `MAX_LOG2_APART` from the others: a slip of the point is no price."""
MAX_LOG2_APART = 3.0
"""Difference of logarithms (base 2)."""
_COLUMNS = ("categories", "brands", "views", "prices", "logs")


class ViewCounts:
    """Views by category and brand, of one domain."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], list[float]] = {}
        """By category and brand: views, the mean of their prices, and that of the prices' logarithms (base 2)."""
        self._views = 0
        self._served: ViewedPrices | None = None

    def learn_one(self, seen: OnView) -> None:
        """Count a view.

        Parameters
        ----------
        seen : OnView
            The item.
        """
        of_brand = NO_BRAND if seen.brand is None else feature_index(f"brand:{seen.brand}")
        cell = self._cells.setdefault((feature_index(f"category:{seen.category}"), of_brand), [0.0, 0.0, 0.0])
        views, price, log2 = cell
        seen_log2 = math.log2(seen.price_minor)
        if views >= MIN_VIEWS:
            seen_log2 = min(max(seen_log2, log2 - MAX_LOG2_APART), log2 + MAX_LOG2_APART)
        views += 1.0
        cell[:] = views, price + (2.0**seen_log2 - price) / views, log2 + (seen_log2 - log2) / views
        self._views += 1
        if self._views % PERIOD == 0:
            for faded in self._cells.values():
                faded[0] *= LEFT
        if len(self._cells) > MAX_CELLS:
            most_viewed = sorted(self._cells.items(), key=lambda entry: (-entry[1][0], entry[0]))
            self._cells = dict(most_viewed[: MAX_CELLS * 7 // 8])
        self._served = None

    @property
    def served(self) -> ViewedPrices:
        """The counts so far, to be served."""
        if self._served is None:
            keys = sorted(self._cells)
            of = np.array(keys, np.uint32).reshape(-1, 2)
            sums = np.array([self._cells[key] for key in keys]).reshape(-1, 3)
            self._served = ViewedPrices(of[:, 0].copy(), of[:, 1].copy(), *(column.copy() for column in sums.T))
        return self._served

    def state(self) -> State:
        """Return the cells, and the number of views."""
        columns = {name: getattr(self.served, name) for name in _COLUMNS}
        return {**columns, "seen": np.array([self._views], np.int64)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
            If it does not fit.
        """
        served = viewed_prices_of(state)
        check_finite(state, "seen", (1,), np.int64)
        check_no_less(state, ["seen"])
        keys = zip(served.categories.tolist(), served.brands.tolist(), strict=True)
        sums = np.stack([served.views, served.prices, served.logs], axis=1).tolist()
        self._cells, self._views, self._served = dict(zip(keys, sums, strict=True)), int(state["seen"][0]), served


def viewed_prices_of(state: Mapping[str, NDArray[Any]]) -> ViewedPrices:
    """Return what a state serves.

    Parameters
    ----------
    state : mapping of str to array
        As of `ViewCounts.state`.

    Raises
    ------
    SnapshotMismatch
        If it does not fit.
    """
    check_names(state, {*_COLUMNS, "seen"})
    categories, brands = state["categories"], state["brands"]
    count = len(categories) if categories.ndim == 1 else 0
    if categories.dtype != np.uint32 or count > MAX_CELLS or brands.dtype != np.uint32 or brands.shape != (count,):
        raise SnapshotMismatch(f"categories and brands are of shapes {categories.shape} and {brands.shape}")
    cells = list(zip(categories.tolist(), brands.tolist(), strict=True))
    if any(one >= other for one, other in pairwise(cells)):
        raise SnapshotMismatch("categories and brands: they are not in order, or one comes twice")
    for name in ("views", "prices", "logs"):
        check_finite(state, name, (count,))
    check_no_less(state, ("views", "prices", "logs"))
    if (state["views"] == 0.0).any():
        raise SnapshotMismatch("views: of a category and brand there are none")
    return ViewedPrices(*(state[name] for name in _COLUMNS))

"""One row of features as the models take it: index and value of all that is not zero."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.coupons import Floats
from stream_coupons.core.features import DIMENSIONS, FeatureRows
from stream_coupons.models.encoding import encode
from stream_coupons.models.sigmoid import sigmoid


class Row:
    """Numbers and hashed places of one row. What is derived from them is derived once for all models.

    Parameters
    ----------
    numeric : list of float
        In order of `NUMERIC`.
    hashed : list of int
        Places with their groups; 0 is nothing, and a place hit twice counts twice.
    offset : float
        Log-odds that are known of the label without this model; 0 is none. A model that can learns only what they lack,
        and how far they hold.
    """

    def __init__(self, numeric: list[float], hashed: list[int], offset: float = 0.0) -> None:
        self.numeric = numeric
        self.places = [each % DIMENSIONS for each in hashed]
        self.hashed = hashed
        self.offset = offset

    @cached_property
    def features(self) -> dict[int, float]:
        """River's mapping from index to value."""
        return encode(self.numeric, self.places, self.offset)

    @cached_property
    def arrays(self) -> tuple[NDArray[np.int64], Floats]:
        """The same as arrays (indices, values), both of shape (m,); no index comes twice."""
        features = self.features
        indices = np.fromiter(features, np.int64, len(features))
        return indices, np.fromiter(features.values(), np.float64, len(features))

    @property
    def groups(self) -> dict[int, int]:
        """The group of each place."""
        return {each % DIMENSIONS: each // DIMENSIONS for each in self.hashed}


def each_row(rows: FeatureRows) -> Iterator[Row]:
    """The rows of a batch, one by one."""
    return (Row(numeric, hashed) for numeric, hashed in zip(rows.numeric.tolist(), rows.hashed.tolist(), strict=True))


def probabilities(log_odds: Callable[[Row], float], rows: FeatureRows) -> Floats:
    """What a model's log-odds of a row come to for each of a batch, shape (n,)."""
    return np.array([sigmoid(log_odds(row)) for row in each_row(rows)], np.float64)

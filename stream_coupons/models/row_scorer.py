"""Scorer of heads of which one at least is served by a model that does not compile to arrays: row by row.

Each head predicts as in the learner, from the same input. A row costs what its models cost, some ten to a hundred
times as much as the arrays of `linear`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import uses_of
from stream_coupons.core.errors import PluginError
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import FeatureRows, hashed_names
from stream_coupons.models.effect import probabilities
from stream_coupons.models.incremental import ShopModels, prior_shop_models
from stream_coupons.models.inputs import Row, input_of
from stream_coupons.models.linear import ALL_HEADS
from stream_coupons.models.model import Model
from stream_coupons.models.plugins import log_odds

log = logging.getLogger(__name__)

Served = Floats | Model
"""The weights of a head, shape (BIAS + 1,), or its model."""


def row_log_odds(served: Served, row: Row) -> float:
    """Return the log-odds of a head for a row.

    Parameters
    ----------
    served : array, shape (BIAS + 1,), or Model
        The head's weights, or its model.
    row : Row
        The input of the head's models.
    """
    if isinstance(served, np.ndarray):
        indices, values = row.arrays
        return float(np.add.reduce(values * served.take(indices)))
    return log_odds(served.probability(row))


class RowScorer:
    """An immutable snapshot of all heads; predicts row by row.

    Parameters
    ----------
    version : int
        Number of the snapshot.
    served : mapping
        Weights or model of each of `linear.ALL_HEADS`.
    shop : ShopModels, optional
        Models beside the heads; without them those before learning.
    """

    def __init__(self, version: int, served: Mapping[str, Served], shop: ShopModels | None = None) -> None:
        self.version = version
        self.viewed_prices, self.incremental = shop or prior_shop_models()
        self._served = dict(served)
        self._has_failed = False

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities, shape (n, 4), columns as in `LABELS`; NaN in a row for which a model fails."""
        return probabilities(self.log_odds(rows), uses_of(rows.numeric, self.incremental.uses_ratio))

    def log_odds(self, rows: FeatureRows) -> Floats:
        """Return the log-odds, shape (n, len(ALL_HEADS)); NaN in a row for which a model fails."""
        found: Floats = np.full((len(rows), len(ALL_HEADS)), np.nan)
        for index, (numeric, hashed) in enumerate(zip(rows.numeric, rows.hashed, strict=True)):
            row = Row(numeric, hashed)
            try:
                found[index] = [self._of_head(head, row) for head in ALL_HEADS]
            except PluginError as error:
                self._log(error)
        return found

    def _of_head(self, head: str, row: Row) -> float:
        return row_log_odds(self._served[head], input_of(head, row))

    def _log(self, error: PluginError) -> None:
        if not self._has_failed:
            log.error("version %d: %s; what it cannot score gets no coupon", self.version, error)
        self._has_failed = True

    def contributions(
        self, rows: FeatureRows, row: int, head: int, names: Sequence[str] = ()
    ) -> list[tuple[str, float, float]]:
        """Return (feature, value, addition to the log-odds) of one row, largest magnitude first, without zeros.

        The addition of a feature is the difference that its absence makes. So those of all features need not add up.
        """
        name, numeric, hashed = ALL_HEADS[head], rows.numeric[row], rows.hashed[row]
        columns = names or hashed_names()
        by_name: dict[str, list[int]] = {}
        for column in np.flatnonzero(hashed).tolist():
            by_name.setdefault(columns[column], []).append(column)
        try:
            whole = self._of_head(name, Row(numeric, hashed))
            said = [
                (NUMERIC[n], float(numeric[n]), whole - self._of_head(name, Row(_without(numeric, [n]), hashed)))
                for n in np.flatnonzero(numeric).tolist()
            ]
            said += [
                (each, 1.0, whole - self._of_head(name, Row(numeric, _without(hashed, absent))))
                for each, absent in by_name.items()
            ]
        except PluginError as error:
            self._log(error)
            return []
        return sorted((entry for entry in said if entry[2]), key=lambda entry: (-abs(entry[2]), entry[0]))


def _without(values: NDArray[Any], indices: list[int]) -> NDArray[Any]:
    others = values.copy()
    others[indices] = 0
    return others

"""Model input: one row of features as indices and values of its nonzero features."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.incremental import USES_RATIO
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS, MAX_PLACES, SCHEMA
from stream_coupons.core.reasons import Rejection
from stream_coupons.models.encoding import (
    Indices,
    encode,
    numbers_of_effect,
    places_of_effect,
    without_places_of_terms,
    without_terms,
)

MAX_NUMBER = 1000.0
"""Bound of a numeric feature. Features are within about [0, 3]; a larger one is forged and spoils weights."""


class Sample(NamedTuple):
    """An example among those that were left out, by a learner that is behind.

    Attributes
    ----------
    weight : int
        Number of examples that it stands for; 0 if it is left out.
    odds : float
        Factor on the odds of the label among the examples learnt, of which negatives are few.
    """

    weight: int
    odds: float

    def also_whole(self, share: float) -> "Sample":
        """Return the sample for another label, of whose negatives this share is learnt whole."""
        return Sample(self.weight, 1.0 / (share + (1.0 - share) / self.odds))


WHOLE = Sample(1, 1.0)
"""Sample of an example where all are learnt."""


class Row:
    """Numeric and hashed features of one row. Derived arrays are computed once for all models.

    Parameters
    ----------
    numeric : array or sequence of float
        Numeric features, in order of `NUMERIC`.
    hashed : array or sequence of int
        Bucket indices with their groups; 0 is none, and a repeated index counts twice.

    Attributes
    ----------
    anyway : float or None
        P(order without a coupon), if the label is a redemption and the model learns the coupon's effect. If it is an
        order and the model learns the orders after the visit: P(order within the visit).
    uses : float
        Share of the orders of `anyway` that show in the label.
    effect : float or None
        P(persuaded), if the label is a redemption and the model learns the orders after the visit.
    held : bool
        True if the label is an order within a visit in which the shopper held a coupon for it.
    visit : float
        P(order within the visit), where `effect` is given.
    doubt : float
        Variance of P(label) due to its other parts.
    sample : Sample
        What the row stands for where others like it were left out.
    """

    def __init__(
        self, numeric: Sequence[float] | Floats, hashed: Sequence[int] | NDArray[Any], sample: Sample = WHOLE
    ) -> None:
        self.numeric: Floats = np.asarray(numeric, np.float64)
        self.hashed: Indices = np.asarray(hashed, np.int64)
        self.anyway: float | None = None
        self.uses = USES_RATIO
        self.effect: float | None = None
        self.visit = 0.0
        self.doubt = 0.0
        self.held = False
        self.sample = sample

    @cached_property
    def places(self) -> Indices:
        """Bucket indices of the hashed features, without the groups."""
        return self.hashed % DIMENSIONS

    @cached_property
    def arrays(self) -> tuple[Indices, Floats]:
        """(indices, values) of the nonzero features, both of shape (m,): hashed ones first, and no index twice."""
        return encode(self.numeric, self.places, is_held=self.held)

    @property
    def groups(self) -> Indices:
        """Group of each of `places`."""
        return self.hashed // DIMENSIONS

    def without_terms(self) -> "Row":
        """Return the row without the coupon's terms: its identity and its discount."""
        return Row(without_terms(self.numeric), without_places_of_terms(self.hashed), self.sample)

    def of_effect(self) -> "Row":
        """Return the row of the features of a coupon's effect."""
        return Row(numbers_of_effect(self.numeric), places_of_effect(self.hashed), self.sample)


def input_of(head: str, row: Row) -> Row:
    """Return the input of a head's models, to learn from and to predict from.

    Parameters
    ----------
    head : str
        One of `linear.ALL_HEADS`.
    row : Row
        All features.
    """
    if head == "effect":
        return row.of_effect()
    if head in ("demand", "visit"):
        return row.without_terms()
    return row


def check_features(feature_schema: str, numeric: list[float], hashed: list[int]) -> None:
    """Refuse features of another feature space.

    Parameters
    ----------
    feature_schema : str
        Name of their feature space.
    numeric : list of float
        Numeric features in order of `NUMERIC`, each within `MAX_NUMBER`.
    hashed : list of int
        At most `MAX_PLACES` bucket indices with their groups.

    Raises
    ------
    BadMessage
        If they are of another release, or out of range.
    """
    if feature_schema != SCHEMA:
        found = feature_schema or "not known"
        raise BadMessage(Rejection.INVALID, f"feature_schema is {found}, expected {SCHEMA}: another release kept it")
    if len(numeric) != len(NUMERIC):
        raise BadMessage(Rejection.INVALID, f"{len(numeric)} numbers, expected {len(NUMERIC)}")
    if len(hashed) > MAX_PLACES:
        raise BadMessage(Rejection.INVALID, f"{len(hashed)} places, at most {MAX_PLACES}")
    if not all(map(MAX_NUMBER.__ge__, map(abs, numeric))):
        raise BadMessage(Rejection.INVALID, f"a number is not within {MAX_NUMBER}")
    if hashed and not 0 <= min(hashed) <= max(hashed) < DIMENSIONS * GROUPS:
        raise BadMessage(Rejection.INVALID, f"what is hashed is not within 0..{DIMENSIONS * GROUPS - 1}")

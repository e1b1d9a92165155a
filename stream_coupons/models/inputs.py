"""One row of features as the models take it: index and value of all that is not zero."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.stored_rows import unpack
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS, MAX_PLACES, SCHEMA
from stream_coupons.core.messages.learning import OpenDecision
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
"""Features are within about [0, 3]; anything beyond this is forged or broken, and would spoil the weights."""


class Row:
    """Numbers and hashed places of one row. What is derived from them is derived once for all models.

    Parameters
    ----------
    numeric : array or sequence of float
        In order of `NUMERIC`.
    hashed : array or sequence of int
        Places with their groups; 0 is nothing, and a place hit twice counts twice.
    offset : float
        Log-odds that are known of the label without this model; 0 is none. A model that can learns only what they lack,
        and how far they hold.

    Attributes
    ----------
    anyway : float or None
        P(order without a coupon), if the label is a redemption and the model is of the coupon's effect.
    effect : float or None
        P(persuaded), if the label is a redemption and the model is of the demand.
    doubt : float
        Variance of P(redeem) by what is not known of the other of its two parts.
    """

    def __init__(
        self, numeric: Sequence[float] | Floats, hashed: Sequence[int] | NDArray[Any], offset: float = 0.0
    ) -> None:
        self.numeric: Floats = np.asarray(numeric, np.float64)
        self.hashed: Indices = np.asarray(hashed, np.int64)
        self.offset = offset
        self.anyway: float | None = None
        self.effect: float | None = None
        self.doubt = 0.0

    @cached_property
    def places(self) -> Indices:
        """What is hashed without the groups."""
        return self.hashed % DIMENSIONS

    @cached_property
    def arrays(self) -> tuple[Indices, Floats]:
        """(indices, values) of what is not zero, both of shape (m,): places first, and no index twice."""
        return encode(self.numeric, self.places, self.offset)

    @property
    def groups(self) -> Indices:
        """The group of each of `places`."""
        return self.hashed // DIMENSIONS

    def without_terms(self) -> "Row":
        """Return the row without which coupon it is, and what that takes off."""
        return Row(without_terms(self.numeric), without_places_of_terms(self.hashed))

    def of_effect(self) -> "Row":
        """Return the row of what a coupon's effect may depend on."""
        return Row(numbers_of_effect(self.numeric), places_of_effect(self.hashed))


def check_features(feature_schema: str, numeric: list[float], hashed: list[int]) -> None:
    """Refuse features of another feature space.

    Parameters
    ----------
    feature_schema : str
        Name of the space that they are of.
    numeric : list of float
        In order of `NUMERIC`, each within `MAX_NUMBER`.
    hashed : list of int
        At most `MAX_PLACES`, each a place with its group.

    Raises
    ------
    BadMessage
        If another release made them, or they are out of range.
    """
    if feature_schema != SCHEMA:
        found = feature_schema or "not known"
        raise BadMessage(Rejection.INVALID, f"feature_schema is {found}, expected {SCHEMA}: another release kept it")
    if len(numeric) != len(NUMERIC):
        raise BadMessage(Rejection.INVALID, f"{len(numeric)} numbers, expected {len(NUMERIC)}")
    if len(hashed) > MAX_PLACES:
        raise BadMessage(Rejection.INVALID, f"{len(hashed)} places, at most {MAX_PLACES}")
    if not all(abs(value) <= MAX_NUMBER for value in numeric):
        raise BadMessage(Rejection.INVALID, f"a number is not within {MAX_NUMBER}")
    if not all(0 <= each < DIMENSIONS * GROUPS for each in hashed):
        raise BadMessage(Rejection.INVALID, f"what is hashed is not within 0..{DIMENSIONS * GROUPS - 1}")


def check_decision(decision: OpenDecision) -> None:
    """Refuse the features of an open decision that are not of this program's feature space.

    Raises
    ------
    BadMessage
    """
    try:
        rows = unpack(decision.numeric, decision.hashed)
    except ValueError as error:
        raise BadMessage(Rejection.INVALID, f"features are no numbers of 32 bits: {error}") from error
    check_features(decision.feature_schema, rows.numeric[0].tolist(), rows.hashed[0].tolist())

"""One row of features as the models take it: index and value of all that is not zero."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.models.encoding import Indices, encode


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

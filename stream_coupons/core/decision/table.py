"""The table of a decision: a row for each coupon that a shopper may get now, in columns of arrays.

`predict`, `value` and `charge` each return the table with more columns filled; `policy` chooses a row, and `commit`
issues its coupon. Many triggers of one domain are predicted and valued as one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision.scoring import HEADS, Scorer
from stream_coupons.core.decision.stored_row import StoredRow, packed_row, stored
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.reasons import NoCoupon, Shortage


@dataclass(frozen=True, slots=True)
class Trigger:
    """An event that may lead to a coupon; the shopper's state must not change until it is committed."""

    moment: Moment
    event: ShopEvent
    identity: str
    """Id of the issue, if there is one."""
    coupons: CouponSet
    eligible: Positions
    """Positions in `coupons`, ascending; at least one."""
    effects: Effects
    """Effects of the event so far."""
    refusal: NoCoupon | None = None
    """Reason why no coupon is given: the trigger is a control observation of the one eligible coupon."""

    @property
    def is_over(self) -> bool:
        """False: a state with a trigger is in use."""
        return False


SHORTAGES = "<U16"
"""Type of the column `shortage`."""


def _floats() -> Floats:
    return np.zeros(0)


def _flags() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class CandidateTable:
    """The candidates of some moments, n rows, ordered by moment and then by coupon.

    Columns have shape (n,) unless they say otherwise; those that no function has filled yet have no row.
    """

    moments: Sequence[Moment]
    coupons: CouponSet
    """Coupons of one domain."""
    owner: Positions
    """Index of each row's moment in `moments`."""
    position: Positions
    """Position of each row's coupon in `coupons`."""
    features: FeatureRows
    stated_minor: Floats
    """Value of an order in the coupon's scope by the catalogue's prices, minor units."""
    is_strange: NDArray[np.bool_]
    """True for a coupon outside the interests of a hardly known shopper."""
    scorer: Scorer | None = None
    """Model that predicted."""
    predicted: Floats = field(default_factory=_floats)
    """P(click), P(redeem), P(order) and, of learnt models, P(order within the visit): shape (n, 3) or (n, 4)."""
    order_minor: Floats = field(default_factory=_floats)
    """Expected value of an order in the coupon's scope, minor units."""
    discount_minor: Floats = field(default_factory=_floats)
    """E(discount | redeem), minor units."""
    value_minor: Floats = field(default_factory=_floats)
    """Value of giving the coupon over giving none, before the price of its budgets, minor units."""
    is_cut: NDArray[np.bool_] = field(default_factory=_flags)
    """True where the value is reduced, because the coupon is strange to the shopper."""
    price_minor: Floats = field(default_factory=_floats)
    """Price of the coupon's expected cost, by all budgets that it draws on, minor units."""
    held_minor: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Money that the coupon would hold in each of its budgets, minor units."""
    shortage: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, SHORTAGES))
    """The value of each row's `Shortage`; empty if the coupon can be given."""

    def __len__(self) -> int:
        return len(self.position)

    @property
    def net_minor(self) -> Floats:
        """Value less price, minor units."""
        return self.value_minor - self.price_minor

    @property
    def priority(self) -> Positions | None:
        """Priority of each coupon, shape (n,); None if all have the same."""
        return None if self.coupons.priority is None else self.coupons.priority[self.position]

    @property
    def is_available(self) -> NDArray[np.bool_]:
        """True where stock and money are left."""
        found: NDArray[np.bool_] = self.shortage == ""
        return found

    @property
    def is_finite(self) -> bool:
        """True if all numbers are finite: a row that is not is forged or broken, and no message can hold it."""
        return bool(np.isfinite(self.features.numeric).all() and np.isfinite(self.predicted).all())

    @property
    def model(self) -> Scorer:
        """The model that predicted.

        Raises
        ------
        ValueError
            If none did yet.
        """
        if self.scorer is None:
            raise ValueError("the table has no predictions yet: call predict")
        return self.scorer

    @property
    def model_version(self) -> int:
        """Version of the model that predicted."""
        return self.model.version

    def lacks(self, *shortages: Shortage) -> NDArray[np.bool_]:
        """Return the rows, as a mask, that have one of these shortages."""
        return np.isin(self.shortage, [shortage.value for shortage in shortages])

    def take(self, some: slice | NDArray[np.bool_]) -> "CandidateTable":
        """Return some of the rows."""
        filled = {name: column[some] for name in _COLUMNS if len(column := getattr(self, name))}
        rows = FeatureRows(self.features.numeric[some], self.features.hashed[some], self.features.subjects)
        return replace(self, features=rows, **filled)

    def of(self, moment: int) -> "CandidateTable":
        """Return the rows of one moment, by its index."""
        first, end = np.searchsorted(self.owner, (moment, moment + 1)).tolist()
        found = self.take(slice(first, end))
        rows = FeatureRows(found.features.numeric, found.features.hashed, self.features.subjects[moment : moment + 1])
        owner = np.zeros_like(found.owner)
        return replace(found, moments=self.moments[moment : moment + 1], owner=owner, features=rows)

    def coupon(self, row: int) -> Coupon:
        """Return the coupon of a row."""
        return self.coupons.coupons[int(self.position[row])]

    def listed(self) -> list[Coupon]:
        """Return the coupon of every row."""
        return [self.coupons.coupons[position] for position in self.position.tolist()]

    def stored(self, row: int) -> StoredRow:
        """Return a row as it is stored with an issue or a control."""
        return *packed_row(self.features, row), stored(self.predicted[row, : len(HEADS)].tolist())


_COLUMNS = (
    "owner",
    "position",
    "stated_minor",
    "is_strange",
    "predicted",
    "order_minor",
    "discount_minor",
    "value_minor",
    "is_cut",
    "price_minor",
    "held_minor",
    "shortage",
)

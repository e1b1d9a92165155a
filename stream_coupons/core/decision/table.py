"""The table of a decision: a row for each coupon that a shopper may get now, in columns of arrays.

`predict`, `value` and `charge` each return the table with more columns filled; `policy` chooses a row, and `commit`
issues its coupon. Many triggers of one domain are predicted and valued as one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision.policy_plugin import Offer
from stream_coupons.core.decision.scoring import HEADS, UNPREDICTED, Knowledge, Scorer
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import NoCoupon, Shortage
from stream_coupons.core.shopper.state import Predicted

INDEX_BYTES = 4

StoredRow = tuple[bytes, bytes, Predicted]
"""Numeric features, hashed features and probabilities."""


def stored_row(rows: FeatureRows, row: int, predicted: Floats) -> StoredRow:
    """Return a row as it is stored with an issue or a control, until its labels come.

    Parameters
    ----------
    rows : FeatureRows
        Rows of a batch.
    row : int
        Index among them.
    predicted : array, shape (3,) or (4,)
        Its probabilities.

    Returns
    -------
    numeric, hashed, predicted : bytes, bytes and tuple of float
        Little-endian floats and integers of 32 bits; hashed columns at the end that only other rows need are left out.
        P(click), P(redeem) and P(order).
    """
    hashed = rows.hashed[row].astype("<u4").tobytes()
    used = len(hashed.rstrip(b"\0"))
    return rows.numeric[row].astype("<f4").tobytes(), hashed[: used + -used % INDEX_BYTES], stored(predicted.tolist())


def unpack(numeric: bytes, hashed: bytes) -> FeatureRows:
    """Return the one row that `stored_row` made bytes of.

    Parameters
    ----------
    numeric, hashed : bytes
        Little-endian floats and integers of 32 bits.
    """
    numbers = np.round(np.frombuffer(numeric, "<f4").astype(float), 4)
    return FeatureRows(numbers[None, :], np.frombuffer(hashed, "<u4").astype(np.uint32)[None, :])


def stored(predicted: Sequence[float]) -> Predicted:
    """Return P(click), P(redeem) and P(order) as they are stored."""
    click, redeem, order, *_ = predicted
    return round(click, 6), round(redeem, 6), round(order, 6)


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
    shadow: "Trigger | None" = None
    """The same trigger with the coupons of staged campaigns; None if the shopper may get none of them."""


SHORTAGES = "<U16"
"""Type of the column `shortage`."""


_FLOATS, _FLAGS, _COUNTS, _SHORTAGES = np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64), np.zeros(0, SHORTAGES)
"""Columns that are not filled."""


@dataclass(eq=False)
class CandidateTable:
    """The candidates of some moments, n rows, ordered by moment and then by coupon. Never changed: see `filled`.

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
    scorer: Scorer = UNPREDICTED
    """Model that predicted."""
    predicted: Floats = field(default_factory=lambda: _FLOATS)
    """P(click), P(redeem), P(order) and, of learnt models, P(order within the visit): shape (n, 3) or (n, 4); of those
    who get the coupon, once `value` is filled."""
    of_model: Floats = field(default_factory=lambda: _FLOATS)
    """The same for anybody, by the models alone."""
    order_minor: Floats = field(default_factory=lambda: _FLOATS)
    """Expected value of an order in the coupon's scope, minor units."""
    discount_minor: Floats = field(default_factory=lambda: _FLOATS)
    """E(discount | redeem), minor units."""
    value_minor: Floats = field(default_factory=lambda: _FLOATS)
    """Value of giving the coupon over giving none, before the price of its budgets, minor units."""
    spread_minor: Floats = field(default_factory=lambda: _FLOATS)
    """Standard deviation of the value by what is not known of the coupon yet, minor units."""
    value_ratio: float = 1.0
    """Correction of all values by the measured lift: see `LiftBrake`."""
    is_cut: NDArray[np.bool_] = field(default_factory=lambda: _FLAGS)
    """True where the value is reduced, because the coupon is strange to the shopper."""
    price_minor: Floats = field(default_factory=lambda: _FLOATS)
    """Price of the coupon's expected cost, by all budgets that it draws on, minor units."""
    held_minor: NDArray[np.int64] = field(default_factory=lambda: _COUNTS)
    """Money that the coupon would hold in each of its budgets, minor units."""
    shortage: NDArray[np.str_] = field(default_factory=lambda: _SHORTAGES)
    """The value of each row's `Shortage`; empty if the coupon can be given."""
    shadow: "CandidateTable | None" = None
    """Candidates of staged campaigns: predicted and valued, but never chosen."""

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

    def lacks(self, *shortages: Shortage) -> NDArray[np.bool_]:
        """Return the rows, as a mask, that have one of these shortages."""
        first, *others = shortages
        found: NDArray[np.bool_] = self.shortage == first.value
        for each in others:
            found |= self.shortage == each.value
        return found

    def take(self, some: slice | NDArray[np.bool_]) -> "CandidateTable":
        """Return some of the rows."""
        filled = {name: column[some] for name in _COLUMNS if len(column := getattr(self, name))}
        rows = FeatureRows(self.features.numeric[some], self.features.hashed[some], self.features.subjects)
        return self.filled(features=rows, **filled)

    def filled(self, **columns: Any) -> "CandidateTable":
        """Return the table with some columns filled, or replaced."""
        found = object.__new__(CandidateTable)  # `replace` would look at every field, several times a decision
        found.__dict__.update(self.__dict__, **columns)
        return found

    def of(self, moment: int) -> "CandidateTable":
        """Return the rows of one moment, by its index."""
        if len(self.moments) == 1:
            return self
        first, end = np.searchsorted(self.owner, (moment, moment + 1)).tolist()
        found = self.take(slice(first, end))
        rows = FeatureRows(found.features.numeric, found.features.hashed, self.features.subjects[moment : moment + 1])
        owner = np.zeros_like(found.owner)
        return found.filled(moments=self.moments[moment : moment + 1], owner=owner, features=rows)

    def coupon(self, row: int) -> Coupon:
        """Return the coupon of a row."""
        return self.coupons.coupons[int(self.position[row])]

    def listed(self) -> list[Coupon]:
        """Return the coupon of every row."""
        return [self.coupons.coupons[position] for position in self.position.tolist()]


_COLUMNS = (
    "owner",
    "position",
    "stated_minor",
    "is_strange",
    "predicted",
    "of_model",
    "order_minor",
    "discount_minor",
    "value_minor",
    "spread_minor",
    "is_cut",
    "price_minor",
    "held_minor",
    "shortage",
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A trigger, its candidates, the purses of its partition, and rules, catalogue and models."""

    trigger: Trigger
    table: CandidateTable
    wallet: Wallet
    known: Knowledge

    def among(self, table: CandidateTable, kept: NDArray[np.bool_]) -> "Decision":
        """Return the decision among some rows of a table.

        Parameters
        ----------
        table : CandidateTable
            The trigger's candidates.
        kept : array of bool, shape (n,)
            True for the rows to choose among.
        """
        return replace(self, table=table if kept.all() else table.take(kept))

    def offer(self) -> Offer:
        """Return what a policy from another package decides by; the table has prices."""
        table, moment = self.table, self.trigger.moment
        return Offer(
            user_id=moment.user_id,
            domain=self.trigger.event.domain,
            at=moment.at,
            coupon_ids=[coupon.coupon_id for coupon in table.listed()],
            predicted=table.predicted[:, : len(HEADS)],
            values_minor=table.value_minor,
            prices_minor=table.price_minor,
            rules=self.known.rules.policy,
        )

"""Exact sums of products of the shoppers of one partition and domain, by fold and arm, for `lift.contrast`.

All numbers are integers of fixed units, so a sum does not depend on the order of its changes: a replay whose batches
are cut otherwise ends with the same bytes.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.measurement.lift import FOLDS
from stream_coupons.core.measurement.totals import PartitionTotal

Floats = NDArray[np.float64]
Row = tuple[int, ...]
"""1, covariates and outcomes of a shopper, each in its unit: see `UNITS`."""

UNITS = (1.0, 1 / 86400, 0.01, 0.01, 1e-4, 0.01 / 86400, 1e-4 / 86400, 0.01, 1.0)
"""Units of a row: 1, enrolment in days, best value at the first decision in minor units, margin and orders a day before
it, enrolment times each of these, margin and orders since."""
START, BEST, MARGIN_RATE, ORDER_RATE, MARGIN, ORDERS = 1, 2, 3, 4, 7, 8
COVARIATES = list(range(1, MARGIN))
WIDTH = len(UNITS)
PAIRS = list(combinations_with_replacement(range(WIDTH), 2))
ALL_SUMS = [(place, i, j) for place, (i, j) in enumerate(PAIRS)]
OUTCOME_SUMS = [each for each in ALL_SUMS if each[2] >= MARGIN]
"""Places and factors of the sums, and of those that an outcome is a factor of."""
CELLS = 2 * FOLDS
"""Cells of a domain: fold 0 of the treated, of those without coupons, fold 1 of the treated, and so on."""
INT_BYTES = 16
NO_SUMS = bytes(INT_BYTES * len(PAIRS))
LEAST_SPREAD = 1e-12
"""Least variance of the enrolment, relative to its mean square. Below, its deviation is rounding error."""
THOUSANDTHS = 1000.0
"""Units of a predicted value in one minor unit."""
PREFIX, CAMPAIGN_PREFIX = "lift:", "campaign-lift:"
"""Prefixes of the keys of sums of domains and of campaigns, as in `totals.PREFIXES`."""


class LiftChange(NamedTuple):
    """A change of what one shopper adds to the sums.

    Attributes
    ----------
    domain : str
        Domain of the shopper's first decision.
    period : int
        Period of measurement that the shopper is followed in.
    cell : int
        Fold and arm: twice the fold, plus 1 for a shopper without coupons.
    before, after : tuple of int or None
        Rows; before is None of a shopper who is followed from now on.
    predicted, closed : int
        Predicted value of coupons given, and of coupons whose window has closed, in thousandths of a minor unit.
    campaign_id : str
        The campaign whose lift is measured; empty for the whole domain.
    """

    domain: str
    period: int
    cell: int
    before: Row | None
    after: Row
    predicted: int = 0
    closed: int = 0
    campaign_id: str = ""

    @property
    def key(self) -> str:
        """Key of the sums of the series."""
        if not self.campaign_id:
            return PREFIX + self.domain
        return f"{CAMPAIGN_PREFIX}{len(self.campaign_id)}:{self.campaign_id}{self.domain}"

    def opening(self) -> "LiftSums":
        """Return the sums of nobody."""
        return LiftSums(domain=self.domain, campaign_id=self.campaign_id)


class LiftSums(PartitionTotal, array_like=True, tag="lift"):
    """Sums of one series in one partition; `version` counts the changes in this period.

    Attributes
    ----------
    domain, campaign_id : str
        The series, as in `LiftChange`.
    cells : tuple of bytes
        By fold and arm, the sums of the products of `PAIRS`.
    buyers : int
        Shoppers with an order since.
    """

    domain: str = ""
    campaign_id: str = ""
    period: int = 0
    cells: tuple[bytes, ...] = (NO_SUMS,) * CELLS
    buyers: int = 0
    predicted: int = 0
    closed: int = 0

    def add(self, change: LiftChange) -> None:
        """Add a change; the first one of a later period begins the sums anew, and those of earlier periods are over."""
        if change.period < self.period or (change.period > self.period and change.before is not None):
            return
        if change.period > self.period:
            self.period, self.version, self.cells = change.period, 0, (NO_SUMS,) * CELLS
            self.buyers = self.predicted = self.closed = 0
            self.told = 0
        self.version += 1
        cells = [*self.cells]
        cells[change.cell] = _added(cells[change.cell], change.before, change.after)
        self.cells = tuple(cells)
        self.buyers += change.after[ORDERS] > 0 and (change.before is None or change.before[ORDERS] == 0)
        self.predicted += change.predicted
        self.closed += change.closed

    def products(self) -> list[float]:
        """Return the sums in the units of their factors, cell after cell, each in the order of `PAIRS`."""
        scales = [UNITS[i] * UNITS[j] for i, j in PAIRS]
        numbers = (number for cell in self.cells for number in unpack_cell(cell))
        return [number * scales[place % len(PAIRS)] for place, number in enumerate(numbers)]


def matrices(products: Floats) -> Floats:
    """Return sums of `LiftSums.products` as symmetric matrices, as of `centred`.

    Parameters
    ----------
    products : array, shape (FOLDS * 2 * len(PAIRS),)
        Sums over all partitions.

    Returns
    -------
    array, shape (FOLDS, 2, WIDTH, WIDTH)
        Sums for `lift.contrast`, with both outcomes as last columns.
    """
    found = np.zeros((FOLDS, 2, WIDTH, WIDTH))
    rows, columns = np.array(PAIRS).T
    found[..., rows, columns] = found[..., columns, rows] = products.reshape(FOLDS, 2, len(PAIRS))
    return centred(found)


def centred(sums: Floats) -> Floats:
    """Return sums of products with enrolment relative to its mean; without its columns if that hardly varies.

    Parameters
    ----------
    sums : array, shape (..., FOLDS, 2, w, w)
        Sums by fold and arm at each of some looks, in columns as of `UNITS`; more outcomes may follow.
    """
    total = sums.sum(axis=(-4, -3), keepdims=True)
    centre = total[..., 0, START] / np.maximum(total[..., 0, 0], 1.0)
    moved = np.broadcast_to(np.eye(sums.shape[-1]), total.shape).copy()
    moved[..., START, 0] = moved[..., 5, MARGIN_RATE] = moved[..., 6, ORDER_RATE] = -centre
    found = moved @ sums @ moved.swapaxes(-1, -2)
    spread = found[..., START, START].sum(axis=(-2, -1), keepdims=True)
    kept = np.ones(total.shape[:-1])
    kept[..., [START, 5, 6]] = (spread >= LEAST_SPREAD * total[..., START, START])[..., None]
    return found * kept[..., :, None] * kept[..., None, :]


def _added(cell: bytes, before: Row | None, after: Row) -> bytes:
    """Return the sums of a cell after a change. Covariates of a row that was counted before never change."""
    if before == after:
        return cell
    sums = bytearray(cell)
    for place, i, j in ALL_SUMS if before is None else OUTCOME_SUMS:
        change = after[i] * after[j] - (0 if before is None else before[i] * before[j])
        one = slice(place * INT_BYTES, (place + 1) * INT_BYTES)
        total = int.from_bytes(sums[one], "little", signed=True) + change
        sums[one] = total.to_bytes(INT_BYTES, "little", signed=True)
    return bytes(sums)


def unpack_cell(cell: bytes) -> list[int]:
    """Return the sums of a cell, in the order of `PAIRS`."""
    places = range(0, len(cell), INT_BYTES)
    return [int.from_bytes(cell[place : place + INT_BYTES], "little", signed=True) for place in places]

"""Rows of features and predictions as they are stored with a decision, until its labels come."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.shopper.state import Predicted

INDEX_BYTES = 4


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows of features as they are stored, in 32 bits."""

    numeric: NDArray[np.float32]
    hashed: NDArray[np.uint32]

    def row(self, row: int) -> tuple[bytes, bytes]:
        """Return a row as little-endian bytes; hashed columns at its end that only other rows need are left out."""
        hashed = self.hashed[row].tobytes()
        used = len(hashed.rstrip(b"\0"))
        return self.numeric[row].tobytes(), hashed[: used + -used % INDEX_BYTES]


def pack(rows: FeatureRows) -> PackedRows:
    """Return rows in 32 bits, as they are stored."""
    return PackedRows(rows.numeric.astype("<f4"), rows.hashed.astype("<u4"))


def stored(predicted: Sequence[float]) -> Predicted:
    """P(click), P(redeem) and P(order) as they are kept."""
    click, redeem, order = predicted
    return round(click, 6), round(redeem, 6), round(order, 6)


def unpack(numeric: bytes, hashed: bytes) -> FeatureRows:
    """Return the one row that `PackedRows.row` made bytes of.

    Parameters
    ----------
    numeric, hashed : bytes
        Little-endian floats and integers of 32 bits.
    """
    numbers = np.round(np.frombuffer(numeric, "<f4").astype(float), 4)
    return FeatureRows(numbers[None, :], np.frombuffer(hashed, "<u4").astype(np.uint32)[None, :])

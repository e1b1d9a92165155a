"""A row of features as it is stored with an issue or a control, until its labels come."""

from collections.abc import Sequence

import numpy as np

from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.shopper.watched import Predicted

INDEX_BYTES = 4

StoredRow = tuple[bytes, bytes, Predicted]
"""Numeric features, hashed features and probabilities."""


def packed_row(rows: FeatureRows, row: int) -> tuple[bytes, bytes]:
    """Return the numeric and the hashed features of a row as they are stored with a decision, until its labels come.

    Parameters
    ----------
    rows : FeatureRows
        Rows of a batch.
    row : int
        Index among them.

    Returns
    -------
    numeric, hashed : bytes
        Little-endian floats and integers of 32 bits; hashed columns at the end that only other rows need are left out.
    """
    hashed = rows.hashed[row].astype("<u4").tobytes()
    used = len(hashed.rstrip(b"\0"))
    return rows.numeric[row].astype("<f4").tobytes(), hashed[: used + -used % INDEX_BYTES]


def unpack(numeric: bytes, hashed: bytes) -> FeatureRows:
    """Return the one row that `packed_row` made bytes of.

    Parameters
    ----------
    numeric, hashed : bytes
        Little-endian floats and integers of 32 bits.
    """
    numbers = np.round(np.frombuffer(numeric, "<f4").astype(float), 4)
    return FeatureRows(numbers[None, :], np.frombuffer(hashed, "<u4").astype(np.uint32)[None, :])


def stored(predicted: Sequence[float]) -> Predicted:
    """Return P(click), P(redeem) and P(order) as they are stored."""
    click, redeem, order = predicted
    return round(click, 6), round(redeem, 6), round(order, 6)

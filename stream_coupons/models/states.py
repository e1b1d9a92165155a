"""States of models as named arrays, and the checks before one is believed."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.messages.learning import Array
from stream_coupons.models.encoding import BIAS

State = dict[str, NDArray[Any]]
"""Named arrays of float64, float32, uint32 or int64."""
DTYPES = get_args(Array.__annotations__["dtype"])
"""Types of the arrays of a state, as a snapshot names them."""
PICKLE = "pickle"
"""Name of the array, of a state, that is a pickle."""


LARGEST = 1e12
"""No weight or sum of ours comes near; squares of what is larger leave single precision, and soon double."""


def check_names(state: Mapping[str, NDArray[Any]], expected: set[str]) -> None:
    """Refuse a state that lacks arrays or has others.

    Parameters
    ----------
    state : mapping of str to array
        The state.
    expected : set of str
        Names of its arrays.

    Raises
    ------
    SnapshotMismatch
        If the names differ.
    """
    if set(state) != expected:
        raise SnapshotMismatch(f"arrays are {sorted(state)}, expected {sorted(expected)}")


def check_finite(state: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> None:
    """Refuse an array of another type or shape, or one that holds no number or one beyond `LARGEST`.

    Parameters
    ----------
    state : mapping of str to array
        The state, which has the array.
    name : str
        Name of the array.
    shape : tuple of int
        Its expected shape.
    dtype : type
        Its expected type, of numpy.

    Raises
    ------
    SnapshotMismatch
        If the array is not as expected.
    """
    values = state[name]
    if values.dtype != dtype or values.shape != shape or not ((values >= -LARGEST) & (values <= LARGEST)).all():
        raise SnapshotMismatch(
            f"{name} is {values.dtype} of shape {values.shape}: expected {shape}, all within {LARGEST:g}"
        )


def check_no_less(state: Mapping[str, NDArray[Any]], names: Iterable[str], least: float = 0.0) -> None:
    """Refuse counts and sums of squares below the least that they can be.

    Parameters
    ----------
    state : mapping of str to array
        The state, which has the arrays.
    names : iterable of str
        Names of the arrays.
    least : float
        Least value of their entries.

    Raises
    ------
    SnapshotMismatch
        If an entry is below it.
    """
    for name in names:
        if (state[name] < least).any():
            raise SnapshotMismatch(f"{name} goes down to {state[name].min()}: expected at least {least}")


def check_places(state: Mapping[str, NDArray[Any]], last: int = BIAS) -> NDArray[np.uint32]:
    """Return the `places` of a state: uint32 of shape (n,), ascending.

    Parameters
    ----------
    state : mapping of str to array
        The state, which has `places`.
    last : int
        Highest index of a place.

    Raises
    ------
    SnapshotMismatch
        If they have another type or shape, do not ascend or go beyond `last`.
    """
    places = state["places"]
    if places.dtype != np.uint32 or places.ndim != 1:
        raise SnapshotMismatch(f"places are {places.dtype} of shape {places.shape}: expected uint32 in one row")
    if (np.diff(places.astype(np.int64)) <= 0).any() or (places.size and int(places[-1]) > last):
        raise SnapshotMismatch(f"places do not ascend within 0..{last}")
    return places


def check_linear(state: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a linear model's state that is not `places` in range and columns of one finite number a place.

    Parameters
    ----------
    state : mapping of str to array
        The state.

    Raises
    ------
    SnapshotMismatch
        If it is not so.
    """
    if not {"places", "weights"} <= set(state):
        raise SnapshotMismatch(f"arrays are {sorted(state)}: expected places and weights among them")
    places = check_places(state, BIAS)
    for name in set(state) - {"places"}:
        check_finite(state, name, places.shape)

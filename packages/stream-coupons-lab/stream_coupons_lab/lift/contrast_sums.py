"""Sums of products of a log's shoppers, for the contrast of their arms."""

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.measurement.lift import FOLDS

Floats = NDArray[np.float64]


def sums(
    covariates: Floats, outcome: Floats, is_holdout: NDArray[np.bool_], folds: NDArray[np.intp] | None = None
) -> Floats:
    """Return the sums of products by fold and arm.

    Parameters
    ----------
    covariates : array, shape (n, k)
        What was known of each shopper at enrolment.
    outcome : array, shape (n,)
        What each shopper brought since enrolment.
    is_holdout : array of bool, shape (n,)
        Arm of each shopper.
    folds : array of int, shape (n,), optional
        Fold of each shopper; by default the row's number modulo `FOLDS`.

    Returns
    -------
    array, shape (FOLDS, 2, k + 2, k + 2)
        Sums; the second arm is the holdout.
    """
    rows = np.column_stack([np.ones(len(outcome)), covariates, outcome])
    found = np.zeros((FOLDS, 2, rows.shape[1], rows.shape[1]))
    of_rows = np.arange(len(rows)) % FOLDS if folds is None else folds
    for fold in range(FOLDS):
        for arm in (0, 1):
            some = rows[(of_rows == fold) & (is_holdout == arm)]
            found[fold, arm] = some.T @ some
    return found

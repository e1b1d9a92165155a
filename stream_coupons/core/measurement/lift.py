r"""Difference of two arms' means, adjusted for what was known before, with an interval that is valid at every look.

**The unit** is a shopper, the outcome the sum of what the shopper brought since enrolment. Shoppers keep coming back,
so the outcome of a unit grows from look to look, and new units enrol. Enrolment does not depend on the arm.

**Adjustment** is AIPW with a known propensity and one linear model for both arms, cross-fitted [1]_: the prediction for
a shopper is fitted to the shoppers of the other folds, so it never uses the shopper's own outcome. It removes variance
and adds no bias, however wrong the model is. It needs sums of products alone, which add up over events, partitions and
days.

**The interval** is the estimate plus and minus :math:`z(t)` standard errors, with
:math:`z(t)^2 = a^2 + \log(t / t_0)`. A Brownian motion leaves this boundary after :math:`t_0` with probability
:math:`2 (1 - \Phi(a) + a \phi(a))` [2]_, which is set to 5 %. So the interval holds the effect at all looks together.
By the central limit theorem the error at a look is almost normal [3]_. Errors at two looks are at least as correlated
as those of a Brownian motion in the time :math:`t`, the number of orders: what a shopper brought before stays in the
sum, and who ordered much goes on to. More correlation means fewer crossings (Slepian's lemma).

Before the first look there is no interval: the central limit theorem states nothing about few shoppers.

References
----------
.. [1] Chernozhukov et al. (2018). Double/debiased machine learning for treatment and structural parameters.
       Econometrics Journal 21(1).
.. [2] Robbins, H. and Siegmund, D. (1970). Boundary crossing probabilities for the Wiener process and sample sums.
       Annals of Mathematical Statistics 41(5).
.. [3] Waudby-Smith et al. (2021). Time-uniform central limit theory and asymptotic confidence sequences.
       arXiv 2103.06476.
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
FOLDS = 4
RIDGE = 10.0
"""Penalty of the slopes, as a number of shoppers."""
FIRST_LOOK = 20.0
"""Shoppers with an order that the smaller arm must be expected to have before there is an interval."""
MAX_START = 8.0
"""Upper bound of the search for a boundary's start: its crossing probability is below 1e-13."""


class Contrast(NamedTuple):
    """Difference of the means of two arms, each field an array with one entry a look.

    Attributes
    ----------
    value : array
        Mean of the treated less mean of the holdout.
    error : array
        Standard error; infinite where an arm has no two shoppers.
    """

    value: Floats
    error: Floats


def sums(
    covariates: Floats, outcome: Floats, is_holdout: NDArray[np.bool_], folds: NDArray[np.intp] | None = None
) -> Floats:
    """Return the sums of products by fold and arm.

    Parameters
    ----------
    covariates : array, shape (n, k)
        What was known of each shopper at enrolment.
    outcome : array, shape (n,) or (n, m)
        What each shopper brought since enrolment; several outcomes are the last columns.
    is_holdout : array of bool, shape (n,)
        Arm of each shopper.
    folds : array of int, shape (n,), optional
        Fold of each shopper; by default the row's number modulo `FOLDS`.

    Returns
    -------
    array, shape (FOLDS, 2, 1 + k + m, 1 + k + m)
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


def contrast(of_arms: Floats) -> Contrast:
    """Return the adjusted difference of the arms' means at each of some looks.

    The variance of an arm counts as at least that of both: that of a small holdout is too small just when its mean is.

    Parameters
    ----------
    of_arms : array, shape (..., FOLDS, 2, k + 2, k + 2)
        Sums of products by fold and arm, as of `sums`; without covariates k is 0, and nothing is adjusted.

    Examples
    --------
    >>> outcome, is_holdout = np.array([5.0, 7.0, 1.0, 3.0] * 4), np.array([False, False, True, True] * 4)
    >>> found = contrast(sums(np.zeros((16, 0)), outcome, is_holdout))
    >>> float(found.value), round(float(found.error), 3)
    (4.0, 0.535)
    """
    slopes, centre = _slopes(of_arms), _centre(of_arms)
    n, total, squares = _residuals(of_arms, slopes, centre)
    safe = np.maximum(n, 1.0)
    spread = np.maximum(squares - total**2 / safe, 0.0)
    own = spread / np.maximum(n - 1.0, 1.0)
    both = spread.sum(axis=-1, keepdims=True) / np.maximum(n.sum(axis=-1, keepdims=True) - 2.0, 1.0)
    means = total / safe
    error = np.sqrt((np.maximum(own, both) / safe).sum(axis=-1))
    return Contrast(means[..., 0] - means[..., 1], np.where((n < 2.0).any(axis=-1), math.inf, error))


def _centre(of_arms: Floats) -> Floats:
    """Return the mean of the covariates of all shoppers, shape (..., k)."""
    all_of_it = of_arms.sum(axis=(-4, -3))
    mean: Floats = all_of_it[..., 0, 1:-1] / np.maximum(all_of_it[..., 0, :1], 1.0)
    return mean


def _slopes(of_arms: Floats) -> Floats:
    """Return the slopes for the shoppers of each fold, fitted to those of the others, shape (..., FOLDS, k).

    Products are centred within the arms, so that an effect does not enter the slopes.
    """
    others = of_arms.sum(axis=-4, keepdims=True) - of_arms
    n = np.maximum(others[..., 0, 0], 1.0)
    means = others[..., 0, 1:] / n[..., None]
    within = others[..., 1:, 1:] - n[..., None, None] * means[..., :, None] * means[..., None, :]
    within = within.sum(axis=-3)
    gram, cross = within[..., :-1, :-1], within[..., :-1, -1]
    diagonal = np.einsum("...ii->...i", gram)
    penalty = RIDGE * diagonal / n.sum(axis=-1)[..., None]
    scale = np.sqrt(np.where(diagonal > 0.0, diagonal + penalty, 1.0))
    gram = gram / (scale[..., :, None] * scale[..., None, :])
    k = gram.shape[-1]
    gram[..., range(k), range(k)] = 1.0
    found: Floats = np.linalg.solve(gram, (cross / scale)[..., None])[..., 0] / scale
    return found


def _residuals(of_arms: Floats, slopes: Floats, centre: Floats) -> tuple[Floats, Floats, Floats]:
    """Return number, sum and sum of squares of the residuals by arm, each of shape (..., 2)."""
    k = slopes.shape[-1]
    weights = np.empty((*slopes.shape[:-1], k + 2))
    weights[..., 0] = (slopes * centre[..., None, :]).sum(axis=-1)
    weights[..., 1:-1] = -slopes
    weights[..., -1] = 1.0
    linear = np.einsum("...faij,...fj->...fai", of_arms, weights)
    squares = np.einsum("...fai,...fi->...fa", linear, weights)
    return of_arms[..., 0, 0].sum(axis=-2), linear[..., 0].sum(axis=-2), squares.sum(axis=-2)


def critical_value(clock: Floats, buyers: Floats) -> Floats:
    """Return the number of standard errors that an interval extends to each side; infinite before the first look.

    Parameters
    ----------
    clock : array
        Orders so far that the smaller arm was expected to have: orders of both times its share of the shoppers.
    buyers : array
        Shoppers with an order that the smaller arm was expected to have.

    Examples
    --------
    >>> critical_value(np.array([20.0, 2000.0]), np.array([19.0, 1000.0])).round(2).tolist()
    [inf, 3.52]
    """
    start = boundary_start(1.0 - CONFIDENCE)
    grown = np.log(np.maximum(clock / FIRST_LOOK, 1.0))
    return np.where(buyers >= FIRST_LOOK, np.sqrt(start**2 + grown), math.inf)


@lru_cache
def boundary_start(alpha: float) -> float:
    """Return a with 2 (1 - Phi(a) + a phi(a)) = alpha, by bisection.

    Parameters
    ----------
    alpha : float
        Probability that the boundary is ever crossed, (0, 1).

    Examples
    --------
    >>> round(boundary_start(0.05), 3)
    2.795
    """
    normal = NormalDist()
    low, high = 0.0, MAX_START
    while high - low > 1e-12:
        middle = (low + high) / 2
        crossing = 2.0 * (1.0 - normal.cdf(middle) + middle * normal.pdf(middle))
        low, high = (middle, high) if crossing > alpha else (low, middle)
    return (low + high) / 2

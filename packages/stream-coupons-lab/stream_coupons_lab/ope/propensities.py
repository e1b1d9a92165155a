"""Propensities of a logging policy that did not state them.

References
----------
.. [1] Hirano, K., Imbens, G., and Ridder, G. (2003). Efficient estimation of average treatment effects using the
       estimated propensity score. Econometrica 71(4).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

MIN_BLOCK_ROWS = 500
ROWS_PER_ARM = 50
"""Decisions for each arm in a block of time over which its frequency is taken."""


def frequencies(at: Floats, chosen: Rows, offered: Rows) -> Floats:
    """Propensities of a logging policy that states none: how often it chose each arm of those that it could, by time.

    Decisions are cut by time into blocks of equal size, large enough for every arm. Within a block an arm's rate is
    how often it was chosen per time that it could be; a decision's propensities are the rates of its arms, divided by
    their sum. That is right for a logging policy that looks at nothing but the time, and wrong for one that looks at
    the shopper: then **every estimate is biased**, however narrow its interval. Estimated propensities of a policy
    that is indeed random lower the variance against the true ones [1]_.

    Parameters
    ----------
    at : array, shape (n,)
        When each decision was made.
    chosen : array of int, shape (n,)
        Column of the arm chosen.
    offered : array of int, shape (n, a)
        Which arm each column of a decision is; -1 for none.

    Returns
    -------
    array, shape (n, a)
        Propensity of every arm; 0 for those that were never chosen within the block.
    """
    n, arms = len(chosen), int(offered.max()) + 1
    order = np.argsort(at, kind="stable")
    size = max(MIN_BLOCK_ROWS, ROWS_PER_ARM * arms)
    propensities = np.zeros(offered.shape)
    for rows in np.array_split(order, max(1, n // size)):
        columns = offered[rows]
        is_offered = columns >= 0
        times_offered = np.bincount(columns[is_offered], minlength=arms)
        times_chosen = np.bincount(columns[np.arange(len(rows)), chosen[rows]], minlength=arms)
        rates = times_chosen / np.maximum(times_offered, 1)
        of_row = np.where(is_offered, rates[columns], 0.0)
        propensities[rows] = of_row / of_row.sum(axis=1, keepdims=True)
    return propensities

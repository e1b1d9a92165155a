r"""Check that the holdout has the share of the shoppers that it should have, valid at every look.

The ratio of two likelihoods, of the counts with the share drawn from a beta distribution around the expected one, and
with the expected share itself, is a martingale if shoppers are assigned by it: it ever exceeds
:math:`1 / \alpha` with probability :math:`\alpha` at most [1]_.

References
----------
.. [1] Lindon, M. and Malek, A. (2022). Anytime-valid inference for multinomial count data. NeurIPS 35.
"""

import math

CONCENTRATION = 100.0
"""Shoppers that the beta distribution around the expected share is worth."""
MISMATCH_ALPHA = 0.01
"""Probability that a correct assignment is ever called a mismatch."""


def log_evidence(holdout: int, treated: int, ratio: float) -> float:
    """Return the logarithm of the evidence against the expected share of the holdout.

    Parameters
    ----------
    holdout, treated : int
        Shoppers of each arm.
    ratio : float
        Expected share of the holdout, [0, 1].

    Returns
    -------
    float
        Infinite if an arm has shoppers that should have none.

    Examples
    --------
    >>> round(log_evidence(50, 950, 0.05), 1), round(log_evidence(100, 900, 0.05), 1)
    (-1.2, 17.6)
    """
    if not 0.0 < ratio < 1.0:
        return math.inf if (holdout if ratio <= 0.0 else treated) else 0.0
    a, b = CONCENTRATION * ratio, CONCENTRATION * (1.0 - ratio)
    mixture = _log_beta(a + holdout, b + treated) - _log_beta(a, b)
    return mixture - holdout * math.log(ratio) - treated * math.log1p(-ratio)


def is_mismatch(holdout: int, treated: int, ratio: float) -> bool:
    """Return True if the counts contradict the expected share; parameters as of `log_evidence`.

    Examples
    --------
    >>> is_mismatch(50, 950, 0.05), is_mismatch(100, 900, 0.05)
    (False, True)
    """
    return log_evidence(holdout, treated, ratio) >= -math.log(MISMATCH_ALPHA)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

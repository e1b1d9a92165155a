r"""Lower bound of a proportion that is valid at every look.

The confidence sequence holds the ratios :math:`q` for which the beta-binomial mixture

.. math:: M_n(q) = \int_0^1 \frac{p^s (1 - p)^{n - s}}{q^s (1 - q)^{n - s}} \, dp = \frac{B(s + 1, n - s + 1)}
   {q^s (1 - q)^{n - s}}

of s successes in n trials is below 1 / alpha [1]_. Under the ratio q it is a martingale that begins with 1, so it ever
reaches 1 / alpha with probability alpha at most (Ville's inequality).

**Dependent trials.** The bound holds also for trials whose probability changes, if it never exceeds q given the trials
before. While :math:`s / n > q`, the part of the mixture below q is at most q. The part above q is a supermartingale
that begins with 1 - q, so it reaches 1 / alpha - q with probability :math:`(1 - q) / (1 / \alpha - q) \le \alpha`.

**Late successes.** A trial that may still become a success counts as a failure. Later successes only raise the bound.

References
----------
.. [1] Robbins, H. (1970). Statistical methods related to the law of the iterated logarithm. Annals of Mathematical
       Statistics 41(5).
"""

import math

ALPHA = 0.05
"""Probability that the bound ever exceeds the ratio."""
STEPS = 50
"""Bisections of the unit interval."""


def lower_bound(successes: int, trials: int, alpha: float = ALPHA) -> float:
    """Return the lower end of the confidence sequence for a proportion.

    Parameters
    ----------
    successes, trials : int
        Numbers so far; successes do not exceed trials.
    alpha : float
        Probability that the bound ever exceeds the proportion, (0, 1).

    Examples
    --------
    >>> [round(lower_bound(successes, 100), 3) for successes in (0, 20, 100)]
    [0.0, 0.093, 0.927]
    """
    failures = trials - successes
    mixture = math.lgamma(successes + 1) + math.lgamma(failures + 1) - math.lgamma(trials + 2)
    least = mixture + math.log(alpha)  # the log-likelihood of a ratio that is not rejected is above it
    low, high = 0.0, successes / max(trials, 1)
    for _ in range(STEPS):
        middle = (low + high) / 2
        likelihood = successes * math.log(middle) + failures * math.log1p(-middle) if middle else 0.0
        low, high = (low, middle) if likelihood > least else (middle, high)
    return low

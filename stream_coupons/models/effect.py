r"""The effect of a coupon apart from demand: P(persuaded), learnt from redemptions.

Of those who would order in a coupon's scope anyway, with probability a, a share u uses it. Of the others the coupon
persuades some, with probability :math:`\tau`, and they use it:

.. math:: P(\text{redeem}) = (1 - a)\,\tau + u\,a

a is learnt of shoppers who were given nothing, :math:`\tau` of those who were given the coupon, as a logistic model.
The uplift, :math:`(1 - a)\,\tau`, is then a quantity of its own that is never below zero, not the difference of two
estimates that err apart.
"""

from stream_coupons.core.scoring import USES_RATIO

LEAST = 1e-9


def redemption(effect: float, anyway: float) -> float:
    """Return P(redeem) by P(persuaded | would not order) and P(order without the coupon).

    >>> round(redemption(0.1, 0.5), 3)
    0.45
    """
    return (1.0 - anyway) * effect + USES_RATIO * anyway


def evidence(effect: float, anyway: float, label: bool) -> float:
    """Return what a label counts as an observation of the effect: the probability that the shopper could be persuaded.

    Of a redemption, that it was not an order that would have been placed anyway. A logistic step with this weight is
    the gradient of the log-likelihood of the label (Fisher's identity).

    >>> evidence(0.1, 0.0, True), round(evidence(0.1, 0.5, True), 3)
    (1.0, 0.111)
    """
    p = redemption(effect, anyway)
    part = (1.0 - anyway) * effect if label else (1.0 - anyway) * (1.0 - effect)
    return part / max(p if label else 1.0 - p, LEAST)

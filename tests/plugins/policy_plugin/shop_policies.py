"""A tiny package with policies."""

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.decision.policy_plugin import Offer


class Softmax:
    """Gives coupons of a larger net value with a larger probability; no coupon has the value 0."""

    def __init__(self, temperature_minor: float = 20.0) -> None:
        self._temperature_minor = temperature_minor

    def probabilities(self, offer: Offer) -> NDArray[np.float64]:
        scores = np.append(offer.net_minor, 0.0) / self._temperature_minor
        weights = np.exp(scores - scores.max())
        return weights / weights.sum()


class Answers:
    """Returns what it was made with, whatever is offered."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def probabilities(self, offer: Offer) -> object:
        return self._answer


gentle = Softmax(temperature_minor=100.0)
too_few, too_many = Answers([0.5, 0.5]), Answers([0.5, 0.4, 0.2])
negative, no_numbers = Answers([1.5, -0.5, 0.0]), Answers("all")
always_b = Answers([0.0, 1.0, 0.0])


class Fails:
    """Raises on every offer."""

    def probabilities(self, offer: Offer) -> NDArray[np.float64]:
        raise LookupError("no table of segments")


class Tampers:
    """Tries to make a coupon worth more than it is."""

    def probabilities(self, offer: Offer) -> NDArray[np.float64]:
        offer.values_minor[:] = 1e9
        return np.append(np.zeros(len(offer)), 1.0)

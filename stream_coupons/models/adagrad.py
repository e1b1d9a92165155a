"""Logistic regression by AdaGrad, which gives each weight its own rate [1]_.

The accumulators of squared gradients start at `ACCUMULATOR_START` instead of about zero: otherwise the first example of
a rare feature moves its weight by the full learning rate however small the gradient, and a row of many rare features
moves as one.

References
----------
.. [1] Duchi, J., Hazan, E., and Singer, Y. (2011). Adaptive subgradient methods for online learning and stochastic
       optimization. JMLR 12.
"""

from collections.abc import Mapping

from river import optim, utils

from stream_coupons.models.logistic import OnlineLogistic

ACCUMULATOR_START = 1.0


class AdaGrad(OnlineLogistic):
    """One head.

    Parameters
    ----------
    learning_rate : float
        Step size of a weight whose accumulator is 1.
    l2 : float
        Penalty on the weights of a row's features, added to the gradient.
    prior : mapping of int to float
        Weights to start from, by index.
    """

    def __init__(self, learning_rate: float, l2: float, prior: Mapping[int, float]) -> None:
        self._optimizer = optim.AdaGrad(learning_rate, eps=ACCUMULATOR_START)
        super().__init__(self._optimizer, {"accumulators": self._optimizer.g2}, l2)
        self._model._weights = utils.VectorDict(dict(prior))

    def quicken(self, factor: float) -> None:
        """Multiply the sums of squared gradients, so that rates rise by up to 1 / sqrt(factor)."""
        for index in self._optimizer.g2:
            self._optimizer.g2[index] *= factor

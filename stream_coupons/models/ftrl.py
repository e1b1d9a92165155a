r"""Logistic regression by FTRL-Proximal [1]_: AdaGrad's rates, with weights solved from sums instead of stepped.

.. math:: w_i = -\frac{z_i - \operatorname{sgn}(z_i) \lambda_1}{(\beta + \sqrt{n_i}) / \alpha + \lambda_2}
   \text{ if } |z_i| > \lambda_1 \text{, else } 0

With :math:`\lambda_1 > 0` what little evidence supports stays exactly 0. We deviate from [1]_ in the start: z begins
where its solution is the prior's weight, so that the proximal term pulls towards the prior and not towards 0.

References
----------
.. [1] McMahan, H. B., et al. (2013). Ad click prediction: a view from the trenches. KDD, algorithm 1.
"""

import math
from collections.abc import Mapping
from typing import Any

from river import optim, utils

from stream_coupons.models.logistic import OnlineLogistic

BETA = 1.0


class _Solved(optim.FTRLProximal):  # type: ignore[misc]
    """River's, with the weights solved after a step. River solves them before the next one, so that in between every
    prediction and gradient lacks the latest example."""

    def solve(self, index: int) -> float:
        """The weight at an index."""
        z: float = self.z[index]
        l1: float = self.l1
        if abs(z) <= l1:
            return 0.0
        stiffness: float = (self.beta + math.sqrt(self.n[index])) / self.alpha + self.l2
        return -(z - math.copysign(l1, z)) / stiffness

    def _step_with_dict(self, w: Any, g: Any) -> Any:
        z, n = self.z, self.n
        for index, gradient in g.items():
            before = n[index]
            n[index] = after = before + gradient * gradient
            z[index] += gradient - (math.sqrt(after) - math.sqrt(before)) / self.alpha * w[index]
            w[index] = self.solve(index)
        return w


class FTRL(OnlineLogistic):
    """One head.

    Parameters
    ----------
    alpha : float
        Step size of a weight that has seen nothing, with `BETA` 1.
    l1, l2 : float
        The penalties :math:`\\lambda_1` and :math:`\\lambda_2`.
    prior : mapping of int to float
        Weights to start from, by index.
    """

    def __init__(self, alpha: float, l1: float, l2: float, prior: Mapping[int, float]) -> None:
        self._optimizer = _Solved(alpha=alpha, beta=BETA, l1=l1, l2=l2)
        super().__init__(self._optimizer, {"z": self._optimizer.z, "n": self._optimizer.n}, l2=0.0)
        for index, weight in prior.items():
            self._set(index, weight)
        self._model._weights = utils.VectorDict({index: self._optimizer.solve(index) for index in prior})

    def _set(self, index: int, weight: float) -> None:
        """Choose z such that its solution is this weight."""
        optimizer = self._optimizer
        stiffness = (optimizer.beta + math.sqrt(optimizer.n[index])) / optimizer.alpha + optimizer.l2
        optimizer.z[index] = -weight * stiffness - math.copysign(optimizer.l1, weight) if weight else 0.0

    def quicken(self, factor: float) -> None:
        """Multiply the sums of squared gradients and keep the weights."""
        for index, weight in dict(self._model.weights).items():
            self._optimizer.n[index] *= factor
            if weight:
                self._set(index, weight)

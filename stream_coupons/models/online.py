"""Online logistic regression by River, one head each.

AdaGrad (Duchi, Hazan, Singer 2011) gives each weight its own rate. Its accumulators start at `ACCUMULATOR_START`
instead of about zero: otherwise the first example of a rare feature moves its weight by the full learning rate however
small the gradient, and a row of many rare features moves as one.
"""

from river import linear_model, optim, utils

from stream_coupons.models.encoding import encode
from stream_coupons.models.linear import prior_weights

ACCUMULATOR_START = 1.0
RATE_RATIO = {"click": 1.0, "redeem": 1.0, "order": 0.2}
"""Each head's learning rate over the one set. Orders without a coupon are seen in the holdout only, a twentieth of the
examples, and every error there is multiplied by a margin in the uplift: go slowly."""


class OnlineHead:
    """One head: River's model, its state open to be saved and restored."""

    def __init__(self, head: str, learning_rate: float, l2: float) -> None:
        self.name = head
        self._optimizer = optim.AdaGrad(learning_rate * RATE_RATIO[head], eps=ACCUMULATOR_START)
        self._model = linear_model.LogisticRegression(optimizer=self._optimizer, l2=l2, intercept_lr=0.0)
        self.restore(prior_weights(head), {})

    def learn(self, numeric: list[float], hashed: list[int], label: bool) -> None:
        """Take one step down the gradient of the log loss."""
        self._model.learn_one(encode(numeric, hashed), label)

    def predict(self, numeric: list[float], hashed: list[int]) -> float:
        """River's own prediction, for tests of the compiled one."""
        return float(self._model.predict_proba_one(encode(numeric, hashed))[True])

    def weights(self) -> dict[int, float]:
        """Weights by index."""
        return dict(self._model.weights)

    def accumulators(self) -> dict[int, float]:
        """AdaGrad's sums of squared gradients, by index."""
        return dict(self._optimizer.g2)

    def restore(self, weights: dict[int, float], accumulators: dict[int, float]) -> None:
        """Go on from saved weights and accumulators."""
        self._model._weights = utils.VectorDict(weights)
        self._optimizer.g2.clear()
        self._optimizer.g2.update(accumulators)

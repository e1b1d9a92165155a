"""The models by name."""

from stream_coupons.models.adagrad import AdaGrad
from stream_coupons.models.deep import LAST_UNIT, DeepLinear
from stream_coupons.models.forgetting import Forgetting
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.linear import PRIOR_RATE, prior_of
from stream_coupons.models.model import Model
from stream_coupons.models.neural import NeuralNetwork
from stream_coupons.models.rules import LearningRules, ModelName

SEED = 0
"""Of what models draw before they learn. The same for all, so that a state can leave out what a seed gives again."""
CAUTION = {"click": 1.0, "redeem": 1.0, "order": 0.2, "effect": 1.0, "demand": 1.0}
"""Each head's learning rate over the one set, and its variance before learning over that of others. Orders without a
coupon are seen in the holdout only, a twentieth of the examples, and every error there is multiplied by a margin in the
uplift: go slowly. The effect has few and rare labels, and starts from what is known of coupons in general."""


VARIANCES: dict[str, dict[str, float]] = {"effect": {"of_coupon": 0.5, "of_constant": 0.02}}
"""Coupons differ in what they move far more than shops do on average: a coupon that fails says little of the others."""


def make_model(name: ModelName, head: str, rules: LearningRules) -> Model:
    """A model of one head before it has learnt anything."""
    rate, prior = rules.learning_rate * CAUTION[head], prior_of(head)
    match name:
        case ModelName.KALMAN:
            forgetting = Forgetting(prior, rules.forgetting_rates)
            return KalmanFilter(prior, rules.prior_variance * CAUTION[head], forgetting, **VARIANCES.get(head, {}))
        case ModelName.ADAGRAD:
            return AdaGrad(rate, rules.l2, prior)
        case ModelName.NEURAL:
            return NeuralNetwork(PRIOR_RATE[head], rules.l2, SEED)
        case ModelName.DEEP:
            return DeepLinear(
                AdaGrad(rate, rules.l2, prior, LAST_UNIT), NeuralNetwork(PRIOR_RATE[head], rules.l2, SEED)
            )


def make_models(head: str, rules: LearningRules) -> dict[ModelName, Model]:
    """All models that the rules name."""
    return {name: make_model(name, head, rules) for name in rules.models}

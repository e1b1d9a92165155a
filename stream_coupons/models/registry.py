"""Factory of the models by name."""

from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.models.adagrad import AdaGrad
from stream_coupons.models.deep import LAST_UNIT, DeepLinear
from stream_coupons.models.forgetting import Forgetting
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.linear import PRIOR_RATE, prior_weights
from stream_coupons.models.model import Model
from stream_coupons.models.neural import NeuralNetwork
from stream_coupons.models.plugins import make_plugin
from stream_coupons.models.rules import LearningRules, ModelName

SEED = 0
"""Seed of the initial weights of all models. It is constant, so states can leave out values that it reproduces."""
CAUTION = {"click": 1.0, "effect": 1.0, "demand": 1.0, "visit": 10.0}
"""Factor of each head on the learning rate and the prior variance. Visits have a label for every decision, and how
often they end in an order differs among shops: what was assumed of them is soon outweighed."""


WALK = 3e-5
"""Variance of the step of a base rate's log-odds from one example to the next: the last thousand examples weigh most,
where one in thirty is positive."""
VARIANCES: dict[str, dict[str, float]] = {
    "effect": {"of_coupon": 0.5, "of_constant": 0.02},
    "demand": {"walk": WALK},
    "visit": {"of_constant": 0.1, "walk": WALK},
}
"""Variances by head. Effects differ far more among coupons than their average does among shops, so a coupon that fails
has little influence on the others. Orders without a coupon have most labels, and change with the season and with what
is known of the shoppers."""


def make_model(name: str, head: str, rules: LearningRules, key: DrawKey = PUBLIC_KEY) -> Model:
    """Return an untrained model of one head.

    Parameters
    ----------
    name : str
        One of `ModelName`, or the text of a model from another package.
    head : str
        One of `linear.ALL_HEADS`.
    rules : LearningRules
        Learning rates, prior variance, and the models.
    key : DrawKey
        Signs the snapshots of River classifiers.

    Raises
    ------
    BadConfig
        If a model from another package cannot be made.
    """
    rate, prior = rules.learning_rate * CAUTION[head], prior_weights(head)
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
        case _:
            return make_plugin(name, head, rules, key)


def make_models(head: str, rules: LearningRules, key: DrawKey = PUBLIC_KEY) -> dict[str, Model]:
    """Return untrained models of one head, all that the rules name."""
    return {name: make_model(name, head, rules, key) for name in rules.models}

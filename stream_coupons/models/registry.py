"""The models by name."""

from stream_coupons.models.adagrad import AdaGrad
from stream_coupons.models.ftrl import FTRL
from stream_coupons.models.linear import prior_weights
from stream_coupons.models.model import Model
from stream_coupons.models.rules import LearningRules, ModelName

RATE_RATIO = {"click": 1.0, "redeem": 1.0, "order": 0.2}
"""Each head's learning rate over the one set. Orders without a coupon are seen in the holdout only, a twentieth of the
examples, and every error there is multiplied by a margin in the uplift: go slowly."""


def make_model(name: ModelName, head: str, rules: LearningRules) -> Model:
    """A model of one head before it has learnt anything."""
    rate, prior = rules.learning_rate * RATE_RATIO[head], prior_weights(head)
    match name:
        case ModelName.ADAGRAD:
            return AdaGrad(rate, rules.l2, prior)
        case ModelName.FTRL:
            return FTRL(rate, 0.0, 0.0, prior)


def make_models(head: str, rules: LearningRules) -> dict[ModelName, Model]:
    """All models that the rules name."""
    return {name: make_model(name, head, rules) for name in rules.models}

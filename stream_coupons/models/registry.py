"""Factory of the models by name."""

from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.linear import prior_weights
from stream_coupons.models.model import Model
from stream_coupons.models.plugins import make_plugin
from stream_coupons.models.rules import LearningRules, ModelName

CAUTION = {"click": 1.0, "effect": 1.0, "demand": 1.0, "visit": 10.0}
"""Factor of each head on the prior variance. Visits have a label for every decision, and how
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
        Prior variance, and the models.
    key : DrawKey
        Signs the snapshots of River classifiers.

    Raises
    ------
    BadConfig
        If a model from another package cannot be made.
    """
    if name == ModelName.KALMAN:
        return KalmanFilter(prior_weights(head), rules.prior_variance * CAUTION[head], **VARIANCES.get(head, {}))
    return make_plugin(name, head, rules, key)


def make_models(head: str, rules: LearningRules, key: DrawKey = PUBLIC_KEY) -> dict[str, Model]:
    """Return untrained models of one head, all that the rules name."""
    return {name: make_model(name, head, rules, key) for name in rules.models}

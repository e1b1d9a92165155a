"""The Kalman filter as an estimator of River: dictionaries in, a probability by label out.

It takes any features, not only ours: a number counts by its size, all else by its value. Each feature has an index by a
hash of its name, and of its value unless that is a number. So it can be a step of a `river.compose` pipeline, and it
can be compared with River's classifiers on their own data. The module imports River; nothing that serves imports it.
"""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from river import base

from stream_coupons.core.draws import stable_hash
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS
from stream_coupons.models.encoding import BIAS, CONSTANT
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter

Features = Mapping[Any, Any]


class KalmanClassifier(base.Classifier):  # type: ignore[misc]  # River has no types that mypy is to follow
    """Bayesian logistic regression by a decoupled extended Kalman filter, for binary labels.

    Parameters
    ----------
    prior_variance : float
        Factor on the variances of the weights before learning, above 0. Larger ones learn faster from few examples.

    Examples
    --------
    >>> model = KalmanClassifier()
    >>> model.predict_proba_one({"city": "Bonn", "age": 31})
    {False: 0.5, True: 0.5}
    >>> for n in range(50):
    ...     model.learn_one({"city": "Bonn" if n % 2 else "Ulm"}, n % 2 == 1)
    >>> model.predict_one({"city": "Bonn"}), model.predict_one({"city": "Ulm"})
    (True, False)
    """

    def __init__(self, prior_variance: float = 1.0) -> None:
        self.prior_variance = prior_variance
        self._filter = KalmanFilter({}, prior_variance)

    def learn_one(self, x: Features, y: bool) -> None:
        """Learn one example.

        Parameters
        ----------
        x : mapping
            Finite numbers, booleans or texts by name; 0, False and None are nothing.
        y : bool
            The label.
        """
        self._filter.learn_one(row_of(x), bool(y))

    def predict_proba_one(self, x: Features) -> dict[bool, float]:
        """Return the probability of either label, in [0, 1]; `x` is as in `learn_one`."""
        probability = self._filter.probability(row_of(x))
        return {False: 1.0 - probability, True: probability}


def row_of(x: Features) -> Row:
    """Return named features as a row of hashed features; those whose hashes collide are added up.

    Parameters
    ----------
    x : mapping
        Finite numbers, booleans or texts by name; 0, False and None are nothing.

    Returns
    -------
    Row
        Without our own numeric features. Its first place is empty: it is that of the coupon, which has a variance of
        its own.
    """
    added: dict[int, float] = {}
    groups: dict[int, int] = {}
    for name, value in x.items():
        is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
        place = 1 + stable_hash(str(name), "" if is_number else str(value)) % (DIMENSIONS - 1)
        if value is not None and value != 0:
            added[place] = added.get(place, 0.0) + (float(value) if is_number else 1.0)
            groups[place] = stable_hash(str(name)) % GROUPS
    places = sorted(added)
    row = Row(np.zeros(len(NUMERIC)), [0, *(place + DIMENSIONS * groups[place] for place in places)])
    row.arrays = np.array([*places, BIAS], np.int64), np.array([*(added[place] for place in places), CONSTANT])
    return row

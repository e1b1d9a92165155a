"""The Kalman filter as an estimator of River: dictionaries or frames in, a probability by label out.

It takes any features, not only ours: a number counts by its size, all else by its value. Each feature has an index by a
hash of its name, and of its value unless that is a number. So it can be a step of a `river.compose` pipeline, and it
can be compared with River's classifiers on their own data. Of a frame of numbers, columns are hashed once for all rows.
The module imports River; a worker imports it only if `learning.models` names it.
"""

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from river import base

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, GROUPS
from stream_coupons.models.effect import sigmoids
from stream_coupons.models.encoding import BIAS, CONSTANT, Indices
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter

Features = Mapping[Any, Any]


class KalmanClassifier(base.MiniBatchClassifier):  # type: ignore[misc]  # River has no types that mypy is to follow
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

    def __getstate__(self) -> dict[str, Any]:
        """Return the model without the empty parts of its arrays: a snapshot holds few megabytes."""
        return {"prior_variance": self.prior_variance, "state": self._filter.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Resume from the output of `__getstate__`."""
        self.prior_variance = state["prior_variance"]
        self._filter = KalmanFilter({}, self.prior_variance)
        self._filter.restore(state["state"])

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

    def learn_many(self, X: Any, y: Iterable[bool]) -> None:  # noqa: N803 - River's name
        """Learn the rows of a frame, one after the other.

        Parameters
        ----------
        X : pandas.DataFrame, shape (n, m)
            Finite numbers.
        y : iterable of bool, length n
            The labels.
        """
        columns = Columns(X.columns)
        for values, label in zip(X.to_numpy(np.float64), y, strict=True):
            self._filter.learn_one(columns.row(values), bool(label))

    def predict_proba_many(self, X: Any) -> Any:  # noqa: N803 - River's name
        """Return the probabilities of the rows of a frame, as a frame with the columns False and True.

        Parameters
        ----------
        X : pandas.DataFrame, shape (n, m)
            Finite numbers.
        """
        log_odds = X.to_numpy(np.float64) @ self._filter.dense[Columns(X.columns).places]
        probabilities = sigmoids(log_odds + CONSTANT * self._filter.dense[BIAS])
        return type(X)({False: 1.0 - probabilities, True: probabilities}, index=X.index)


class Columns:
    """Indices of the numeric features that the columns of a frame are.

    Parameters
    ----------
    names : iterable
        Names of the columns.
    """

    def __init__(self, names: Iterable[Any]) -> None:
        self.places = np.array([place_of(name) for name in names], np.int64)
        self._unique, self._inverse = np.unique(self.places, return_inverse=True)
        groups = {place_of(name): group_of(name) for name in names}
        self._groups = np.array([groups[place] for place in self._unique.tolist()], np.int64)

    def row(self, values: Floats) -> Row:
        """Return the row of hashed features of one row of a frame, shape (m,)."""
        added = np.bincount(self._inverse, values, len(self._unique)).astype(np.float64)
        used = np.flatnonzero(added)
        return _row(self._unique[used], self._groups[used], added[used])


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
        place = place_of(name, "" if is_number else str(value))
        if value is not None and value != 0:
            added[place] = added.get(place, 0.0) + (float(value) if is_number else 1.0)
            groups[place] = group_of(name)
    places = sorted(added)
    return _row(
        np.array(places, np.int64),
        np.array([groups[place] for place in places], np.int64),
        np.array([added[place] for place in places]),
    )


def place_of(name: object, value: str = "") -> int:
    """Return the bucket index of a feature.

    Parameters
    ----------
    name : object
        Its name.
    value : str
        Its value; empty for a number.
    """
    return 1 + stable_hash(str(name), value) % (DIMENSIONS - 1)


def group_of(name: object) -> int:
    """Return the group of a feature, by its name."""
    return stable_hash(str(name)) % GROUPS


def _row(places: Indices, groups: Indices, values: Floats) -> Row:
    row = Row(np.zeros(len(NUMERIC)), np.concatenate(([0], places + DIMENSIONS * groups)))
    row.arrays = np.append(places, BIAS), np.append(values, CONSTANT)
    return row

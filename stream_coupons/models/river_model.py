r"""A River classifier as a model of one head. Importing this module imports River.

The classifier reads a dictionary: each numeric feature by its name, as a float, and 1, an integer, for each hashed one,
as `#` and its bucket index. `compose.SelectType` tells them apart.

Until it has learnt, a classifier predicts anything, 0.5 for most. So what it predicts is mixed with the prior
probability of the row, which counts as `PRIOR_EXAMPLES` examples:
:math:`p = (n_0 p_0 + n p_{\text{classifier}}) / (n_0 + n)`.

A redemption of the engine's own coupon is evidence on the coupon's effect in part only (see `effect`). River's
classifiers take no weights in general, so the parts of equal labels are summed, and an example is learnt whenever their
sum reaches 1. One that stands for several is learnt as often; in one step if the classifier takes a weight, `w`.

The state is a pickle, as a classifier may hold any objects. Unpickling runs code, and others may write to the topic of
snapshots. So the pickle is signed with the installation's secret, and one without that signature is not unpickled.
"""

import hmac
import pickle
from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import __version__ as river_version
from river import base, compose

from stream_coupons.core import plugins
from stream_coupons.core.draws import SIGNATURE_BYTES, DrawKey
from stream_coupons.core.errors import BadConfig, PluginError, SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.models.effect import evidence, redemption, sigmoid
from stream_coupons.models.inputs import Row
from stream_coupons.models.states import PICKLE, State, check_finite, check_names, check_no_less

PRIOR_EXAMPLES = 100.0
MAX_PICKLE_BYTES = 4 * 2**20
"""Bound of a pickle: those of five heads must fit into a snapshot, beside other models."""
SIGNATURE, RIVER, PROGRESS = "signature", "river", "progress"
HASHED_NAMES = tuple(f"#{index}" for index in range(DIMENSIONS))


def named_features(row: Row) -> dict[str, float]:
    """Return the features of a row by name: all numeric features, and the hashed ones that it has.

    Examples
    --------
    >>> x = named_features(Row([0.5] * len(NUMERIC), [7, 0, 7]))
    >>> x[NUMERIC[0]], x["#7"], len(x) - len(NUMERIC)
    (0.5, 2, 1)
    """
    features: dict[str, float] = dict(zip(NUMERIC, row.numeric.tolist(), strict=True))
    for place in row.places.tolist():
        if place:
            name = HASHED_NAMES[place]
            features[name] = features.get(name, 0) + 1
    return features


def words(data: bytes) -> NDArray[np.uint32]:
    r"""Return bytes as an array that a snapshot can hold, with zeros at the end; pickle reads no further than its end.

    Examples
    --------
    >>> words(b"river").tobytes()
    b'river\x00\x00\x00'
    """
    return np.frombuffer(data + bytes(-len(data) % 4), "<u4")


def classifier_of(found: Any, setting: str) -> base.Estimator:
    """Return an untrained classifier.

    Parameters
    ----------
    found : river.base.Estimator, or a class of such
        An estimator or pipeline, which is cloned, or a class, which is called without arguments.
    setting : str
        Names it, for errors.

    Raises
    ------
    BadConfig
        If it cannot be made, or predicts no probabilities.
    """
    made = plugins.made(found if isinstance(found, type) else found.clone, setting)
    last = next(reversed(made.steps.values())) if isinstance(made, compose.Pipeline) else made
    predicts = getattr(type(last), "predict_proba_one", base.Classifier.predict_proba_one)
    if not isinstance(last, base.Classifier) or predicts is base.Classifier.predict_proba_one:
        raise BadConfig(
            f"{setting} is a {type(last).__name__}: expected a river.base.Classifier with predict_proba_one, or a "
            "pipeline that ends in one"
        )
    return made


class RiverModel:
    """Model of one head that owns a River classifier.

    Parameters
    ----------
    classifier : river.base.Classifier
        An untrained classifier or pipeline, which predicts probabilities.
    prior : mapping of int to float
        Prior weights of the head, by index.
    key : DrawKey
        Signs the pickles.
    """

    def __init__(self, classifier: base.Estimator, prior: Mapping[int, float], key: DrawKey) -> None:
        self._classifier, self._prior, self._key = classifier, prior, key
        last = next(reversed(classifier.steps.values())) if isinstance(classifier, compose.Pipeline) else classifier
        self._weighs = "w" in signature(last.learn_one).parameters
        self._examples = 0.0
        self._owed = [0.0, 0.0]
        """Evidence that is not learnt yet, by label."""

    def learn_one(self, row: Row, label: bool) -> float:
        """Predict, then learn the example, or its part once that adds up to one."""
        x = named_features(row)
        probability = self._mixed(x, row)
        if row.anyway is not None:
            self._owed[label] += row.sample.weight * evidence(probability, row.anyway, label, row.uses)
            count = int(self._owed[label])
            self._owed[label] -= count
            self._learn(x, label, count)
            return redemption(probability, row.anyway, row.uses)
        self._learn(x, label, row.sample.weight)
        return probability

    def _learn(self, x: dict[str, float], label: bool, count: int) -> None:
        if count > 1 and self._weighs:
            self._classifier.learn_one(x, bool(label), w=count)
        else:
            for _ in range(count):
                self._classifier.learn_one(x, bool(label))
        self._examples += count

    def probability(self, row: Row) -> float:
        """Return P(label) of a row."""
        return self._mixed(named_features(row), row)

    def _mixed(self, x: dict[str, float], row: Row) -> float:
        indices, values = row.arrays
        weights = [self._prior.get(index, 0.0) for index in indices.tolist()]
        of_prior = sigmoid(float((values * weights).sum()))
        if not self._examples:
            return of_prior
        found = float(self._classifier.predict_proba_one(x).get(True, 0.0))
        return (PRIOR_EXAMPLES * of_prior + self._examples * found) / (PRIOR_EXAMPLES + self._examples)

    def quicken(self, factor: float) -> None:
        """Change nothing: a River classifier follows a change at its own rate."""

    def state(self) -> State:
        """Return the signed pickle of the classifier, River's version and the progress.

        Raises
        ------
        PluginError
            If the classifier cannot be pickled, or its pickle is too large.
        """
        try:
            pickled = words(pickle.dumps(self._classifier, protocol=5))
        except Exception as error:
            raise PluginError(
                f"cannot be pickled for a snapshot: {error}; expected no lambda or local class"
            ) from error
        if pickled.nbytes > MAX_PICKLE_BYTES:
            raise PluginError(f"its pickle has {pickled.nbytes} bytes, expected at most {MAX_PICKLE_BYTES}")
        return {
            PICKLE: pickled,
            SIGNATURE: words(self._key.signature(pickled.tobytes())),
            RIVER: words(river_version.encode()),
            PROGRESS: np.array([self._examples, *self._owed], np.float64),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`."""
        check_names(state, {PICKLE, SIGNATURE, RIVER, PROGRESS})
        check_finite(state, PROGRESS, (3,))
        check_no_less(state, [PROGRESS])
        for name in (PICKLE, SIGNATURE, RIVER):
            if state[name].dtype != np.uint32 or state[name].ndim != 1:
                raise SnapshotMismatch(f"{name} is {state[name].dtype}, expected uint32 in one row")
        pickled = state[PICKLE].tobytes()
        signature = state[SIGNATURE].tobytes()
        if len(signature) != SIGNATURE_BYTES or not hmac.compare_digest(signature, self._key.signature(pickled)):
            raise SnapshotMismatch("its pickle is not signed with the secret of secret_file, and is not unpickled")
        by = state[RIVER].tobytes().rstrip(b"\0").decode(errors="replace")
        if by != river_version:
            raise SnapshotMismatch(f"its pickle is by River {by}, expected {river_version}, which is installed")
        try:
            self._classifier = pickle.loads(pickled)
        except Exception as error:
            raise SnapshotMismatch(f"its pickle does not load: {type(error).__name__}: {error}") from error
        self._examples, *self._owed = state[PROGRESS].tolist()

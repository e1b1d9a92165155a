"""Models from other packages: a River classifier, or a `Model`.

The text of `learning.models` names a model everywhere, in snapshots and metrics, too. It names a River classifier or
pipeline, of which each head has a clone, or its class; anything else is called with the head and the settings, and
returns an object with the interface of `model.Model`.
"""

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core import plugins
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadConfig, PluginError, SnapshotMismatch
from stream_coupons.models.inputs import Row
from stream_coupons.models.linear import prior_weights
from stream_coupons.models.model import Model
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.states import DTYPES, State

SETTING = "learning.models"
INTERFACE = ("learn_one", "probability", "quicken", "state", "restore")


class PluginModel:
    """A model from another package; its failures are named, and its probabilities checked.

    Parameters
    ----------
    title : str
        The model and its head, for errors.
    inner : Model
        The model.
    """

    def __init__(self, title: str, inner: Model) -> None:
        self._title, self.inner = title, inner

    def learn_one(self, row: Row, label: bool) -> float:
        """Test, then train.

        Raises
        ------
        PluginError
        """
        return self._probability(lambda: self.inner.learn_one(row, label))

    def probability(self, row: Row) -> float:
        """Return P(label) of a row.

        Raises
        ------
        PluginError
        """
        return self._probability(lambda: self.inner.probability(row))

    def quicken(self, factor: float) -> None:
        """Quicken the model.

        Raises
        ------
        PluginError
        """
        self._call(lambda: self.inner.quicken(factor))

    def state(self) -> State:
        """Return the state of the model.

        Raises
        ------
        PluginError
        """
        state: State = self._call(self.inner.state)
        for name, array in state.items():
            if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("<").str not in DTYPES:
                found = getattr(array, "dtype", type(array).__name__)
                raise PluginError(f"{self._title}: state {name!r} is {found}, expected an array of {', '.join(DTYPES)}")
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from the output of `state`.

        Raises
        ------
        SnapshotMismatch
        """
        try:
            self.inner.restore(state)
        except SnapshotMismatch as error:
            raise SnapshotMismatch(f"{self._title}: {error}") from error
        except Exception as error:
            raise SnapshotMismatch(f"{self._title}: restore raised {type(error).__name__}: {error}") from error

    def _probability(self, call: Callable[[], float]) -> float:
        found = float(self._call(call))
        if not 0.0 <= found <= 1.0:  # NaN is not, either
            raise PluginError(f"{self._title} predicts {found}, expected a probability in [0, 1]")
        return found

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except PluginError as error:
            raise PluginError(f"{self._title}: {error}") from error
        except Exception as error:
            raise PluginError(f"{self._title} raised {type(error).__name__}: {error}") from error


def make_plugin(text: str, head: str, rules: LearningRules, key: DrawKey) -> PluginModel:
    """Return an untrained model of one head.

    Parameters
    ----------
    text : str
        The model's entry in `learning.models`.
    head : str
        One of `linear.ALL_HEADS`.
    rules : LearningRules
        The settings `learning.*`, which an entry point is called with.
    key : DrawKey
        Signs the pickles of River classifiers.

    Raises
    ------
    BadConfig
        If the setting does not name a model, or the model is neither a River classifier nor a `Model`.
    """
    title, found = f"model {text!r} of head {head}", plugins.named(text, plugins.MODELS, SETTING)
    if _is_of_river(found):
        from stream_coupons.models.river_model import RiverModel, classifier_of  # it imports River

        return PluginModel(title, RiverModel(classifier_of(found, f"{SETTING}: {text!r}"), prior_weights(head), key))
    inner = plugins.made(found, f"{SETTING}: {text!r}", head, rules)
    missing = [name for name in INTERFACE if not callable(getattr(inner, name, None))]
    if missing:
        raise BadConfig(
            f"{SETTING}: {text!r} makes a {type(inner).__name__} without {', '.join(missing)}: "
            "expected the interface of stream_coupons.models.model.Model"
        )
    return PluginModel(title, inner)


def _is_of_river(found: Any) -> bool:
    """Return whether an object is an estimator of River, or a class of such; without importing River."""
    base = sys.modules.get("river.base")
    cls = found if isinstance(found, type) else type(found)
    return base is not None and issubclass(cls, base.Estimator)


def check_plugins(rules: LearningRules) -> None:
    """Make every model from another package once, so that a wrong one is found at the start.

    Raises
    ------
    BadConfig
        If one cannot be made, or its state cannot be kept.
    """
    for text in rules.imported:
        model = make_plugin(text, "click", rules, PUBLIC_KEY)
        try:
            model.state()
        except PluginError as error:
            raise BadConfig(f"{SETTING}: {error}") from error


def check_signed(rules: LearningRules, key: DrawKey) -> None:
    """Refuse River classifiers without a secret to sign their snapshots with.

    Parameters
    ----------
    rules : LearningRules
        Names the models.
    key : DrawKey
        The workers' secret, or the public key.

    Raises
    ------
    BadConfig
    """
    if key != PUBLIC_KEY:
        return
    pickled = [text for text in rules.imported if _is_of_river(plugins.named(text, plugins.MODELS, SETTING))]
    if pickled:
        raise BadConfig(
            f"{SETTING}: {pickled[0]!r} is a River model, whose snapshots are pickles signed with the secret: "
            "set secret_file, see `stream-coupons secret make`"
        )


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, within about -30 to 30.

    Examples
    --------
    >>> log_odds(0.5), round(log_odds(1.0), 1)
    (0.0, 29.9)
    """
    clipped = min(max(probability, 1e-13), 1.0 - 1e-13)
    return math.log(clipped / (1.0 - clipped))

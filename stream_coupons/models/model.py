"""Interface of the models: online binary classifiers of one head with serializable state."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.models.inputs import Row
from stream_coupons.models.states import State

__all__ = ["Model", "Row", "Servable"]


class Model(Protocol):
    """An online model of P(label) for one head.

    The same examples in the same order, with the same settings, give the same model to the last bit, also when resumed
    from a state. Rows hold finite numbers and bucket indices in range: the caller checks that
    (`inputs.check_features`).
    """

    def learn_one(self, row: Row, label: bool) -> float:
        """Test, then train.

        Parameters
        ----------
        row : Row
            Features of the example; `sample` is what it stands for where a learner that is behind left others out.
        label : bool
            The outcome.

        Returns
        -------
        float
            P(label) within [0, 1], predicted before this label is learnt.
        """

    def probability(self, row: Row) -> float:
        """Return the prediction of a row, within [0, 1], and learn nothing."""

    def quicken(self, factor: float) -> None:
        """Take larger steps from now on, after a drift: multiply the evidence that slows them by `factor` < 1."""

    def state(self) -> State:
        """Return a copy of all learnt state."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume from a state.

        Raises
        ------
        SnapshotMismatch
            If it does not fit; the model is then unchanged.
        """


class Servable(Model, Protocol):
    """A model that compiles to arrays: linear in the indices of `encoding`."""

    def log_odds(self, row: Row) -> float:
        """Return the log-odds of the label."""

    @property
    def dense(self) -> Floats:
        """Current weights, shape (BIAS + 1,): not a copy, read only."""

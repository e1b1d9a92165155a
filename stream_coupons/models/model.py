"""What every model is: a binary classifier of one head that learns online and whose state is data."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.models.inputs import Row
from stream_coupons.models.states import State


class Model(Protocol):
    """Learns P(label) of one head.

    The same examples in the same order, with the same settings, make the same model to the last bit; so does going on
    from a state. Rows hold finite numbers and places in range: whoever hands them in has checked that
    (`inputs.check_features`).
    """

    def learn_one(self, row: Row, label: bool) -> float:
        """Test, then train.

        Parameters
        ----------
        row : Row
            Features of the example.
        label : bool
            The outcome.

        Returns
        -------
        float
            P(label) within [0, 1], as predicted before this label was learnt.
        """

    def probability(self, row: Row) -> float:
        """Return what the head predicts of a row, within [0, 1], and learn nothing."""

    def quicken(self, factor: float) -> None:
        """Take larger steps from here on, after a drift: the evidence that slows them is multiplied by `factor` < 1."""

    def state(self) -> State:
        """A copy of all that is learnt."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state.

        Raises
        ------
        SnapshotMismatch
            If it does not fit; the model is then as it was.
        """


class Servable(Model, Protocol):
    """A model that compiles to arrays: linear in the indices of `encoding`, but for the row's offset."""

    def log_odds(self, row: Row) -> float:
        """Of the label, without the row's offset."""

    @property
    def dense(self) -> Floats:
        """The weights as they are now, shape (BIAS + 1,): not a copy, and for reading only."""

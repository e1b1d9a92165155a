r"""The models of one head side by side: all learn, one serves, and a better one takes its place.

Each model is tested on an example before it learns it [1]_. It is compared with the champion by the paired difference
:math:`d = \text{loss of the champion} - \text{its own}` on the same examples, exponentially windowed: the mean over
decayed weights, and its standard error :math:`s \sqrt{\sum w^2} / \sum w`. It takes over when that mean is above
`promotion_margin_ratio` of the champion's loss and above `Z` standard errors, over an effective number
:math:`(\sum w)^2 / \sum w^2` of at least `promotion_min_examples`. Then all comparisons restart, against the new
champion: the old one must win as clearly to return, so the two do not alternate by chance.

The test is repeated after every example, which a fixed `Z` does not account for, and examples of one shopper are
dependent. `Z` is 3 instead of 2 for both reasons, and the margin covers an underestimated error.

References
----------
.. [1] Gama, J., Sebastiao, R., and Rodrigues, P. P. (2013). On evaluating stream learning algorithms. Machine Learning
       90(3): prequential error with a forgetting factor, and paired tests on it.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.models.inputs import Row
from stream_coupons.models.metrics import EPSILON
from stream_coupons.models.model import Model
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.states import State, check_finite, check_no_less

Z = 3.0


@dataclass(slots=True)
class Duel:
    """Decayed sums over the examples on which a model was tested beside the champion."""

    weight: float = 0.0
    weight_squared: float = 0.0
    loss: float = 0.0
    champions_loss: float = 0.0
    difference_squared: float = 0.0

    def update(self, loss: float, champions_loss: float, decay: float, weight: int = 1) -> None:
        """Add one example.

        Parameters
        ----------
        loss, champions_loss : float
            Log loss of the model and of the champion on the example, in nats.
        decay : float
            Weight of the sums so far after one example, in (0, 1].
        weight : int
            Number of examples that it stands for.
        """
        decay **= weight
        self.weight = self.weight * decay + weight
        self.weight_squared = self.weight_squared * decay * decay + weight * weight
        self.loss = self.loss * decay + weight * loss
        self.champions_loss = self.champions_loss * decay + weight * champions_loss
        self.difference_squared = self.difference_squared * decay + weight * (champions_loss - loss) ** 2

    @property
    def examples(self) -> float:
        """Effective number of examples."""
        return self.weight**2 / self.weight_squared if self.weight else 0.0

    @property
    def log_loss(self) -> float:
        """Mean log loss of the model; NaN before the first example."""
        return self.loss / self.weight if self.weight else math.nan

    def is_won(self, rules: LearningRules) -> bool:
        """Return whether the model is significantly better than the champion, over enough examples."""
        is_long_enough = self.weight and self.examples >= rules.promotion_min_examples
        return bool(is_long_enough) and self.leads_by(rules.promotion_margin_ratio)

    def leads_by(self, margin_ratio: float) -> bool:
        """Return whether the model leads by more than that part of the champion's loss and by `Z` standard errors."""
        lead = (self.champions_loss - self.loss) / self.weight
        variance = max(self.difference_squared / self.weight - lead * lead, 0.0)
        error = math.sqrt(variance * self.weight_squared) / self.weight
        return lead > margin_ratio * self.champions_loss / self.weight and lead > Z * error


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of champion, and the mean log losses of both models."""

    old: str
    new: str
    old_log_loss: float
    new_log_loss: float
    examples: float


class Contest:
    """Champion and challengers of one head.

    Parameters
    ----------
    models : mapping of str to Model
        The learning models.
    """

    def __init__(self, models: Mapping[str, Model], rules: LearningRules) -> None:
        self.models = dict(models)
        self.champion = rules.first_champion
        self.duels = {name: Duel() for name in models}
        self._rules = rules
        self._decay = 0.5 ** (1 / rules.comparison_half_life)

    def learn_one(self, row: Row, label: bool) -> tuple[float, Promotion | None]:
        """Test and train all models.

        Parameters
        ----------
        row : Row
            Features of the example.
        label : bool
            The outcome.

        Returns
        -------
        probability : float
            P(label) by the champion, before it learns the label.
        promotion : Promotion or None
            The change of champion that this example decided, if any.
        """
        probability = self.models[self.champion].learn_one(row, label)
        champions_loss = log_loss(probability, label)
        for name, model in self.models.items():
            loss = champions_loss if name == self.champion else log_loss(model.learn_one(row, label), label)
            self.duels[name].update(loss, champions_loss, self._decay, row.sample.weight)
        return probability, self._promote()

    def _promote(self) -> Promotion | None:
        if self._rules.pinned or len(self.models) == 1:
            return None
        winners = [name for name, duel in self.duels.items() if duel.is_won(self._rules)]
        if not winners:
            return None
        best = min(winners, key=lambda name: self.duels[name].log_loss)
        duel = self.duels[best]
        promotion = Promotion(
            self.champion, best, duel.champions_loss / duel.weight, duel.loss / duel.weight, duel.examples
        )
        self.champion = best
        self.duels = {name: Duel() for name in self.models}
        return promotion

    def state(self) -> State:
        """Return the comparison of each model with the champion, by name."""
        return {name: np.array(astuple(duel), np.float64) for name, duel in self.duels.items()}

    def restore(self, champion: str, state: Mapping[str, NDArray[Any]]) -> None:
        """Resume the comparisons.

        A champion that differs from the pinned model, or is no model any more, yields to the first champion of the
        rules. Then, or for a model that the state lacks, the comparison restarts.

        Parameters
        ----------
        champion : str
            Name of the model that served.
        state : mapping of str to array
            Output of `state`.

        Raises
        ------
        SnapshotMismatch
            If the state does not fit; the comparisons are then unchanged.
        """
        for name in state:
            check_finite(state, name, (5,))
        check_no_less(state, state)
        is_served = self._rules.pinned in ("", champion) and champion in self.models
        if is_served:
            self.champion = champion
            self.duels = {name: Duel(*state[name].tolist()) if name in state else Duel() for name in self.models}


def log_loss(probability: float, label: bool) -> float:
    """Return the log loss of one prediction, in nats.

    Parameters
    ----------
    probability : float
        P(label), in [0, 1].
    label : bool
        The outcome; its probability is clipped to at least 1e-6.

    Examples
    --------
    >>> round(log_loss(0.25, True), 3), round(log_loss(1.0, False), 1)
    (1.386, 13.8)
    """
    return -math.log(max(probability if label else 1.0 - probability, EPSILON))

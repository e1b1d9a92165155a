"""One head of a domain: its models side by side, level and drift."""

import logging
from dataclasses import dataclass
from typing import cast

from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.messages.learning import HeadState, TrainingExample
from stream_coupons.models.champion import Contest, Promotion
from stream_coupons.models.drift import QUICKEN, DriftDetector
from stream_coupons.models.effect import redemption, sigmoid
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.level import Level
from stream_coupons.models.linear import prior_array
from stream_coupons.models.metrics import BinaryMetrics
from stream_coupons.models.model import Model, Servable
from stream_coupons.models.registry import make_models
from stream_coupons.models.row_scorer import Served, row_log_odds
from stream_coupons.models.rules import LearningRules, ModelName
from stream_coupons.models.snapshots import COMPARISON, DRIFT, LEVEL, pack_head, unpack_model, unpack_part

log = logging.getLogger(__name__)


def take_over(model: Model, donor: Model) -> None:
    """Start an untrained model from that of another domain.

    Parameters
    ----------
    model : Model
        The untrained model.
    donor : Model
        The other one, of the same kind and the same settings.
    """
    model.restore(donor.state())
    model.quicken(TRANSFERRED)


@dataclass(frozen=True, slots=True)
class Drift:
    """A drift, as detected by one head's champion."""

    examples: int


Happening = Promotion | Drift


@dataclass(frozen=True, slots=True)
class News:
    """A promotion or drift of one head of a domain."""

    domain: str
    head: str
    happening: Happening


TELLING = 0.2
"""Change of the log-odds of its own row by which one outcome changes decisions: as the first clicks of a coupon do."""
TRANSFERRED = 0.01
"""Weight of a donor's evidence in a new domain: its weights are the centre of a prior that own examples soon outweigh
(Chelba and Acero 2006: Adaptation of maximum entropy capitalizer). So a wrong donor costs little."""


class Head:
    """Learner of P(label) for one head of one domain.

    Parameters
    ----------
    name : str
        One of `linear.ALL_HEADS`.
    key : DrawKey
        Signs the snapshots of River classifiers.
    """

    def __init__(self, name: str, rules: LearningRules, key: DrawKey = PUBLIC_KEY) -> None:
        self._name, self._key = name, key
        self.contest = Contest(make_models(name, rules, key), rules)
        self.quality = BinaryMetrics()
        self.level = Level(rules.comparison_half_life)
        self._detector = DriftDetector()
        self.is_telling = False
        """True if an outcome since the last snapshot changes decisions."""

    def learn(self, example: TrainingExample, row: Row, *, is_drawn: bool = False) -> list[Happening]:
        """Test and train all models of the head.

        Parameters
        ----------
        example : TrainingExample
            Label, and the prediction at decision time.
        row : Row
            Features.
        is_drawn : bool
            True if chance drew the coupon from all candidates: the label then counts in the level.

        Returns
        -------
        list of Promotion or Drift
            At most one of each.
        """
        self.quality.update(example.predicted, example.label, row.sample.weight)
        may_tell = example.label and not self.is_telling
        before = self.log_odds(row) if may_tell else 0.0
        probability, promotion = self.contest.learn_one(row, example.label)
        if may_tell:
            self.is_telling = abs(self.log_odds(row) - before) > TELLING
        if is_drawn:
            self._note_draw(row, probability, example.label)
        happenings: list[Happening] = []
        if self._detector.update(probability, example.label, row.sample.weight):
            for model in self.contest.models.values():
                model.quicken(QUICKEN)
            happenings.append(Drift(self.quality.examples))
        if promotion is not None:
            happenings.append(promotion)
        return happenings

    def _note_draw(self, row: Row, probability: float, label: bool) -> None:
        by_prior = sigmoid(row_log_odds(prior_array(self._name), row))
        if row.anyway is None:
            self.level.update(probability, by_prior, label, weight=row.sample.weight)
            return
        shown = row.uses * row.anyway
        self.level.update(probability, redemption(by_prior, row.anyway, row.uses), label, shown, row.sample.weight)

    @property
    def served(self) -> Served:
        """The champion's weights, shape (BIAS + 1,), or itself; the prior's while the level is off."""
        return prior_array(self._name) if self.level.is_off else self._weights

    @property
    def _weights(self) -> Served:
        champion = self.champion
        return champion.dense if isinstance(champion, KalmanFilter) else champion

    def log_odds(self, row: Row) -> float:
        """Return the champion's log-odds of the label."""
        return row_log_odds(self._weights, row)

    def learn_redemption(self, row: Row, label: bool) -> None:
        """Learn the demand from a redemption label; only models with variances do.

        Parameters
        ----------
        row : Row
            Features of the demand, with `effect` and `doubt`.
        label : bool
            True for a redemption.
        """
        for model in self.contest.models.values():
            if isinstance(model, KalmanFilter):
                model.learn_one(row, label)

    def variance(self, row: Row) -> float:
        """Return the variance of the champion's log-odds; 0 for a model without variances."""
        return self.champion.variance(row) if isinstance(self.champion, KalmanFilter) else 0.0

    @property
    def champion(self) -> Servable:
        """The model that serves; only one of `ModelName` has weights."""
        return cast(Servable, self.contest.models[self.contest.champion])

    def start_from(self, donor: "Head") -> None:
        """Start from the models and the champion of another domain's head, of the same rules.

        Comparisons, quality and drift start from zero: only this domain's own examples can test the donor's models.
        """
        for name, model in self.contest.models.items():
            take_over(model, donor.contest.models[name])
        self.contest.champion = donor.contest.champion

    def state(self) -> HeadState:
        """Return the serialized head, without its quality, for a snapshot."""
        self.is_telling = False
        parts = {str(name): model.state() for name, model in self.contest.models.items()}
        parts[COMPARISON] = self.contest.state()
        parts[DRIFT] = self._detector.state()
        parts[LEVEL] = self.level.state()
        return pack_head(self.contest.champion, parts)

    def restore(self, state: HeadState) -> None:
        """Resume from a state. A model that it lacks starts from the prior.

        So does a challenger of another package whose state does not fit, as after an upgrade of River.

        Raises
        ------
        SnapshotMismatch
            If it does not fit; the head is then unusable.
        """
        comparison = unpack_part(state, COMPARISON) or {}
        for name, model in self.contest.models.items():
            try:
                arrays = unpack_model(state, name, self._key)
                if arrays is not None:
                    model.restore(arrays)
            except SnapshotMismatch as error:
                if name in {*ModelName} or name == state.champion:
                    raise
                log.warning("%s: %s starts from the prior: %s", self._name, name, error)
                comparison.pop(name, None)
        drift, level = (unpack_part(state, part) for part in (DRIFT, LEVEL))
        if drift is None or level is None:
            raise SnapshotMismatch(f"there is no {DRIFT} or no {LEVEL}")
        self.level.restore(level)
        self._detector.restore(drift)
        self.contest.restore(state.champion, comparison)

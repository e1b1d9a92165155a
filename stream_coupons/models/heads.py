"""One head of a domain: its models side by side, calibration and drift."""

from dataclasses import dataclass
from typing import cast

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.scoring import USES_RATIO
from stream_coupons.core.errors import SnapshotMismatch
from stream_coupons.core.messages.learning import HeadState, TrainingExample
from stream_coupons.models.calibration import Calibrator
from stream_coupons.models.champion import Contest, Promotion
from stream_coupons.models.drift import QUICKEN, DriftDetector
from stream_coupons.models.effect import redemption
from stream_coupons.models.inputs import Row
from stream_coupons.models.kalman import KalmanFilter
from stream_coupons.models.level import Level
from stream_coupons.models.linear import prior_array
from stream_coupons.models.model import Model, Servable
from stream_coupons.models.quality import Quality
from stream_coupons.models.registry import make_models
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.sigmoid import sigmoid
from stream_coupons.models.snapshots import CALIBRATION, COMPARISON, DRIFT, LEVEL, pack_head, unpack_part


def take_over(model: Model, donor: Model) -> None:
    """Let a model that has learnt nothing start from one of another domain, of the same kind and the same settings."""
    model.restore(donor.state())
    model.quicken(TRANSFERRED)


@dataclass(frozen=True, slots=True)
class Drift:
    """The world changed, as far as one head's champion can tell."""

    examples: int


Happening = Promotion | Drift

TRANSFERRED = 0.01
"""What a donor's evidence counts in a new domain: its weights are the centre of a prior that own examples soon outweigh
(Chelba and Acero 2006: Adaptation of maximum entropy capitalizer). A donor that is wrong then costs little."""


class Head:
    """Learns P(label) of one head of one domain.

    Parameters
    ----------
    name : str
        One of `linear.ALL_HEADS`.
    """

    def __init__(self, name: str, rules: LearningRules) -> None:
        self._name = name
        self.contest = Contest(make_models(name, rules), rules)
        self.calibrator = Calibrator(rules.comparison_half_life)
        self.quality = Quality(rules.comparison_half_life)
        self.level = Level(rules.comparison_half_life)
        self._detector = DriftDetector()
        self._is_calibrated = rules.calibrate

    def learn(
        self, example: TrainingExample, row: Row, *, is_scored: bool = True, is_drawn: bool = False
    ) -> list[Happening]:
        """Score the stored prediction against the label, if asked, then test and train; return what happened."""
        if is_scored:
            self.quality.update(example.predicted, example.label)
        probability, promotion = self.contest.learn_one(row, example.label)
        if is_drawn:
            self._note_draw(row, probability, example.label)
        if self._is_calibrated:
            self.calibrator.learn_one(probability, example.label)
        happenings: list[Happening] = []
        if self._detector.update(probability, example.label):
            for model in self.contest.models.values():
                model.quicken(QUICKEN)
            happenings.append(Drift(self.quality.metrics.examples))
        if promotion is not None:
            happenings.append(promotion)
        return happenings

    def _note_draw(self, row: Row, probability: float, label: bool) -> None:
        indices, values = row.arrays
        by_prior = sigmoid(row.offset + float((values * prior_array(self._name)[indices]).sum()))
        if row.anyway is None:
            self.level.update(probability, by_prior, label)
            return
        self.level.update(probability, redemption(by_prior, row.anyway), label, USES_RATIO * row.anyway)

    @property
    def served(self) -> Floats:
        """The weights that decide, shape (BIAS + 1,), for reading only: the prior's while the level is off."""
        return prior_array(self._name) if self.level.is_off else self.champion.dense

    def learn_redemption(self, row: Row, label: bool) -> None:
        """Learn what a redemption says of the demand: those models do that know how far they are to be believed."""
        for model in self.contest.models.values():
            if isinstance(model, KalmanFilter):
                model.learn_one(row, label)

    def variance(self, row: Row) -> float:
        """Variance of the champion's log-odds; 0 of one that does not know it."""
        return self.champion.variance(row) if isinstance(self.champion, KalmanFilter) else 0.0

    @property
    def champion(self) -> Servable:
        """The model that serves."""
        return cast(Servable, self.contest.models[self.contest.champion])

    def start_from(self, donor: "Head") -> None:
        """Begin with what another domain's head, of the same rules, has learnt, and with its champion.

        Whether that holds here is for this domain's own examples to say: comparisons, quality and drift start anew.
        """
        for name, model in self.contest.models.items():
            take_over(model, donor.contest.models[name])
        self.contest.champion = donor.contest.champion
        self.calibrator.restore(donor.calibrator.state())

    def state(self) -> HeadState:
        """All of it as data, but for the quality."""
        parts = {name.value: model.state() for name, model in self.contest.models.items()}
        parts[COMPARISON] = self.contest.state()
        parts[CALIBRATION] = self.calibrator.state()
        parts[DRIFT] = self._detector.state()
        parts[LEVEL] = self.level.state()
        return pack_head(self.contest.champion, parts)

    def restore(self, state: HeadState) -> None:
        """Go on from a state. A model that it does not hold starts from the prior.

        Raises
        ------
        SnapshotMismatch
            If it does not fit; this head is then of no use.
        """
        for name, model in self.contest.models.items():
            arrays = unpack_part(state, name)
            if arrays is not None:
                model.restore(arrays)
        calibration, drift, level = (unpack_part(state, part) for part in (CALIBRATION, DRIFT, LEVEL))
        if calibration is None or drift is None or level is None:
            raise SnapshotMismatch(f"there is no {CALIBRATION}, no {DRIFT} or no {LEVEL}")
        self.level.restore(level)
        self._detector.restore(drift)
        if self._is_calibrated:
            self.calibrator.restore(calibration)
        self.contest.restore(state.champion, unpack_part(state, COMPARISON) or {})

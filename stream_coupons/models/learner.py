"""The models of one domain, learning: test, then train, then snapshot."""

import math

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import HeadQuality, ModelSnapshot, TrainingExample
from stream_coupons.core.features import DIMENSIONS, MAX_PLACES, NUMERIC, SCHEMA
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.scoring import HEADS
from stream_coupons.models.online import OnlineHead
from stream_coupons.models.progressive import BinaryMetrics
from stream_coupons.models.snapshots import make_snapshot, unpack_heads

MAX_NUMBER = 1000.0
"""Features are within about [0, 3]; anything beyond this is forged or broken, and would spoil the weights."""


class DomainModel:
    """Three heads and their progressive quality.

    Quality is that of the predictions made when the decisions were made, each scored when its label came: what the
    model was really worth, delays and all. It counts since this process began; weights go on from the snapshot.
    """

    def __init__(self, domain: str, learning_rate: float, l2: float) -> None:
        self.domain = domain
        self.version = 0
        self.examples = 0
        self.at = 0.0
        self.offset = -1
        self.origins: dict[str, tuple[int, int]] = {}
        self.heads = {head: OnlineHead(head, learning_rate, l2) for head in HEADS}
        self.metrics = {head: BinaryMetrics() for head in HEADS}

    def learn(self, example: TrainingExample) -> None:
        """Score the stored prediction against the label, then take a step."""
        self.metrics[example.head].update(example.predicted, example.label)
        self.heads[example.head].learn(example.numeric, example.hashed, example.label)
        self.examples += 1
        self.at = max(self.at, example.at)

    def quality(self) -> dict[str, HeadQuality]:
        """Progressive quality of every head that saw an example."""
        return {head: _quality(metrics) for head, metrics in self.metrics.items() if metrics.examples}

    def is_known(self, offset: int, origin: tuple[str, tuple[int, int]] | None) -> bool:
        """Whether this record of the log, or another copy of it, was learnt already."""
        if offset <= self.offset:
            return True
        return origin is not None and origin[1] <= self.origins.get(origin[0], (-1, -1))

    def snapshot(self) -> ModelSnapshot:
        """The next version."""
        self.version += 1
        progress = (self.examples, self.offset, self.origins, self.at)
        return make_snapshot(self.domain, self.version, self.heads, self.quality(), progress)

    def restore(self, snapshot: ModelSnapshot) -> None:
        """Go on from a snapshot.

        Raises
        ------
        SnapshotMismatch
            If it does not fit this program; the model is as it was.
        """
        for name, (weights, accumulators) in unpack_heads(snapshot).items():
            self.heads[name].restore(weights, accumulators)
        self.version = snapshot.version
        self.examples = snapshot.examples
        self.at = snapshot.at
        self.offset = snapshot.source_offset
        self.origins = dict(snapshot.origins)


def _quality(metrics: BinaryMetrics) -> HeadQuality:
    roc_auc = metrics.roc_auc
    return HeadQuality(
        examples=metrics.examples,
        positives=metrics.positives,
        log_loss=metrics.log_loss,
        roc_auc=None if math.isnan(roc_auc) else roc_auc,
        base_log_loss=metrics.base_log_loss,
    )


class Trainer:
    """The models of all domains, fed from one ordered log of examples."""

    def __init__(self, learning_rate: float, l2: float) -> None:
        self._learning_rate = learning_rate
        self._l2 = l2
        self.models: dict[str, DomainModel] = {}
        self._changed: set[str] = set()

    def restore(self, snapshots: dict[str, ModelSnapshot]) -> None:
        """Go on from the last snapshots of all domains.

        Raises
        ------
        SnapshotMismatch
        """
        for domain, snapshot in snapshots.items():
            self._model(domain).restore(snapshot)

    def _model(self, domain: str) -> DomainModel:
        if domain not in self.models:
            self.models[domain] = DomainModel(domain, self._learning_rate, self._l2)
        return self.models[domain]

    def learn(self, example: TrainingExample, offset: int, origin: tuple[str, tuple[int, int]] | None) -> bool:
        """Learn one example of the log; False if this record, or another copy of it, was learnt already.

        Raises
        ------
        BadMessage
            If its features are not of this program's feature space.
        """
        check_features(example)
        model = self._model(example.domain)
        if model.is_known(offset, origin):
            return False
        model.learn(example)
        model.offset = offset
        if origin is not None:
            model.origins[origin[0]] = origin[1]
        self._changed.add(example.domain)
        return True

    def snapshots(self) -> list[ModelSnapshot]:
        """Snapshots of the domains that learnt something since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return [self.models[domain].snapshot() for domain in changed]


def check_features(example: TrainingExample) -> None:
    """Refuse an example of another feature space.

    Raises
    ------
    BadMessage
    """
    if example.feature_schema != SCHEMA:
        raise BadMessage(Rejection.INVALID, f"feature_schema is {example.feature_schema}, expected {SCHEMA}")
    if len(example.numeric) != len(NUMERIC):
        raise BadMessage(Rejection.INVALID, f"{len(example.numeric)} numbers, expected {len(NUMERIC)}")
    if len(example.hashed) > MAX_PLACES:
        raise BadMessage(Rejection.INVALID, f"{len(example.hashed)} places, at most {MAX_PLACES}")
    if not all(abs(value) <= MAX_NUMBER for value in example.numeric):
        raise BadMessage(Rejection.INVALID, f"a number is not within {MAX_NUMBER}")
    if not all(0 <= place < DIMENSIONS for place in example.hashed):
        raise BadMessage(Rejection.INVALID, f"a hashed place is not within 0..{DIMENSIONS - 1}")

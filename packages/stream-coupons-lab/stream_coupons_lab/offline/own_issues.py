"""The engine's own issues, scored again from a recording of its topics: the features of each, by the model it names.

The features are those that the training examples kept, so an issue whose window is open has none yet. The model is the
snapshot of the issue's `model_version`. An issue of a domain without a snapshot so far names one of its source: see
`LearningRules.transfer`. The topic of snapshots is compacted, so old ones may be missing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.candidates import stored
from stream_coupons.core.decision.scoring import HEADS, ORDER, Scorer, first_of
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.features.rows import SCHEMA, FeatureRows
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.learning import ModelSnapshot, TrainingExample
from stream_coupons.core.shopper.watched import Predicted
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.models.linear import prior
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.serving import compile_snapshot
from stream_coupons_lab.offline.quality import HeadMetrics, judged, quality
from stream_coupons_lab.offline.scored import Scored

READ = (topics.ISSUES, topics.SNAPSHOTS, topics.EXAMPLES)
"""The topics that issues are scored again from."""
DECIMALS = 4
"""Decimals of the numeric features: see `features.rows.extract`."""
TOLERANCE = 1e-9
MAX_TOGETHER = 1024
"""Rows that are scored at once."""

Model = tuple[str, int]
"""Domain and version of a snapshot."""


class OwnEvaluation(Struct, frozen=True, kw_only=True):
    """Results of scoring own issues and controls again.

    Attributes
    ----------
    issues, controls : int
        Those that were recorded. A control is a decision that gave no coupon and has a label of P(order).
    reproduced, different : int
        Issues and controls whose probabilities, rounded as they are recorded, equal the recorded ones, and the others.
    without_features : int
        Issues without an example: their window is open, or nothing is learnt of them.
    without_snapshot : int
        Issues and controls whose snapshot is not in the recording.
    other_schema : int
        Issues and controls of another release, whose features this program cannot read.
    differences : list of str
        The first of the different ones, each with both probabilities.
    heads : list of HeadMetrics
        Quality of the probabilities, of the issues and controls that were scored again.
    """

    issues: int
    controls: int
    reproduced: int
    different: int
    without_features: int
    without_snapshot: int
    other_schema: int
    unreadable: int
    differences: list[str]
    heads: list[HeadMetrics]


class OwnIssues:
    """Issues, examples and snapshots; feed it records with `take`, in the order in which they were appended.

    The order matters for `learning.transfer` alone: it tells whose snapshot an issue names.

    Parameters
    ----------
    learning : LearningRules
        Of the workers.
    key : DrawKey
        Of the workers: it signs the snapshots of River classifiers.
    """

    def __init__(self, learning: LearningRules, key: DrawKey) -> None:
        self._learning, self._key = learning, key
        self._issues: dict[str, CouponIssue] = {}
        self._sources: dict[str, str] = {}
        """Domain of the model of each issue and control."""
        self._examples: defaultdict[str, dict[str, TrainingExample]] = defaultdict(dict)
        self._snapshots: dict[Model, bytes] = {}
        self._served: dict[str, int] = {}
        self.unreadable = 0
        self._decoders = {topic.name: Decoder(topic) for topic in READ}
        self._found: Counter[str] = Counter()
        self._differences: list[str] = []

    def __len__(self) -> int:
        return len(self._issues)

    def take(self, topic: str, value: bytes | None) -> None:
        """Take one record; those of other topics, and deletions, are ignored. Copies count once."""
        decode = self._decoders.get(topic)
        if decode is None or value is None:
            return
        try:
            message = decode(value, topics.BY_NAME[topic].max_message_bytes)
        except BadMessage:
            self.unreadable += 1
            return
        match message:
            case CouponIssue():
                self._issues.setdefault(message.issue_id, message)
                self._name_source(message.issue_id, message.domain)
            case ModelSnapshot():
                self._snapshots[message.domain, message.version] = value
                self._served[message.domain] = message.version
            case TrainingExample(observed=False) if message.head != "visit":
                self._examples[message.issue_id].setdefault(message.head, message)
                self._name_source(message.issue_id, message.domain)

    def _name_source(self, issue_id: str, domain: str) -> None:
        self._sources.setdefault(issue_id, first_of(domain, self._served, self._learning.transfer) or domain)

    def scored(self) -> list[Scored]:
        """Return the issues and controls that can be scored again, by the time of their decision."""
        self._found.clear()
        self._differences.clear()
        by_model: defaultdict[Model, list[TrainingExample]] = defaultdict(list)
        for example in self._with_features():
            by_model[self._model_of(example)].append(example)
        found = []
        for model, examples in by_model.items():
            scorer = self._scorer(model)
            if scorer is None:
                self._found["without_snapshot"] += len(examples)
                continue
            for begin in range(0, len(examples), MAX_TOGETHER):
                some = examples[begin : begin + MAX_TOGETHER]
                predicted = scorer.predict(_rows(some))[:, : len(HEADS)]
                found += [self._compared(one, stored(each)) for one, each in zip(some, predicted.tolist(), strict=True)]
        return sorted(found, key=lambda one: (one.occurred_at, one.issue_id))

    def _with_features(self) -> Iterator[TrainingExample]:
        """Yield an example of each issue and control, any of its labels: all have the same features."""
        for issue_id in self._issues.keys() | self._examples.keys():
            examples = self._examples.get(issue_id)
            if not examples:
                self._found["without_features"] += 1
                continue
            example = next(iter(examples.values()))
            if example.feature_schema == SCHEMA:
                yield example
            else:
                self._found["other_schema"] += 1

    def _model_of(self, example: TrainingExample) -> Model:
        source, version = self._sources[example.issue_id], example.model_version
        return (source if (source, version) in self._snapshots else example.domain), version

    def _scorer(self, model: Model) -> Scorer | None:
        if model[1] == 0:
            return prior()
        value = self._snapshots.get(model)
        if value is None:
            return None
        snapshot = self._decoders[topics.SNAPSHOTS.name](value, topics.SNAPSHOTS.max_message_bytes)
        try:
            return compile_snapshot(snapshot, self._learning, self._key)
        except SnapshotMismatch:
            return None

    def _compared(self, example: TrainingExample, predicted: Predicted) -> Scored:
        """Return an issue or a control with its probabilities and labels; count whether they are the recorded ones."""
        issue, examples = self._issues.get(example.issue_id), self._examples[example.issue_id]
        if issue is not None:
            recorded: Sequence[float] = (issue.p_click, issue.p_redeem, issue.p_order)
            again: Sequence[float] = predicted
        else:
            of_head = [(one.predicted, predicted[HEADS.index(name)]) for name, one in examples.items()]
            recorded, again = zip(*of_head, strict=True)
        is_same = np.allclose(recorded, again, rtol=0.0, atol=TOLERANCE)
        self._found["reproduced" if is_same else "different"] += 1
        if not is_same:
            self._differences.append(f"{example.issue_id}: recorded {[*recorded]}, scored again {[*again]}")
        is_control = "order" in examples
        outcome = examples.get("order" if is_control else "redeem", example)
        return Scored(
            issue_id=example.issue_id,
            user_id=example.user_id,
            arm=NO_COUPON if is_control else example.coupon_id,
            coupon_id=NO_COUPON if is_control else example.coupon_id,
            occurred_at=example.decided_at,
            propensity=outcome.propensity,
            p_click=predicted[0],
            p_redeem=predicted[1],
            p_order=predicted[ORDER],
            model_version=example.model_version,
            clicked=examples["click"].label if "click" in examples else None,
            redeemed=outcome.label,
            seen=outcome.seen,
            labelled_at=outcome.at,
        )

    def evaluation(self, scored: Sequence[Scored], differences: int = 5) -> OwnEvaluation:
        """Return the results of `scored`, with the first differences."""
        found = self._found
        controls = sum("order" in examples for examples in self._examples.values())
        return OwnEvaluation(
            issues=len(self._issues.keys() | self._examples.keys()) - controls,
            controls=controls,
            reproduced=found["reproduced"],
            different=found["different"],
            without_features=found["without_features"],
            without_snapshot=found["without_snapshot"],
            other_schema=found["other_schema"],
            unreadable=self.unreadable,
            differences=sorted(self._differences)[:differences],
            heads=[quality(one) for one in judged(scored)],
        )


def _rows(examples: Sequence[TrainingExample]) -> FeatureRows:
    """Return the features of examples as they were scored: their numbers were stored in 32 bits."""
    hashed = np.zeros((len(examples), max(len(one.hashed) for one in examples)), np.uint32)
    for row, one in enumerate(examples):
        hashed[row, : len(one.hashed)] = one.hashed
    numeric: Floats = np.array([one.numeric for one in examples], np.float64)
    return FeatureRows(numeric.round(DECIMALS), hashed)

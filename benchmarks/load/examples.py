"""A stream of training examples whose outcomes have known probabilities: the same seed gives the same bytes.

The rows are those of decisions of the workload, and the outcomes are drawn anew by a logistic model that nobody is
shown. So a model can be scored by its expected log loss, without the chance of labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from benchmarks.load.workload import BEGIN_AT, Workload
from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.decision.scoring import LABELS, Scorer
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.models.effect import sigmoids
from stream_coupons.models.metrics import EPSILON
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline

WORKLOAD = Workload(events=5_000, shoppers=500, at_a_time=200, coupons=100)
RATES = {"click": 0.08, "redeem": 0.03, "order": 0.02, "visit": 0.005}
"""Probability of an outcome of an average row, by label."""
TELLING = 10
"""Numeric features that outcomes depend on, beside the coupon."""
BLOCK = 1_000
HELD_OUT = 5
"""Every fifth row is never learnt from."""
DAYS = 60


@dataclass(frozen=True)
class Rows:
    """Decisions, the probability of each outcome, and their examples in parts that an id goes between."""

    examples: list[TrainingExample]
    probabilities: Floats
    parts: list[tuple[bytes, bytes]]
    """JSON of each row behind its id: without the outcome, and with it."""
    learnt: list[int]
    held_out: list[int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One example of the stream."""

    number: int
    row: int
    label: bool

    @property
    def example_id(self) -> str:
        """Identifies it."""
        return f"{self.number:09d}"


def decisions() -> list[TrainingExample]:
    """Return the examples of the decisions of the workload, in order."""
    decode, found = Decoder(topics.EXAMPLES), []
    plain = WORKLOAD.settings(Settings())
    policy = msgspec.structs.replace(plain.policy, holdout_ratio=0.1, exploration_ratio=0.1)

    def take(output: object) -> None:
        if output.topic == topics.EXAMPLES.name:  # type: ignore[attr-defined]
            found.append(decode(output.value))  # type: ignore[attr-defined]

    settings = msgspec.structs.replace(plain, policy=policy)
    shop, at = LocalPipeline(settings, WORKLOAD.catalogue(), on_output=take), BEGIN_AT
    for number, (_, event) in enumerate(WORKLOAD.stream()):
        at = max(at, event.occurred_at)
        if number % BLOCK == 0:
            shop.tick(at)
        shop.publish(event)
    for day in range(DAYS):
        shop.tick(at + day * DAY_S)
    return found


def rows_of(examples: list[TrainingExample], seed: int) -> Rows:
    """Return rows whose outcomes have random probabilities, and predictions that are about as good as a model's."""
    rng = np.random.default_rng(seed)
    numeric = np.array([example.numeric for example in examples])
    scaled = (numeric - numeric.mean(axis=0)) / np.maximum(numeric.std(axis=0), 0.1)
    labels = np.array([list(RATES).index(example.head) for example in examples])
    weights = rng.normal(0.0, 0.3, (len(RATES), numeric.shape[1]))
    weights[:, rng.permutation(numeric.shape[1])[TELLING:]] = 0.0
    of_coupon = {name: rng.normal(0.0, 0.5) for name in sorted({example.coupon_id for example in examples})}
    rates = np.array(list(RATES.values()))[labels]
    logits = np.log(rates / (1.0 - rates)) + np.einsum("nf,nf->n", scaled, weights[labels])
    is_issue = np.isin(labels, (0, 1))
    logits += is_issue * [of_coupon[example.coupon_id] for example in examples]
    predicted = sigmoids(logits + rng.normal(0.2, 0.7, len(logits)))
    parts = []
    for number, example in enumerate(examples):
        changed = msgspec.structs.replace(example, example_id="", predicted=round(float(predicted[number]), 6))
        parts.append((_behind_id(changed, False), _behind_id(changed, True)))
    numbers = range(len(examples))
    learnt, held_out = ([n for n in numbers if (n % HELD_OUT == 0) == is_out] for is_out in (False, True))
    return Rows(examples, sigmoids(logits), parts, learnt, held_out)


def _behind_id(example: TrainingExample, label: bool) -> bytes:
    ordered = None if example.head in ("click", "visit") else label
    value = None if ordered is None else 1_000 * ordered
    changed = msgspec.structs.replace(example, label=label, ordered=ordered, order_value_minor=value)
    return encode(changed).split(b'""', 1)[1]


def stream(rows: Rows, seed: int) -> Iterator[Drawn]:
    """Yield examples without end."""
    number = 0
    for block in range(2**62):
        rng = np.random.default_rng([seed, block])
        chosen = rng.choice(rows.learnt, BLOCK)
        labels = rng.random(BLOCK) < rows.probabilities[chosen]
        for row, label in zip(chosen.tolist(), labels.tolist(), strict=True):
            yield Drawn(number, row, label)
            number += 1


def value_of(rows: Rows, drawn: Drawn) -> bytes:
    """Return an example as the value of a record."""
    return b'{"example_id":"' + drawn.example_id.encode() + b'"' + rows.parts[drawn.row][drawn.label]


def log_losses(rows: Rows, scorer: Scorer | None) -> dict[str, float]:
    """Return the expected log loss of the held-out rows in nats, by label; without a scorer that of ground truth."""
    found = {}
    for label in RATES:
        numbers = [n for n in rows.held_out if rows.examples[n].head == label]
        truth = predicted = rows.probabilities[numbers]
        if scorer is not None:
            numeric = np.array([rows.examples[n].numeric for n in numbers])
            hashed = np.array([rows.examples[n].hashed for n in numbers], np.uint32)
            predicted = scorer.predict(FeatureRows(numeric, hashed))[:, LABELS.index(label)]
        q = np.clip(predicted, EPSILON, 1.0 - EPSILON)
        found[label] = float(-(truth * np.log(q) + (1.0 - truth) * np.log(1.0 - q)).mean())
    return found

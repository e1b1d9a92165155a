"""How well redemptions are foretold on the Complete Journey, with the real delays.

    python -m benchmarks.redemption
    python -m benchmarks.redemption --ablation

Every order, coupon and redemption of the year passes in its order through the same agents and the same learner as live.
A prediction is the one that was stored when the coupon was observed, from what was known before; a label is learnt when
the coupon's window has closed. Scored are campaigns that began after January and ended within the year; "late" are
the last four of type A and those between them (16 to 19). Beside it, in the same run and with the same labels: the base
rate so far, the rates of the coupon and of the household so far, and gradient boosting trained anew for each
campaign on all numbers of the features. Intervals are 95 % percentile intervals of a bootstrap over households.

The ablation learns the same examples again, in the order of their labels, each time without one group of features.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier

from stream_coupons.cli.terminal import fraction_progress, stdout
from stream_coupons.core.features.numeric import BUILT_IN, NUMERIC
from stream_coupons.core.features.rows import HASHED
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.models.effect import sigmoid
from stream_coupons.models.inputs import Row
from stream_coupons.models.linear import HEAD_OF
from stream_coupons.models.metrics import Interval
from stream_coupons.models.model import Servable
from stream_coupons.models.registry import make_model
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline
from stream_coupons_lab.offline.metrics import bootstrap_interval, log_loss, roc_auc

from . import completejourney
from .completejourney import CompleteJourney

SCORED_FROM = 1_485_907_200.0  # 2017-02-01
SCORED_UNTIL = 1_514_808_000.0  # 2018-01-01, noon: the midnight in New York after the year's last day is within it
LATE = (16, 17, 18, 19)
RATE_STRENGTH = 20.0
HEAD = "redeem"

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scored:
    """All observed coupons in the order of their campaigns, and what was predicted of each."""

    examples: list[TrainingExample]
    campaign: NDArray[np.int64]
    household: NDArray[np.int64]
    coupon: NDArray[np.int64]
    starts_at: Floats
    learnt_at: Floats
    label: Flags
    predicted: Floats

    @property
    def scored(self) -> Flags:
        """Those of campaigns that began and ended within the data."""
        return (self.starts_at >= SCORED_FROM) & (self.learnt_at - DAY_S <= SCORED_UNTIL)

    @property
    def late(self) -> Flags:
        """Those of the late campaigns."""
        return np.isin(self.campaign, LATE)

    def campaigns(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """For each campaign, the rows whose labels are known by its start, and its own."""
        for campaign in dict.fromkeys(self.campaign.tolist()):
            own = np.flatnonzero(self.campaign == campaign)
            yield np.flatnonzero(self.learnt_at <= self.starts_at[own[0]]), own


def run(journey: CompleteJourney, settings: Settings) -> Scored:
    """Pass the year through the agents."""
    found: dict[str, TrainingExample] = {}
    decode = Decoder(topics.EXAMPLES)

    def take(output: object) -> None:
        if output.topic == topics.EXAMPLES.name:  # type: ignore[attr-defined]
            example = decode(output.value)  # type: ignore[attr-defined]
            if example.head == HEAD:
                found[example.issue_id] = example

    pipeline = LocalPipeline(settings, journey.catalogue(), on_output=take)
    first, last, day = 1_483_228_800.0, SCORED_UNTIL, 0.0
    with fraction_progress("a year of orders and coupons", last - first) as progress:
        task = progress.task_ids[0]
        for _, message in journey.events():
            if message.occurred_at >= day + DAY_S:
                day = message.occurred_at // DAY_S * DAY_S
                pipeline.tick(day)
                progress.update(task, completed=day - first)
            pipeline.publish(message)
    pipeline.tick(day + 400 * DAY_S)
    issues = journey.issues
    examples = [found[issue_id] for issue_id in issues["issue_id"]]
    return Scored(
        examples,
        issues["campaign"].to_numpy(),
        issues["household"].to_numpy(),
        issues["coupon"].to_numpy(),
        issues["start_at"].to_numpy(),
        issues["expires_at"].to_numpy() + settings.attribution.grace_s,
        issues["label"].to_numpy(),
        np.array([example.predicted for example in examples]),
    )


def rate_so_far(scored: Scored, key: NDArray[np.int64]) -> Floats:
    """The share of positives among known labels of the same key, drawn towards the base rate so far."""
    predicted = np.empty(len(key))
    for known, own in scored.campaigns():
        base = (scored.label[known].sum() + 0.5) / (len(known) + 1.0)
        size = max(int(key.max()) + 1, 1)
        positives = np.bincount(key[known], scored.label[known], size)[key[own]]
        trials = np.bincount(key[known], minlength=size)[key[own]]
        predicted[own] = (positives + RATE_STRENGTH * base) / (trials + RATE_STRENGTH)
    return predicted


def boosted(scored: Scored) -> Floats:
    """Gradient boosting, trained anew for each campaign on the labels known by then."""
    numeric = np.array([example.numeric for example in scored.examples])
    predicted = np.full(len(numeric), 0.005)
    for known, own in scored.campaigns():
        if scored.label[known].sum() >= 10:
            model = HistGradientBoostingClassifier(
                max_iter=150,
                learning_rate=0.05,
                max_leaf_nodes=15,
                min_samples_leaf=40,
                l2_regularization=1.0,
                random_state=0,
            )
            predicted[own] = model.fit(numeric[known], scored.label[known]).predict_proba(numeric[own])[:, 1]
    return predicted


def relearnt(scored: Scored, settings: Settings, without: Sequence[str] = ()) -> tuple[Floats, float]:
    """Predictions of a head that learns the same examples without some features; and microseconds per example."""
    numbers = np.array([name not in without for name in NUMERIC])
    places = [place for place, name in enumerate(HASHED) if name in without]
    beyond = "attributes and context" in without
    rows = []
    for example in scored.examples:
        hashed = [0 if place in places else value for place, value in enumerate(example.hashed)]
        rows.append(((example.numeric * numbers).tolist(), hashed[: len(HASHED)] if beyond else hashed))
    head = cast(Servable, make_model(settings.learning.first_champion, HEAD_OF[HEAD], settings.learning))
    order = np.argsort(scored.learnt_at, kind="stable")
    predicted, learnt, spent = np.empty(len(rows)), 0, 0.0
    for known, own in scored.campaigns():
        began = time.process_time()
        for row in order[learnt : len(known)]:
            head.learn_one(Row(*rows[row]), bool(scored.label[row]))
        spent += time.process_time() - began
        learnt = len(known)
        predicted[own] = [sigmoid(head.log_odds(Row(*rows[row]))) for row in own]
    return predicted, spent / max(learnt, 1) * 1e6


GROUPS: dict[str, Sequence[str]] = {
    "nothing": (),
    "of the shopper": [one.name for one in BUILT_IN["shopper"]],
    "of the match": [one.name for subject in ("match", "history") for one in BUILT_IN[subject]],
    "time": (*(name for name in NUMERIC if "sine" in name), "hour", "clock", "weekday", "weekend", "hour*category"),
    "the shopper's own weights": tuple(name for name in HASHED if "shopper" in name),
    "crosses": tuple(name for name in HASHED if "*" in name),
    "attributes and context": ("attributes and context",),
    "all that is hashed": (*HASHED, "attributes and context"),
}


def _metrics(scored: Scored, predicted: Floats, rows: Flags) -> dict[str, Interval]:
    about = (predicted[rows], scored.label[rows], scored.household[rows])
    return {"roc_auc": bootstrap_interval(roc_auc, *about), "log_loss": bootstrap_interval(log_loss, *about)}


def _compare(scored: Scored, models: dict[str, Floats]) -> dict[str, dict[str, dict[str, Interval]]]:
    return {
        name: {"all": _metrics(scored, predicted, scored.scored), "late": _metrics(scored, predicted, scored.late)}
        for name, predicted in models.items()
    }


def _print(title: str, figures: dict[str, dict[str, dict[str, Interval]]]) -> None:
    table = Table("", "ROC AUC", "log loss", "late ROC AUC", "late log loss", title=title)
    for name, parts in figures.items():
        cells = [parts[part][metric] for part in ("all", "late") for metric in ("roc_auc", "log_loss")]
        table.add_row(name, *(f"{cell.value:.4f} [{cell.low:.3f}, {cell.high:.3f}]" for cell in cells))
    stdout().print(table)


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--households", type=int, help="a sample of this many (all of them by default)")
    parser.add_argument("--ablation", action="store_true", help="also learn again without each group of features")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    options = parser.parse_args()
    settings = Settings()
    scored = run(completejourney.load(households=options.households), settings)
    figures = _compare(
        scored,
        {
            "base rate so far": rate_so_far(scored, np.zeros(len(scored.label), np.int64)),
            "rate of the coupon": rate_so_far(scored, scored.coupon),
            "rate of the household": rate_so_far(scored, scored.household),
            "gradient boosting, anew per campaign": boosted(scored),
            "ours": scored.predicted,
        },
    )
    ablation, micros = {}, defaultdict(float)
    for name, without in GROUPS.items() if options.ablation else ():
        predicted, micros[name] = relearnt(scored, settings, without)
        ablation |= _compare(scored, {f"without {name} ({micros[name]:.0f} us an example)": predicted})
    if options.json:
        plain = {
            table: {
                name: {part: {m: [i.value, i.low, i.high] for m, i in of.items()} for part, of in parts.items()}
                for name, parts in rows.items()
            }
            for table, rows in (("models", figures), ("ablation", ablation))
        }
        stdout().print_json(json.dumps({"rows": len(scored.label), "positives": int(scored.label.sum()), **plain}))
        return
    counted = (
        scored.scored.sum(),
        scored.label[scored.scored].sum(),
        scored.late.sum(),
        scored.label[scored.late].sum(),
    )
    stdout().print("{:,} rows scored, {:,} of them redeemed; late {:,} and {:,}".format(*map(int, counted)))
    _print("redemptions on the Complete Journey", figures)
    if ablation:
        _print("the same examples learnt without ...", ablation)


if __name__ == "__main__":
    main()

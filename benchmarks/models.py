"""What each model is worth on recorded examples, and what it costs: the ablation of models.

`python -m benchmarks.models EXTRACT.npz [--late 16 17 18 19] [--only adagrad ftrl]`. The extract holds arrays of
one length: `numeric` and `hashed` (features as training-examples have them), `label`, `campaign`, `start` and `expires`
(seconds), `user`. A row is predicted when its campaign starts and learnt a day after it has expired, as attribution
does, so nothing is known that could not be. Figures are those of the late campaigns, with 95 % intervals from a
bootstrap over users; `against` is the difference in log loss from the first model, paired, by the same bootstrap.

Microseconds are of one process's CPU for predicting and learning one example, its encoding included each time; those of
a sampled model are per example that it sees.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_coupons.cli import terminal
from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.models.inputs import Row
from stream_coupons.models.progressive import EPSILON, bootstrap_interval, roc_auc
from stream_coupons.models.registry import make_model
from stream_coupons.models.rules import LearningRules, ModelName

GRACE_S = 86400.0
HEAD = "redeem"


@dataclass(frozen=True, slots=True)
class Extract:
    """The arrays, and in which order rows are predicted and learnt."""

    numeric: Floats
    hashed: NDArray[np.uint32]
    label: NDArray[np.bool_]
    campaign: NDArray[np.int64]
    start: Floats
    expires: Floats
    user: NDArray[np.int64]

    def steps(self, seed: int = 0) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """(rows to learn, rows to predict then) from one start of a campaign to the next.

        Rows that close at one moment are learnt in an order drawn by seed.
        """
        closes = self.expires + GRACE_S
        order = np.lexsort((np.random.default_rng(seed).random(len(closes)), closes))
        done = 0
        for start in np.unique(self.start):
            upto = int(np.searchsorted(closes[order], start, side="right"))
            yield order[done:upto], np.flatnonzero(self.start == start)
            done = upto


def load(path: Path) -> Extract:
    """Read an extract."""
    with np.load(path) as arrays:
        extract = Extract(**{name: arrays[name] for name in Extract.__slots__})
    if extract.numeric.shape[1] != len(NUMERIC):
        raise SystemExit(f"{path}: {extract.numeric.shape[1]} numbers a row, expected {len(NUMERIC)}: extract it anew")
    return extract


def progressive(extract: Extract, name: ModelName, rules: LearningRules) -> tuple[Floats, float]:
    """(what a model predicts of every row when its campaign starts, microseconds for each example that it learnt)."""
    model, predicted = make_model(name, HEAD, rules), np.zeros(len(extract.label))
    learnt, spent_s = 0, 0.0
    with terminal.fraction_progress(f"learning {name}", len(extract.label)) as progress:
        for to_learn, to_predict in extract.steps():
            began = time.process_time()
            for n in to_learn.tolist():
                model.learn_one(Row(extract.numeric[n].tolist(), extract.hashed[n].tolist()), bool(extract.label[n]))
            learnt += len(to_learn)
            spent_s += time.process_time() - began
            for n in to_predict.tolist():
                predicted[n] = model.probability(Row(extract.numeric[n], extract.hashed[n]))
            progress.advance(progress.task_ids[0], len(to_learn))
    return predicted, spent_s / max(learnt, 1) * 1e6


def log_losses(predicted: Floats, label: NDArray[np.bool_]) -> Floats:
    """Of each row."""
    losses: Floats = -np.log(np.clip(np.where(label, predicted, 1 - predicted), EPSILON, 1.0))
    return losses


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extract", type=Path)
    parser.add_argument("--late", type=int, nargs="+", default=[16, 17, 18, 19], help="campaigns to report on")
    parser.add_argument("--only", type=ModelName, nargs="+", default=list(ModelName), help="models to try")
    given = parser.parse_args()
    extract = load(given.extract)
    late = np.isin(extract.campaign, given.late)
    label, user = extract.label[late], extract.user[late]
    print(f"{len(extract.label)} rows, {late.sum()} late ones with {label.sum()} positives")
    print(f"{'model':10s} {'log loss':>23s} {'ROC AUC':>23s} {'against ' + given.only[0]:>26s} {'us':>7s}")
    first: Floats | None = None
    for name in given.only:
        predicted, cost_us = progressive(extract, name, LearningRules())
        losses = log_losses(predicted[late], label)
        first = losses if first is None else first
        loss = bootstrap_interval(lambda loss, _: float(loss.mean()), losses, label, user)
        area = bootstrap_interval(roc_auc, predicted[late], label, user)
        gain = bootstrap_interval(lambda difference, _: float(difference.mean()), losses - first, label, user)
        print(
            f"{name:10s} {loss.value:.4f} ({loss.low:.4f}, {loss.high:.4f}) {area.value:.4f} ({area.low:.4f},"
            f" {area.high:.4f}) {gain.value:+.5f} ({gain.low:+.5f}, {gain.high:+.5f}) {cost_us:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

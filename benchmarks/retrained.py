"""The baseline for learning online: the same linear model and features, fitted in a batch once a day.

Each night all labels that are known by then are fitted anew (scikit-learn's logistic regression, L2), with as much
regularisation as does best on the last fifth of them by time; the day after is served by that. A head with too few
labels is served by the prior.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.catalogue.viewed_prices import NOTHING_VIEWED
from stream_coupons.core.decision.incremental import STRUCTURAL
from stream_coupons.core.decision.scoring import HEADS, Scorer
from stream_coupons.core.features.rows import FeatureRows
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.models.effect import sigmoids
from stream_coupons.models.encoding import BIAS
from stream_coupons.models.inputs import Row
from stream_coupons.models.linear import HEAD_OF, LinearScorer, prior, prior_array
from stream_coupons_lab.offline.metrics import log_loss

PENALTIES = (0.01, 0.1, 1.0)
"""Inverse strengths that are tried."""
HELD_OUT = 0.2
LEAST = 10
"""Positive examples of a head below which it is not fitted."""


class RetrainedDaily:
    """A scorer that is as old as the last night.

    Parameters
    ----------
    days_kept : int, optional
        Only the labels of the last days are fitted; by default all.
    """

    def __init__(self, days_kept: int | None = None) -> None:
        self._days_kept = days_kept
        self.viewed_prices, self.incremental = NOTHING_VIEWED, STRUCTURAL
        self._serving: Scorer = prior()
        self._examples: dict[str, list[TrainingExample]] = {head: [] for head in HEADS}
        self._weights = np.stack([prior_array(HEAD_OF[head]) for head in HEADS])

    @property
    def version(self) -> int:
        """The day."""
        return self._serving.version

    def predict(self, rows: FeatureRows) -> Floats:
        """Return the predictions of last night's model, which has no P(visit)."""
        return self._serving.predict(rows)[:, : len(HEADS)]

    def contributions(
        self, rows: FeatureRows, row: int, head: int, names: Sequence[str] = ()
    ) -> list[tuple[str, float, float]]:
        """Return the contributions of last night's model."""
        return self._serving.contributions(rows, row, head, names)

    def hear(self, message: Struct) -> None:
        """Keep what is a training example."""
        if isinstance(message, TrainingExample) and message.is_lesson:
            self._examples[message.head].append(message)

    def learn(self) -> None:
        """Wait for the night."""

    def retrain(self, day: int) -> None:
        """It is night."""
        for n, head in enumerate(HEADS):
            examples = self._examples[head]
            if self._days_kept is not None and examples:
                since = examples[-1].at - self._days_kept * DAY_S
                examples = self._examples[head] = [each for each in examples if each.at > since]
            if sum(each.label for each in examples) >= LEAST:
                self._weights[n] = _fit(examples)
        self._serving = _Plain(day, self._weights.copy())


class _Plain(LinearScorer):
    """A head of its own for each of `HEADS`."""

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities, shape (n, 3)."""
        return sigmoids(self.log_odds(rows))


def _fit(examples: Sequence[TrainingExample]) -> Floats:
    """Weights by index, shape (BIAS + 1,)."""
    rows = [Row(each.numeric, each.hashed).arrays for each in examples]
    columns = np.concatenate([indices for indices, _ in rows])
    values = np.concatenate([values for _, values in rows])
    ends = np.cumsum([0, *(len(indices) for indices, _ in rows)])
    used, columns = np.unique(columns, return_inverse=True)
    x = csr_matrix((values, columns, ends), shape=(len(rows), len(used)))
    y = np.array([each.label for each in examples])
    cut = int(len(y) * (1 - HELD_OUT))
    losses = []
    for penalty in PENALTIES:
        tried = _model(penalty).fit(x[:cut], y[:cut])
        losses.append(log_loss(tried.predict_proba(x[cut:])[:, 1].tolist(), y[cut:].tolist()))
    weights = np.zeros(BIAS + 1)
    weights[used] = _model(PENALTIES[int(np.argmin(losses))]).fit(x, y).coef_[0]
    return weights


def _model(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, fit_intercept=False, solver="liblinear")

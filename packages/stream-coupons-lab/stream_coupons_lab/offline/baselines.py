"""Plain models beside ours on the same issues: a River logistic regression, and boosted trees.

Both see the raw columns of an issue only: its context, the arm, the attributes and terms of its coupon. Both are tested
before they learn, with the same delays: an example is learnt when the window of its issue has closed, as ours is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import compose, linear_model, preprocessing
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from threadpoolctl import threadpool_limits

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.models.metrics import Interval
from stream_coupons_lab.offline.metrics import log_loss, loss_gain, roc_auc
from stream_coupons_lab.offline.quality import LabelledIssues

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]
RawRow = Mapping[str, str | float | bool | None]

OURS = "stream_coupons"
RIVER = "River logistic regression"
TREES = "boosted trees, refitted"
FIRST_FIT = 200
"""Labels that the trees are first fitted on; until then they predict the rate of the labels so far."""
GROWTH = 1.5
"""They are fitted anew whenever the labels have grown by this factor."""
MAX_COLUMNS = 200
"""Columns of the trees, those that most issues have."""


class Beside(Struct, frozen=True, kw_only=True):
    """One model on the issues of one head; `lead` is its log loss less ours, 95 %: above 0, ours is better."""

    model: str
    head: str
    examples: int
    log_loss: float
    roc_auc: float
    lead: Interval

    @property
    def is_other(self) -> bool:
        """True of a model that is not ours."""
        return self.model != OURS


def compare(
    series: Sequence[LabelledIssues],
    catalogue: Mapping[str, Coupon],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Beside]:
    """Return ours and the baselines, head by head; heads without both outcomes are left out.

    Parameters
    ----------
    catalogue : mapping of str to Coupon
        By coupon_id.
    on_progress : callable, optional
        Called with the models that are done and their number.
    """
    judged = [one for one in series if 0 < int(one.labels.sum()) < len(one)]
    found: list[Beside] = []
    for number, one in enumerate(judged):
        features = [
            raw_features(_row(issue.arm, issue.context, catalogue.get(issue.coupon_id))) for issue in one.issues
        ]
        at = np.array([issue.occurred_at for issue in one.issues])
        known_at = np.array([issue.labelled_at for issue in one.issues], np.float64)
        predictions = {OURS: one.probabilities}
        for step, (name, predict) in enumerate(MODELS.items(), start=1):
            predictions[name] = predict(features, at, known_at, one.labels)
            if on_progress is not None:
                on_progress(number * len(MODELS) + step, len(judged) * len(MODELS))
        found += [_beside(name, predicted, one) for name, predicted in predictions.items()]
    return found


def raw_features(row: RawRow) -> dict[str, float]:
    """Return numbers as they are, and 1 for each text that a column has; what is missing is left out.

    Examples
    --------
    >>> raw_features({"age": 31, "is_new": True, "city": "Bonn", "spend": None})
    {'age': 31.0, 'is_new': 1.0, 'city=Bonn': 1.0}
    """
    features: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, str):
            features[f"{name}={value}"] = 1.0
        elif value is not None:
            features[name] = float(value)
    return features


def online_logistic() -> Any:
    """Return River's logistic regression on scaled columns with its default settings, a `river.base.Classifier`."""
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())


def _row(arm: str, context: RawRow, coupon: Coupon | None) -> RawRow:
    row: dict[str, str | float | bool | None] = dict(context)
    if arm != NO_COUPON:
        row["arm"] = arm
    if coupon is not None:
        row |= {f"coupon {name}": value for name, value in coupon.attributes.items()}
        row |= {"coupon discount_percent": coupon.discount_percent, "coupon discount_minor": coupon.discount_minor}
    return row


def _known(at: Floats, known_at: Floats) -> tuple[Rows, Rows]:
    """Return the rows in the order in which their labels came, and how many labels were known at each issue."""
    order = np.argsort(known_at, kind="stable")
    return order, np.searchsorted(known_at[order], at, side="left")


def _progressive(features: Sequence[dict[str, float]], at: Floats, known_at: Floats, labels: Bools) -> Floats:
    model, predicted, learnt = online_logistic(), np.zeros(len(features)), 0
    order, known = _known(at, known_at)
    for row in np.argsort(at, kind="stable").tolist():
        for label in order[learnt : known[row]].tolist():
            model.learn_one(features[label], bool(labels[label]))
        learnt = known[row]
        predicted[row] = model.predict_proba_one(features[row]).get(True, 0.5)
    return predicted


def _refitted(features: Sequence[dict[str, float]], at: Floats, known_at: Floats, labels: Bools) -> Floats:
    """Trees fitted on growing prefixes of the labels; each predicts until the next one is fitted."""
    table = _columns(features)
    order, known = _known(at, known_at)
    positives = np.append(0, np.cumsum(labels[order]))
    predicted: Floats = (positives[known] + 0.5) / (known + 1)
    size = FIRST_FIT
    while (later := known >= size).any():
        learnt = order[:size]
        if 0 < positives[size] < size:
            with threadpool_limits(1):  # so small tables are slower by many threads than by one
                model = HistGradientBoostingClassifier(random_state=0).fit(table[learnt], labels[learnt])
                predicted[later] = model.predict_proba(table[later])[:, 1]
        size = int(size * GROWTH)
    return predicted


MODELS = {RIVER: _progressive, TREES: _refitted}


def _columns(features: Sequence[dict[str, float]]) -> Floats:
    vectorizer = DictVectorizer(sparse=True)
    sparse = vectorizer.fit_transform(features)
    often = np.argsort(-np.asarray((sparse != 0).sum(axis=0)).ravel(), kind="stable")[:MAX_COLUMNS]
    columns: Floats = np.asarray(sparse[:, np.sort(often)].todense(), np.float64)
    return columns


def _beside(name: str, predicted: Floats, one: LabelledIssues) -> Beside:
    nothing = Interval(0.0, 0.0, 0.0)
    return Beside(
        model=name,
        head=one.head,
        examples=len(one),
        log_loss=log_loss(predicted, one.labels),
        roc_auc=roc_auc(predicted, one.labels),
        lead=nothing if name == OURS else loss_gain(predicted, one.probabilities, one.labels, one.shoppers),
    )

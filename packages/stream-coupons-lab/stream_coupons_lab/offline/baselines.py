"""Plain models beside ours on the same issues: a River logistic regression, and boosted trees.

Both see the raw columns of an issue only: its context, the arm, the attributes and terms of its coupon. Both are tested
before they learn, with the same delays: an example is learnt when the window of its issue has closed, as ours is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from stream_coupons_lab.offline.metrics import bootstrap_interval, log_loss, roc_auc
from stream_coupons_lab.offline.quality import LabelledIssues

Floats = NDArray[np.float64]
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


def _moments(at: Floats, known_at: Floats) -> Iterator[tuple[bool, int]]:
    """(is a prediction, row) in order of time; what is known at the moment of an issue is learnt before it."""
    order = np.argsort(at, kind="stable").tolist()
    labels = np.argsort(known_at, kind="stable").tolist()
    learnt = 0
    for row in order:
        while learnt < len(labels) and known_at[labels[learnt]] < at[row]:
            yield False, labels[learnt]
            learnt += 1
        yield True, row


def _progressive(
    features: Sequence[dict[str, float]], at: Floats, known_at: Floats, labels: NDArray[np.bool_]
) -> Floats:
    model, predicted = online_logistic(), np.zeros(len(features))
    for is_prediction, row in _moments(at, known_at):
        if is_prediction:
            predicted[row] = model.predict_proba_one(features[row]).get(True, 0.5)
        else:
            model.learn_one(features[row], bool(labels[row]))
    return predicted


def _refitted(features: Sequence[dict[str, float]], at: Floats, known_at: Floats, labels: NDArray[np.bool_]) -> Floats:
    """Trees fitted on growing prefixes; predictions between two fits are made together."""
    table = _columns(features)
    predicted = np.zeros(len(features))
    learnt: list[int] = []
    waiting: list[int] = []
    model: HistGradientBoostingClassifier | None = None
    next_fit = FIRST_FIT

    def predict() -> None:
        if waiting and model is not None:
            with threadpool_limits(1):
                predicted[waiting] = model.predict_proba(table[waiting])[:, 1]
        waiting.clear()

    for is_prediction, row in _moments(at, known_at):
        if not is_prediction:
            learnt.append(row)
        elif len(learnt) >= next_fit and 0 < labels[learnt].sum() < len(learnt):
            predict()
            with threadpool_limits(1):  # so small tables are slower by many threads than by one
                model = HistGradientBoostingClassifier(random_state=0).fit(table[learnt], labels[learnt])
            next_fit = int(len(learnt) * GROWTH)
            waiting.append(row)
        elif model is not None:
            waiting.append(row)
        else:
            predicted[row] = (labels[learnt].sum() + 0.5) / (len(learnt) + 1)
    predict()
    return predicted


MODELS = {RIVER: _progressive, TREES: _refitted}


def _columns(features: Sequence[dict[str, float]]) -> Floats:
    vectorizer = DictVectorizer(sparse=True)
    sparse = vectorizer.fit_transform(features)
    often = np.argsort(-np.asarray((sparse != 0).sum(axis=0)).ravel(), kind="stable")[:MAX_COLUMNS]
    columns: Floats = np.asarray(sparse[:, np.sort(often)].todense(), np.float64)
    return columns


def _beside(name: str, predicted: Floats, one: LabelledIssues) -> Beside:
    pairs = np.column_stack([one.probabilities, predicted])

    def lead(both: Floats, labels: Floats) -> float:
        return log_loss(both[:, 1], labels) - log_loss(both[:, 0], labels)

    nothing = Interval(0.0, 0.0, 0.0)
    shoppers = [issue.user_id for issue in one.issues]
    return Beside(
        model=name,
        head=one.head,
        examples=len(one),
        log_loss=log_loss(predicted, one.labels),
        roc_auc=roc_auc(predicted, one.labels),
        lead=nothing if name == OURS else bootstrap_interval(lead, pairs, one.labels, shoppers),
    )

"""The quality of the probabilities of a log's issues, each made before its label was known.

References
----------
.. [1] Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference. JASA 22(158).
.. [2] Lipton, Z. C., Elkan, C., and Naryanaswamy, B. (2014). Optimal thresholding of classifiers to maximize F1
       measure. ECML PKDD: the best threshold is half the best F1, so it depends on the base rate.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.models.metrics import EPSILON, MAX_LOGIT, Interval
from stream_coupons_lab.offline.metrics import bootstrap_interval, log_loss, loss_gain, roc_auc
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.reports.axes import compared, format_interval, format_value

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

THRESHOLD_BINS = 1000
THRESHOLD_RATIO = 0.01
FEW_LABELS = 10
"""Labels of either kind below which nothing is concluded."""
UNDEFINED = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class LabelledIssues:
    """The issues of one head whose labels are known, in the order in which these came."""

    head: str
    issues: list[Scored]
    probabilities: Floats
    labels: Bools
    unseen: int = 0
    """Number of issues with a label that are left out, because their coupon was not seen."""

    def __len__(self) -> int:
        return len(self.issues)

    @property
    def shoppers(self) -> list[str]:
        """Shopper of each issue."""
        return [issue.user_id for issue in self.issues]

    def at(self, rows: Sequence[int] | NDArray[np.intp]) -> "LabelledIssues":
        """Some of them."""
        places = np.asarray(rows, np.intp)
        issues = [self.issues[row] for row in places.tolist()]
        return LabelledIssues(self.head, issues, self.probabilities[places], self.labels[places], self.unseen)

    def known_before(self, moment: float) -> "LabelledIssues":
        """Return the issues whose outcome was known before a moment."""
        return self.at([row for row, issue in enumerate(self.issues) if (issue.labelled_at or 0.0) < moment])

    def issued_since(self, moment: float) -> "LabelledIssues":
        """Return the issues from a moment on."""
        return self.at([row for row, issue in enumerate(self.issues) if issue.occurred_at >= moment])

    def require_both(self, where: str) -> None:
        """Require positive and negative outcomes.

        Raises
        ------
        BadConfig
            If either is missing.
        """
        positives = int(self.labels.sum())
        if not 0 < positives < len(self):
            raise BadConfig(
                f"{where}: {positives} of {len(self)} known outcomes are positive, expected some but not all"
            )


class Working(Struct, frozen=True, kw_only=True):
    """Decisions at the working threshold; `threshold` is the last one."""

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float


class HeadMetrics(Struct, frozen=True, kw_only=True):
    """The metrics of one head; what is undefined is NaN, null in JSON.

    `issues` says which ones they are of: all with a label, or those that were seen. `unseen` were left out: that
    nothing came of them says nothing of P(click | seen) and P(redeem | seen). `over_base` is the log loss of the base
    rate less that of the model, `calibration_ratio` predicted over observed.
    """

    head: str
    issues: Literal["all", "seen"]
    unseen: int
    examples: int
    positives: int
    log_loss: Interval
    base_log_loss: float
    over_base: Interval
    roc_auc: Interval
    average_precision: float
    brier: float
    calibration_ratio: Interval
    working: Working

    def conclusion(self, other: str = "the base rate", lead: Interval | None = None) -> str:
        """Return sentences on the log loss beside that of another prediction, and on the calibration.

        Parameters
        ----------
        other : str
            Name of the other prediction.
        lead : Interval, optional
            Its log loss less ours; that of the base rate by default.
        """
        rarer = min(self.positives, self.examples - self.positives)
        if rarer < FEW_LABELS:
            return (
                f"No conclusion on P({self.head}): {self.positives:,} of {self.examples:,} labels are positive, "
                f"expected at least {FEW_LABELS} of either kind."
            )
        (size, side), ratio = compared(lead or self.over_base), self.calibration_ratio
        verdict = f"{'better' if side == 'more' else 'worse'} than {other} by {size} in log loss: significant at 95 %"
        if not side:
            verdict = f"not distinguishable from {other} at 95 %: its log loss is {size} lower"
        level = "too much" if ratio.low > 1 else "too little" if ratio.high < 1 else "calibrated within chance"
        times = f"{format_value(ratio.value)} ({format_interval(ratio.low, ratio.high)})"
        return f"P({self.head}) is {verdict}. It predicts {times} times what was observed: {level}."


def judged(scored: Sequence[Scored], heads: Collection[str] = HEADS) -> list[LabelledIssues]:
    """The issues with labels, head by head: `order` learns from those that gave nothing, the others from coupons.

    Coupons that were never seen are left out, as they are in learning. So are the issues of a head that is not among
    `heads`: it has learnt nothing.
    """
    known = sorted(
        (issue for issue in scored if issue.labelled_at is not None), key=lambda issue: issue.labelled_at or 0.0
    )
    coupons = [issue for issue in known if issue.coupon_id != NO_COUPON]
    given = [issue for issue in coupons if issue.seen is not False]
    unseen = len(coupons) - len(given)
    withheld = [issue for issue in known if issue.coupon_id == NO_COUPON]
    columns = (
        (given, [issue.p_click for issue in given], [issue.clicked for issue in given], unseen),
        (given, [issue.p_redeem for issue in given], [issue.redeemed for issue in given], unseen),
        (withheld, [issue.p_order for issue in withheld], [issue.redeemed for issue in withheld], 0),
    )
    return [
        LabelledIssues(head, issues, np.array(probabilities, np.float64), np.array(labels, np.bool_), unseen)
        if head in heads
        else LabelledIssues(head, [], np.empty(0), np.empty(0, np.bool_))
        for head, (issues, probabilities, labels, unseen) in zip(HEADS, columns, strict=True)
    ]


def quality(series: LabelledIssues) -> HeadMetrics:
    """All metrics of one head.

    The intervals of log loss and ROC AUC are percentile bootstraps over shoppers, 95%.
    """
    positives = int(series.labels.sum())
    base = np.full(len(series), _share(positives, len(series)))
    area = roc_auc(series.probabilities, series.labels)
    of_series = series.probabilities, series.labels, series.shoppers
    loss_interval = bootstrap_interval(log_loss, *of_series) if len(series) else UNDEFINED
    over_base = area_interval = ratio = UNDEFINED
    if positives:
        ratio = bootstrap_interval(lambda p, labels: _share(float(p.sum()), float(labels.sum())), *of_series)
    if not math.isnan(area):
        over_base = loss_gain(base, *of_series)
        area_interval = bootstrap_interval(roc_auc, *of_series)
        if area_interval.low == area_interval.high:  # of a few issues, which rank the same however they are drawn
            area_interval = Interval(area, math.nan, math.nan)
    return HeadMetrics(
        head=series.head,
        issues="seen" if series.unseen else "all",
        unseen=series.unseen,
        examples=len(series),
        positives=positives,
        log_loss=loss_interval,
        base_log_loss=log_loss(base, series.labels),
        over_base=over_base,
        roc_auc=area_interval,
        average_precision=_average_precision(series),
        brier=_mean((series.probabilities - series.labels) ** 2),
        calibration_ratio=ratio,
        working=working_point(series),
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _average_precision(series: LabelledIssues) -> float:
    return float(average_precision_score(series.labels, series.probabilities)) if series.labels.any() else math.nan


def working_point(series: LabelledIssues) -> Working:
    """Accuracy, precision, recall and F1 with a threshold that knows nothing of what it decides.

    Each issue is called positive or not by the threshold that has the greatest F1 on the labels known before it was
    issued [2]_; 0.5 until one of them is positive. Thresholds lie on a grid of the logit, and are chosen
    anew whenever the labels have grown by `THRESHOLD_RATIO`.
    """
    clipped = np.clip(series.probabilities, EPSILON, 1 - EPSILON)
    scale = THRESHOLD_BINS / (2 * MAX_LOGIT)
    places = np.minimum((np.log(clipped / (1 - clipped)) + MAX_LOGIT) * scale, THRESHOLD_BINS - 1).astype(np.intp)
    # By label: how many predictions lie in each bin. The series is in the order in which labels came.
    counts = np.zeros((2, THRESHOLD_BINS))
    best = int(MAX_LOGIT * scale)
    learnt = chosen_at = 0
    called = np.zeros(len(series), np.bool_)
    for row in np.argsort([issue.occurred_at for issue in series.issues], kind="stable").tolist():
        now = series.issues[row].occurred_at
        while (series.issues[learnt].labelled_at or 0.0) < now:
            counts[int(series.labels[learnt]), places[learnt]] += 1
            learnt += 1
        if learnt - chosen_at > THRESHOLD_RATIO * learnt and counts[1].any():
            best, chosen_at = _best_bin(counts), learnt
        called[row] = places[row] >= best
    true, false = int((called & series.labels).sum()), int((called & ~series.labels).sum())
    positives = int(series.labels.sum())
    return Working(
        threshold=1 / (1 + math.exp(MAX_LOGIT - best / scale)),
        accuracy=float((called == series.labels).mean()) if len(series) else math.nan,
        precision=_share(true, true + false),
        recall=_share(true, positives),
        f1=_share(2 * true, true + false + positives),
    )


def _best_bin(counts: Floats) -> int:
    """The bin from which on everything is called positive for the greatest F1; of equal ones the highest."""
    false, true = np.cumsum(counts[:, ::-1], axis=1)
    f1 = 2 * true / np.maximum(true + false + counts[1].sum(), 1.0)
    return int(counts.shape[1] - 1 - np.argmax(f1))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def rate_interval(positives: int, examples: int, confidence: float = 0.95) -> Interval:
    """A rate with Wilson's score interval [1]_; NaN without examples.

    >>> rate_interval(1, 10)
    Interval(value=0.1, low=0.0178762..., high=0.4041500...)
    """
    if not examples:
        return Interval(math.nan, math.nan, math.nan)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = positives / examples, z * z / examples
    middle = (rate + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(rate * (1 - rate) / examples + weight / (4 * examples))
    return Interval(rate, min(max(middle - reach, 0.0), rate), max(min(middle + reach, 1.0), rate))


class Slice(Struct, frozen=True, kw_only=True):
    """One head on the issues that share a value: of a coupon, of the context.

    `observed` has Wilson's 95% interval.
    """

    by: str
    value: str
    head: str
    examples: int
    positives: int
    observed: Interval
    predicted: float
    log_loss: float
    roc_auc: float


def slice_of(series: LabelledIssues, by: str, value: str) -> Slice:
    """The metrics of some issues of one head."""
    positives = int(series.labels.sum())
    return Slice(
        by=by,
        value=value,
        head=series.head,
        examples=len(series),
        positives=positives,
        observed=rate_interval(positives, len(series)),
        predicted=float(series.probabilities.mean()) if len(series) else math.nan,
        log_loss=log_loss(series.probabilities, series.labels),
        roc_auc=roc_auc(series.probabilities, series.labels),
    )

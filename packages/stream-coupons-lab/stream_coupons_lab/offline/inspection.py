"""The models at the end of a log: which one serves each head, what changed, and which features weigh most."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from msgspec import Struct

from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.models.champion import Promotion
from stream_coupons.models.linear import HEAD_OF
from stream_coupons_lab.offline.progressive_run import ProgressiveRun
from stream_coupons_lab.offline.scored import Scored

WEIGHED_ISSUES = 300
"""The latest issues of each head that features are weighed on."""
VALUE = re.compile(r"=[^*]*")


class ServedModel(Struct, frozen=True, kw_only=True):
    """A model of one head that learnt; `log_loss` is of its latest examples, null before the first."""

    domain: str
    head: str
    model: str
    is_served: bool
    examples: int
    log_loss: float


class Change(Struct, frozen=True, kw_only=True):
    """A change during the log: `drift`, or `promotion` of another model."""

    at: float
    domain: str
    head: str
    kind: str
    detail: str


class FeatureWeight(Struct, frozen=True, kw_only=True):
    """Part of a head's log-odds that a feature adds: mean magnitude and mean over the latest issues."""

    head: str
    feature: str
    magnitude: float
    mean: float


def served_models(running: ProgressiveRun) -> list[ServedModel]:
    """Return every model that learnt, by domain and head."""
    found = []
    for domain, model in sorted(running.models.items()):
        for name in HEADS:
            head = model.heads[HEAD_OF[name]]
            if not head.quality.examples:
                continue
            found += [
                ServedModel(
                    domain=domain,
                    head=name,
                    model=str(kind),
                    is_served=kind == head.contest.champion,
                    examples=head.quality.examples,
                    log_loss=duel.log_loss,
                )
                for kind, duel in head.contest.duels.items()
            ]
    return found


def changes(running: ProgressiveRun) -> list[Change]:
    """Return promotions and drifts, in order of time."""
    return [
        Change(at=at, domain=news.domain, head=news.head, kind=kind, detail=detail)
        for at, news in running.news
        for kind, detail in [_told(news.happening)]
    ]


def _told(happening: object) -> tuple[str, str]:
    if isinstance(happening, Promotion):
        losses = f"log loss {happening.new_log_loss:.4f} against {happening.old_log_loss:.4f}"
        return "promotion", f"{happening.new} in place of {happening.old}, {losses}"
    return "drift", "the loss is above what the model expects: evidence so far counts less from here on"


def feature_weights(running: ProgressiveRun, scored: Sequence[Scored]) -> list[FeatureWeight]:
    """Return the features of each head, the weightiest first.

    Values of attributes and context are taken together: `weather=rain` and `weather=sun` are `weather`.
    """
    found: list[FeatureWeight] = []
    for head in HEADS:
        is_without = head == "order"
        issues = [one for one in scored if (one.coupon_id == NO_COUPON) is is_without][-WEIGHED_ISSUES:]
        sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for issue in issues:
            for feature, added in _by_feature(running.contributions(issue, head)):
                sums[feature][0] += abs(added)
                sums[feature][1] += added
        weights = [
            FeatureWeight(head=head, feature=feature, magnitude=size / len(issues), mean=total / len(issues))
            for feature, (size, total) in sums.items()
        ]
        found += sorted(weights, key=lambda weight: (-weight.magnitude, weight.feature))
    return found


def _by_feature(contributions: Sequence[tuple[str, float, float]]) -> Iterator[tuple[str, float]]:
    sums: defaultdict[str, float] = defaultdict(float)
    for name, _, added in contributions:
        sums[VALUE.sub("", name)] += added
    yield from sums.items()

"""Models: version, age, quality by head, level, drift, brake, and what weighs most."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_coupons.core.errors import BadMessage, SnapshotMismatch
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.core.messages.learning import HeadQuality, ModelSnapshot
from stream_coupons.models.level import GUARDED, MOST_RATIO, level_of
from stream_coupons.models.linear import HEAD_OF
from stream_coupons.models.serving import SERVED
from stream_coupons.models.snapshots import DRIFT, LEVEL, is_of_this_version, unpack_part
from stream_coupons.ops.explain.feature_text import effect
from stream_coupons_console.index import Index
from stream_coupons_console.web.render import page

SHOWN_WEIGHTS = 8
DECISIONS = 1000
"""Latest decisions that are counted by model version."""
TEXTS = {
    "click": "click on a coupon",
    "redeem": "order because of a coupon",
    "order": "order without a coupon, after the visit",
    "visit": "order within the visit",
}


class ShownHead(NamedTuple):
    """A head of a snapshot.

    Attributes
    ----------
    level : float or None
        Observed over predicted outcomes where chance drew the coupon; None of a head that is not compared so.
    is_off : bool
        True if the prior decides, because the level is too far from 1.
    has_drift : bool
        True if the losses were higher than the model expects when the snapshot was made.
    weights : list of (str, float, str)
        Numeric features with the largest weights, and the effect of a value of 1 in words.
    """

    label: str
    text: str
    champion: str
    quality: HeadQuality | None
    level: float | None
    is_off: bool
    has_drift: bool
    weights: list[tuple[str, float, str]]


def heads_of(snapshot: ModelSnapshot) -> Iterator[ShownHead]:
    """Yield the heads of a snapshot of this release.

    Raises
    ------
    SnapshotMismatch
    """
    for label, name in HEAD_OF.items():
        head = snapshot.heads[name]
        level = unpack_part(head, LEVEL)
        found = None if level is None or label not in GUARDED else level_of(level)
        served, weights = unpack_part(head, head.champion, SERVED), list[tuple[str, float, str]]()
        if served is not None and {*SERVED} <= served.keys():
            columns = served["places"].astype(np.int64) - DIMENSIONS
            pairs = zip(columns, served["weights"].tolist(), strict=True)
            numeric = [(NUMERIC[column], weight) for column, weight in pairs if 0 <= column < len(NUMERIC)]
            for feature, weight in sorted(numeric, key=lambda one: -abs(one[1]))[:SHOWN_WEIGHTS]:
                weights.append((feature, weight, effect(weight).replace("odds of redeeming", "odds")))
        drift = unpack_part(head, DRIFT)
        quality = snapshot.quality.get(label) or snapshot.quality.get(name)
        yield ShownHead(
            label, TEXTS[label], head.champion, quality, None if found is None else found.ratio,
            found is not None and found.is_off, drift is not None and bool(drift["test"][-1]), weights,
        )  # fmt: skip


async def show(request: Request) -> Response:
    """Return the page."""
    index: Index = request.app.state.index
    domains = []
    for stamp in index.snapshot_stamps():
        heads, fault = list[ShownHead](), ""
        try:
            snapshot = index.snapshot(stamp.domain)
            if snapshot is not None and is_of_this_version(snapshot.format_version, snapshot.feature_schema):
                heads = [*heads_of(snapshot)]
            else:
                fault = "it is of another release: its models cannot be read here"
        except (BadMessage, SnapshotMismatch, KeyError) as error:
            fault = f"it cannot be read: {error}"
        domains.append((stamp, heads, fault))
    latest = [one.decision for one in index.latest(DECISIONS) if one.decision is not None]
    versions = Counter((one.domain, one.model_version) for one in latest)
    return page(
        request,
        "models",
        domains=domains,
        versions=sorted(versions.items(), reverse=True),
        counted_decisions=len(latest),
        now=time.time(),
        most_ratio=MOST_RATIO,
    )


ROUTES = [Route("/models", show)]

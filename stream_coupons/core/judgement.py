"""What every candidate is worth for its shopper at a moment: for decisions, and for explaining them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_coupons.core import policy
from stream_coupons.core.candidates import shortlist
from stream_coupons.core.coupons import CouponSet, Floats, Positions
from stream_coupons.core.features import FeatureRows, blank, extract
from stream_coupons.core.rules import Rules
from stream_coupons.core.scoring import Scorer, ValueScorer
from stream_coupons.core.views import Moment, Views, look


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was computed of some moments; rows are the first moment's candidates, then those of the next.

    Attributes
    ----------
    views : Views or None
        How near every coupon of the set is, candidate or not; None for a scorer that reads no features.
    chosen : list of arrays of int
        For each moment, the positions that were scored: the shortlist.
    rows : FeatureRows
        n rows, as many as are chosen in all.
    predicted : array, shape (n, 3)
        P(click), P(redeem), P(order in scope without a coupon).
    worth : array, shape (n,)
        Minor units, against giving none.
    """

    views: Views | None
    chosen: list[Positions]
    rows: FeatureRows
    predicted: Floats
    worth: Floats


def judge(
    moments: Sequence[Moment], candidates: Sequence[Positions], coupons: CouponSet, scorer: Scorer, rules: Rules
) -> Judgement:
    """Score each moment's most promising candidates.

    A row does not depend on what else is judged with it, to the last bit.

    Parameters
    ----------
    candidates : sequence of arrays of int
        For each moment, the positions in `coupons` that are eligible.
    """
    if isinstance(scorer, ValueScorer) and not scorer.reads_features:
        rows = blank(moments, coupons, candidates)
        return Judgement(None, list(candidates), rows, scorer.predict(rows), scorer.values(rows))
    views = look(moments, coupons, rules.profile)
    chosen = [
        shortlist(positions, promise, rules.policy.max_candidates)
        for positions, promise in zip(candidates, views.promise, strict=True)
    ]
    rows = extract(moments, views, coupons, chosen, rules.profile)
    predicted = scorer.predict(rows)
    if isinstance(scorer, ValueScorer):
        worth = scorer.values(rows)
    else:
        worth = policy.values(coupons, np.concatenate(chosen), predicted, rules.policy)
    return Judgement(views, chosen, rows, predicted, worth)

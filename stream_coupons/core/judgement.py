"""What every candidate is worth for its shopper at a moment: for decisions, and for explaining them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core import policy
from stream_coupons.core.basket import order_values
from stream_coupons.core.candidates import shortlist
from stream_coupons.core.coupons import CouponSet, Floats, Positions
from stream_coupons.core.features import FeatureRows, blank, extract
from stream_coupons.core.profile import events_of
from stream_coupons.core.rules import Rules
from stream_coupons.core.scoring import Scorer, ValueScorer
from stream_coupons.core.views import Moment, Views, log_share, look

ALIKE_SHARE = 0.02
"""The least share of similar shoppers' interest that says of a coupon for it that it is for this shopper, too."""


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
    predicted = scorer.own.predict(rows)
    if isinstance(scorer, ValueScorer):
        worth = scorer.values(rows)
    else:
        position = np.concatenate(chosen)
        owner = np.repeat(np.arange(len(moments)), [len(positions) for positions in chosen])
        values_minor = order_values(moments, coupons, owner, position)
        worth = policy.values(coupons, position, predicted, values_minor, rules.policy)
        worth = np.where(_is_strange(moments, views, rules)[owner, position], np.minimum(worth, 0.0), worth)
    return Judgement(views, chosen, rows, predicted, worth)


def _is_strange(moments: Sequence[Moment], views: Views, rules: Rules) -> NDArray[np.bool_]:
    """Return which coupons are for nothing that a shopper who is hardly known, or those alike, turned to.

    Such a coupon is not given by its value: what the shopper wants is a guess, and a wrong one is noticed. The shape is
    (moments, coupons).
    """
    is_alike = (views.collaborative > 0.0) & (views.near_scope_share > log_share(ALIKE_SHARE))
    is_strange: NDArray[np.bool_] = (views.category + views.brand + views.item <= 0.0) & ~is_alike
    hardly_known: NDArray[np.bool_] = np.array([is_hardly_known(moment, rules) for moment in moments])
    return np.logical_and(is_strange, hardly_known[:, None])


def is_hardly_known(moment: Moment, rules: Rules) -> bool:
    """Return whether fewer than `PolicyRules.known_after` events of the shopper are known."""
    return events_of(moment.shopper.profile, moment.at, rules.profile) < rules.policy.known_after

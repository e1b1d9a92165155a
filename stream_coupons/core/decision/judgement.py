"""Value of each candidate for its shopper at a moment: for decisions and their explanations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.eligibility import shortlist
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.scoring import Scorer, ValueScorer
from stream_coupons.core.features.affinity import Interests, Moment, Views, log_share, look
from stream_coupons.core.features.basket import order_values
from stream_coupons.core.features.rows import FeatureRows, blank, extract
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.profile import events_of

ALIKE_SHARE = 0.02
"""The least share of similar shoppers' interest that makes a coupon relevant to a hardly known shopper."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of some moments; rows are ordered by moment, then by candidate.

    Attributes
    ----------
    chosen : list of arrays of int
        For each moment, the scored positions: the shortlist.
    rows : FeatureRows
        The n rows of all chosen positions.
    predicted : array, shape (n, 3)
        P(click), P(redeem), P(order in scope without a coupon).
    worth : array, shape (n,)
        Value over giving none, before the price of a budget, minor units.
    discounts_minor : array, shape (n,)
        E(discount | redeem).
    """

    chosen: list[Positions]
    rows: FeatureRows
    predicted: Floats
    worth: Floats
    discounts_minor: Floats


def judge(
    moments: Sequence[Moment], candidates: Sequence[Positions], coupons: CouponSet, scorer: Scorer, rules: Rules
) -> Judgement:
    """Score each moment's most promising candidates.

    A row does not depend on the other rows of the batch, to the last bit.

    Parameters
    ----------
    candidates : sequence of arrays of int
        For each moment, the eligible positions in `coupons`.
    """
    if isinstance(scorer, ValueScorer) and not scorer.reads_features:
        rows = blank(moments, coupons, candidates)
        discounts_minor = coupons.discount_minor[np.concatenate(list(candidates))]
        return Judgement(list(candidates), rows, scorer.predict(rows), scorer.values(rows), discounts_minor)
    interests, size = Interests.of(moments, coupons, rules.profile), rules.policy.max_candidates
    chosen = list(candidates)
    if any(len(positions) > size for positions in chosen):
        promise = interests.promise(coupons)
        chosen = [shortlist(positions, each, size) for positions, each in zip(chosen, promise, strict=True)]
    views = look(moments, coupons, chosen, rules.profile, interests)
    rows, position = extract(moments, coupons, chosen, rules.profile, views), views.pairs.position
    predicted = scorer.own.predict(rows)
    values_minor = order_values(moments, coupons, views.pairs)
    if isinstance(scorer, ValueScorer):
        worth = scorer.values(rows)
    else:
        worth = policy.values(coupons, position, predicted, values_minor, rules.policy)
        worth = np.where(_is_strange(moments, views, rules), np.minimum(worth, 0.0), worth)
    return Judgement(chosen, rows, predicted, worth, coupons.discounts_minor(position, values_minor))


def _is_strange(moments: Sequence[Moment], views: Views, rules: Rules) -> NDArray[np.bool_]:
    """Return the rows, as a mask, whose coupon is outside the interests of a hardly known shopper and of similar ones.

    Such a coupon is not given by its value: the shopper's interest in it is a guess, and a wrong guess is noticed.
    """
    is_alike = (views.collaborative > 0.0) & (views.near_scope_share > log_share(ALIKE_SHARE))
    events = (events_of(moment.shopper.profile, moment.at, rules.profile) for moment in moments)
    is_hardly_known: NDArray[np.bool_] = np.array([count < rules.policy.known_after for count in events])
    return is_hardly_known[views.pairs.owner] & (views.content <= 0.0) & ~is_alike

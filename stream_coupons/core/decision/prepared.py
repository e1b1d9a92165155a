"""Candidates of decisions, prepared for any model: a shortlist with features and stated values of orders."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision.basket import stated_values
from stream_coupons.core.features.affinity import Interests, Moment, Views, log_share, look
from stream_coupons.core.features.rows import FeatureRows, extract
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.profile import events_of

ALIKE_SHARE = 0.02
"""The least share of similar shoppers' interest that makes a coupon relevant to a hardly known shopper."""
MANY_TIMES = 16
"""Candidates over the size of a shortlist above which not all of them are sorted."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Candidates of some moments with all that their scores need besides a model.

    Attributes
    ----------
    chosen : list of arrays of int
        For each moment, the positions of its shortlist in `coupons`.
    rows : FeatureRows
        The n rows of all chosen positions.
    owner, position : array of int, shape (n,)
        Index of the moment of each row, and position of its coupon.
    stated_minor : array, shape (n,)
        Value of an order by the catalogue's prices, minor units.
    is_strange : array of bool, shape (n,)
        True for coupons outside the interests of a hardly known shopper.
    """

    moments: Sequence[Moment]
    coupons: CouponSet
    chosen: list[Positions]
    rows: FeatureRows
    owner: Positions
    position: Positions
    stated_minor: Floats
    is_strange: NDArray[np.bool_]

    def of(self, moment: int) -> "Prepared":
        """Return the candidates of one moment, by its index."""
        some = slice(*np.searchsorted(self.owner, (moment, moment + 1)).tolist())
        subjects = self.rows.subjects[moment : moment + 1]
        return Prepared(
            self.moments[moment : moment + 1],
            self.coupons,
            self.chosen[moment : moment + 1],
            FeatureRows(self.rows.numeric[some], self.rows.hashed[some], subjects),
            np.zeros_like(self.owner[some]),
            self.position[some],
            self.stated_minor[some],
            self.is_strange[some],
        )


def prepare(moments: Sequence[Moment], candidates: Sequence[Positions], coupons: CouponSet, rules: Rules) -> Prepared:
    """Return the most promising candidates of each moment.

    Parameters
    ----------
    moments, candidates, coupons, rules
        As of `scoring.judge`.
    """
    interests, size = Interests.of(moments, coupons, rules.profile), rules.policy.max_candidates
    chosen = list(candidates)
    if any(len(positions) > size for positions in chosen):
        promise = interests.promise(coupons)
        chosen = [shortlist(positions, each, size) for positions, each in zip(chosen, promise, strict=True)]
    views = look(moments, coupons, chosen, rules.profile, interests)
    rows, pairs = extract(moments, coupons, chosen, rules.profile, views), views.pairs
    stated, is_strange = stated_values(moments, coupons, pairs), _is_strange(moments, views, rules)
    return Prepared(moments, coupons, chosen, rows, pairs.owner, pairs.position, stated, is_strange)


def shortlist(positions: Positions, promise: Floats, size: int) -> Positions:
    """Return the most promising positions.

    Parameters
    ----------
    positions : array of int, shape (n,)
        Candidates, ascending.
    promise : array of float, shape (coupons,)
        Sum of all scores R(u, i) of every coupon; NaN comes last.
    size : int
        Number of positions to return; all if there are no more.

    Returns
    -------
    array of int
        Ascending.

    Examples
    --------
    >>> shortlist(np.array([0, 1, 3]), np.array([0.5, 0.1, 9.0, 0.7]), 2).tolist()
    [0, 3]
    """
    if len(positions) <= size:
        return positions
    below = -promise[positions]
    if len(positions) > MANY_TIMES * size:
        # The bound of a sample holds for all, and few are within it.
        sample = below[:: math.isqrt(len(positions) // size) | 1]
        within = np.flatnonzero(~(below > np.partition(sample, size - 1)[size - 1]))
        positions, below = positions[within], below[within]
    kept: Positions = np.sort(positions[np.argsort(below, kind="stable")[:size]])
    return kept


def _is_strange(moments: Sequence[Moment], views: Views, rules: Rules) -> NDArray[np.bool_]:
    """Return the rows, as a mask, whose coupon is outside the interests of a hardly known shopper and of similar ones.

    The shopper's interest in such a coupon is a guess, and a wrong guess is noticed.
    """
    events = (events_of(moment.shopper.profile, moment.at, rules.profile) for moment in moments)
    is_hardly_known: NDArray[np.bool_] = np.array([count < rules.policy.known_after for count in events])
    is_alike = (views.collaborative > 0.0) & (views.near_scope_share > log_share(ALIKE_SHARE))
    return is_hardly_known[views.pairs.owner] & (views.content <= 0.0) & ~is_alike

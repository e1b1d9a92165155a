"""Features and probabilities of candidates, of many shoppers at once."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision.basket import at_viewed_prices, stated_values
from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.decision.table import CandidateTable
from stream_coupons.core.features.affinity import Interests, Moment, RowBatch, look
from stream_coupons.core.features.rows import blank, extract
from stream_coupons.core.rules import Rules

ALIKE_SHARE = 0.02
"""The least share of similar shoppers' interest that makes a coupon relevant to a hardly known shopper."""
MANY_TIMES = 16
"""Candidates over the size of a shortlist above which not all of them are sorted."""


def tabulate(
    moments: Sequence[Moment], eligible: Sequence[Positions], coupons: CouponSet, rules: Rules
) -> CandidateTable:
    """Return the most promising candidates of each moment with their features.

    A row does not depend on the other rows of the batch, to the last bit.

    Parameters
    ----------
    moments : sequence of Moment
        Shoppers, each at a time.
    eligible : sequence of arrays of int
        For each moment, positions in `coupons`.
    coupons : CouponSet
        Coupons of one domain.
    rules : Rules
        Length of the shortlist, and half-lives.
    """
    interests, size = Interests.of(moments, coupons, rules.profile), rules.policy.max_candidates
    chosen = list(eligible)
    if any(len(positions) > size for positions in chosen):
        promise = interests.promise()
        chosen = [shortlist(positions, each, size) for positions, each in zip(chosen, promise, strict=True)]
    rows = look(interests, chosen)
    features = extract(moments, coupons, chosen, rules.profile, rows)
    return CandidateTable(
        moments, coupons, rows.owner, rows.position, features, stated_values(rows), _is_strange(rows, rules)
    )


def list_all(moments: Sequence[Moment], eligible: Sequence[Positions], coupons: CouponSet) -> CandidateTable:
    """Return all candidates for a scorer that reads no features; parameters as of `tabulate`."""
    owner = np.repeat(np.arange(len(eligible)), [*map(len, eligible)])
    position, rows = np.concatenate(list(eligible)), blank(moments, coupons, eligible)
    return CandidateTable(
        moments, coupons, owner, position, rows, coupons.price_minor[position], np.zeros(len(owner), np.bool_)
    )


def predict(table: CandidateTable, scorer: Scorer) -> CandidateTable:
    """Return the table with the probabilities and the values of orders that a model expects.

    Parameters
    ----------
    table : CandidateTable
        Output of `tabulate`.
    scorer : Scorer
        Model of the domain.
    """
    rows = table.owner, table.position
    order_minor = at_viewed_prices(table.stated_minor, table.moments, table.coupons, rows, scorer.viewed_prices)
    return table.filled(scorer=scorer, predicted=scorer.predict(table.features), order_minor=order_minor)


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


def _is_strange(rows: RowBatch, rules: Rules) -> NDArray[np.bool_]:
    """Return the rows, as a mask, whose coupon is outside the interests of a hardly known shopper and of similar ones.

    The shopper's interest in such a coupon is a guess, and a wrong guess is noticed.
    """
    is_hardly_known = np.array([each.events < rules.policy.known_after for each in rows.shoppers])
    if not is_hardly_known.any():
        return np.zeros(len(rows.owner), np.bool_)
    is_alike = (rows.collaborative > 0.0) & (rows.near_share > ALIKE_SHARE)
    return is_hardly_known.take(rows.owner) & (rows.content <= 0.0) & ~is_alike

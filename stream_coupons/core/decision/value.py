"""The value of giving each candidate over giving none."""

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.catalogue.discount import conditions, linear_terms
from stream_coupons.core.decision.incremental import Prediction, uses_of
from stream_coupons.core.decision.scoring import ORDER, REDEEM, ValueScorer
from stream_coupons.core.decision.table import CandidateTable
from stream_coupons.core.features.match_features import order_values_of
from stream_coupons.core.features.rows import PLACES
from stream_coupons.core.rules import Rules
from stream_coupons.core.shopper.baskets import NO_ORDERS

STRANGE_RATIO = 0.5
"""Part of the value of other coupons to a hardly known shopper that counts in a shop that has been looked around in."""


def value(table: CandidateTable, rules: Rules, value_ratio: float = 1.0) -> CandidateTable:
    """Return the table with the discount and the value of each candidate.

    Parameters
    ----------
    table : CandidateTable
        Output of `predict.predict`.
    rules : Rules
        Terms of the value.
    value_ratio : float
        Factor of all values: see `LiftBrake`.
    """
    coupons, position, scorer, rows = table.coupons, table.position, table.scorer, table.features
    discount_minor = coupons.discounts_minor(position, table.order_minor)
    raised_minor = np.zeros(0)
    if coupons.any_minimum:
        discount_minor, raised_minor = _with_minimum(table, discount_minor)
    if isinstance(scorer, ValueScorer):
        worth, is_cut, predicted = scorer.values(rows), np.zeros(len(position), np.bool_), table.predicted
        spread = np.zeros(len(position))
    else:
        model, margin_ratio = scorer.incremental, coupons.margin_ratio.take(position)
        redeem, anyway = table.predicted[:, REDEEM], table.predicted[:, ORDER]
        known = Prediction(
            redeem, anyway, uses_of(rows.numeric, model.uses_ratio), table.order_minor, discount_minor, margin_ratio
        )
        found = model.of(known, rows.hashed[:, 0] & PLACES, rules.policy)
        worth, spread, discount_minor = found.value_minor, found.spread_minor, found.discount_minor
        predicted = table.predicted.copy()
        predicted[:, REDEEM], predicted[:, ORDER] = found.redeem, found.anyway
        if coupons.any_minimum:
            worth += model.uses_ratio * found.anyway * margin_ratio * raised_minor
        is_cut = table.is_strange & (worth > 0.0)
        if is_cut.any():
            worth[is_cut] *= STRANGE_RATIO if scorer.viewed_prices.views.sum() >= rules.policy.trusted_views else 0.0
    if value_ratio != 1.0:
        worth, spread = worth * value_ratio, spread * value_ratio
    return table.filled(
        value_minor=worth,
        spread_minor=spread,
        discount_minor=discount_minor,
        value_ratio=value_ratio,
        is_cut=is_cut,
        predicted=predicted,
        of_model=table.predicted,
    )


def _with_minimum(table: CandidateTable, discount_minor: Floats) -> tuple[Floats, Floats]:
    """Return the discount of the orders on which each coupon is used, and what its threshold adds to an order.

    Parameters
    ----------
    table : CandidateTable
        Some of its coupons have a minimum.
    discount_minor : array, shape (n,)
        Discount on any order, minor units; changed in place.
    """
    coupons, position = table.coupons, table.position
    raised_minor, threshold = np.zeros(len(position)), coupons.once(conditions)[0, position]
    some = np.flatnonzero(threshold)
    if len(some):
        baskets = [moment.shopper.profile.baskets or NO_ORDERS for moment in table.moments]
        orders = order_values_of(baskets, coupons, table.owner[some], position[some])
        least, terms = threshold[some], coupons.once(linear_terms)[:, position[some]]
        anyway = orders.discount_minor(terms, np.zeros(len(some)))
        discount_minor[some] *= orders.discount_minor(terms, least) / np.maximum(anyway, 1e-9)
        raised_minor[some] = orders.raised_minor(least)
    return discount_minor, raised_minor

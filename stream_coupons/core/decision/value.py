"""The value of giving each candidate over giving none."""

from dataclasses import replace

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.catalogue.discount import conditions, linear_terms
from stream_coupons.core.decision.incremental import COLUMNS, KEPT_RATIO, Chances
from stream_coupons.core.decision.scoring import ORDER, REDEEM, ValueScorer
from stream_coupons.core.decision.table import CandidateTable
from stream_coupons.core.features.match_features import order_values_of
from stream_coupons.core.features.rows import places_of
from stream_coupons.core.rules import PolicyRules, Rules
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
    coupons, position, scorer, rows = table.coupons, table.position, table.model, table.features
    is_cut, discount_minor, raised_minor = np.zeros(len(table), np.bool_), *_of_users(table)
    if isinstance(scorer, ValueScorer):
        worth = scorer.values(rows)
    else:
        chances = Chances(table.predicted[:, REDEEM], table.predicted[:, ORDER], rows.numeric[:, COLUMNS])
        orders = scorer.incremental.of(chances, places_of(rows.hashed[:, 0]).astype(np.int64))
        worth = values(coupons, position, orders, chances.redeem, table.order_minor, rules.policy, discount_minor)
        worth += scorer.incremental.uses_ratio * chances.anyway * coupons.margin_ratio[position] * raised_minor
        is_cut = table.is_strange & (worth > 0.0)
        worth[is_cut] *= STRANGE_RATIO if scorer.viewed_prices.total >= rules.policy.trusted_views else 0.0
    return replace(table, value_minor=worth * value_ratio, discount_minor=discount_minor, is_cut=is_cut)


def _of_users(table: CandidateTable) -> tuple[Floats, Floats]:
    """Return the discount of the orders on which each coupon is used, and what its threshold adds to an order."""
    coupons, position = table.coupons, table.position
    raised_minor = np.zeros(len(table))
    discount_minor = coupons.discounts_minor(position, table.order_minor)
    threshold = coupons.once(conditions)[0, position]
    some = np.flatnonzero(threshold)
    if len(some):
        baskets = [moment.shopper.profile.baskets or NO_ORDERS for moment in table.moments]
        orders = order_values_of(baskets, coupons, table.owner[some], position[some])
        least, terms = threshold[some], coupons.once(linear_terms)[:, position[some]]
        anyway = orders.discount_minor(terms, np.zeros(len(some)))
        discount_minor[some] *= orders.discount_minor(terms, least) / np.maximum(anyway, 1e-9)
        raised_minor[some] = orders.raised_minor(least)
    return discount_minor, raised_minor


def values(  # noqa: PLR0913 - terms of a value
    coupons: CouponSet,
    chosen: Positions,
    orders: Floats,
    redeem: Floats,
    values_minor: Floats,
    rules: PolicyRules,
    discounts_minor: Floats | None = None,
    kept_ratio: float = KEPT_RATIO,
) -> Floats:
    """Return the value of giving each coupon over giving none, minor units, shape (n,).

    value = kept * additional orders * margin - P(redeem) * (discount - worth) - cost_weight * cost

    NO_COUPON has the value 0 by this definition.

    Parameters
    ----------
    coupons : CouponSet
        Coupons of one domain.
    chosen : array of int, shape (n,)
        Positions in `coupons`.
    orders : array, shape (n,)
        Change of P(order in scope) by the coupon.
    redeem : array, shape (n,)
        P(redeem).
    values_minor : array, shape (n,)
        Expected value of an order in scope, minor units.
    rules : PolicyRules
        Cost of sending, and worth of a redemption.
    discounts_minor : array, shape (n,), optional
        E(discount | redeem); by default the discount on an order of the expected value.
    kept_ratio : float
        Share of the additional orders that are not taken from others.
    """
    if discounts_minor is None:
        discounts_minor = coupons.discounts_minor(chosen, values_minor)
    worth: Floats = (
        kept_ratio * orders * coupons.margin_ratio[chosen] * values_minor
        - redeem * (discounts_minor - rules.redemption_worth_minor)
        - rules.cost_weight * rules.cost_minor
    )
    return worth

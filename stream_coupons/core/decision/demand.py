"""Demand of a decision on stock and budgets: for their prices, and for what is sold out in a partition."""

import math

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.decision import policy
from stream_coupons.core.decision.candidates import REDEEM, Candidates
from stream_coupons.core.decision.policy import Draw
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.reasons import Shortage
from stream_coupons.core.rules import PolicyRules


def want_missed(considered: Candidates, can_be_had: NDArray[np.bool_], draw: Draw, rules: PolicyRules) -> None:
    """Ask for what is sold out here and would be given if it could be had.

    Parameters
    ----------
    can_be_had : array of bool, shape (n,)
        True of the candidates that have stock and money.
    draw : Draw
        Of the trigger.
    """
    undecided = considered.undecided
    for row in _missed(considered, can_be_had, draw, rules):
        limits = undecided.coupons.limited[int(considered.positions[row])]
        undecided.wallet.want(limits, considered.charges[row].held_minor, undecided.moment.at, undecided.effects)


def _missed(considered: Candidates, can_be_had: NDArray[np.bool_], draw: Draw, rules: PolicyRules) -> list[int]:
    """Return the rows that would be given if they could be had: the drawn one, and all that are better than the rest.

    Not the best one alone: it may be sold out everywhere, and what lies idle of the next one would never be asked for.
    """
    if draw.is_control:
        return []
    net = considered.net_minor
    least = max(float(net[can_be_had].max(initial=-np.inf)), rules.min_value_minor)
    missed = np.flatnonzero(~can_be_had & (net > least)).tolist()
    row = policy.pick(net, draw, rules).row
    if row is None or can_be_had[row] or row in missed:
        return missed
    return [*missed, row]


def note_demand(considered: Candidates, least_value_minor: float) -> None:
    """Count what the decision would draw on each account with a price, were that price another one.

    A coupon without stock asks for no money. One without money asks for it: demand is what sets the price.

    Parameters
    ----------
    least_value_minor : float
        Value above which a coupon is given, minor units.
    """
    coupons, wallet = considered.undecided.coupons, considered.undecided.wallet
    priced = [coupons.priced[position] for position in considered.positions.tolist()]
    if not any(priced):
        return
    # Most accounts have one row: arrays would cost more than they save.
    values, net = considered.values_minor.tolist(), considered.net_minor.tolist()
    costs = (considered.predicted[:, REDEEM] * considered.discounts_minor).tolist()
    allowed = [
        -math.inf if charge.shortage is Shortage.STOCK else value
        for value, charge in zip(net, considered.charges, strict=True)
    ]
    rows_of: dict[str, tuple[Limit, list[int]]] = {}
    for row, limits in enumerate(priced):
        for limit in limits:
            if limit.is_stock or allowed[row] > -math.inf:
                rows_of.setdefault(limit.account_id, (limit, []))[1].append(row)
    best = max(allowed)
    top = allowed.index(best)
    for limit, rows in rows_of.values():
        others = float(np.delete(allowed, rows).max(initial=-math.inf)) if top in rows else best
        outside = max(others, least_value_minor)
        if max([values[row] for row in rows]) <= outside:  # not even at prices of 0
            continue
        price = wallet.price(limit)
        drawn = [float(limit.unit_minor or costs[row]) for row in rows]
        before_price = [net[row] + price * cost for row, cost in zip(rows, drawn, strict=True)]
        if max(before_price) > outside:
            wallet.add_demand(limit, np.array(before_price), np.array(drawn), outside)

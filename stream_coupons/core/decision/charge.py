"""The draws of candidates on stock and budgets: prices, holds, shortages, and the demand that sets prices."""

import math
from dataclasses import replace

import numpy as np

from stream_coupons.core.decision import policy
from stream_coupons.core.decision.policy import Draw
from stream_coupons.core.decision.scoring import REDEEM
from stream_coupons.core.decision.table import SHORTAGES, CandidateTable
from stream_coupons.core.effects import Effects
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import Shortage
from stream_coupons.core.rules import PolicyRules


def charge(table: CandidateTable, wallet: Wallet) -> CandidateTable:
    """Return the table with the price, the hold and the shortage of each candidate, as they are now.

    Parameters
    ----------
    table : CandidateTable
        Output of `value.value`, of one moment.
    wallet : Wallet
        The purses of the shopper's partition.
    """
    coupons, n = table.coupons, len(table)
    most = coupons.most_minor[table.position]
    price, held, shortage = np.zeros(n), most.astype(np.int64), np.full(n, "", SHORTAGES)
    [moment] = table.moments
    new_at = moment.at if moment.shopper.is_new(moment.at) else None
    for row, position in enumerate(table.position.tolist()):
        if limits := coupons.limited[position]:
            redeems, discount = float(table.predicted[row, REDEEM]), float(table.discount_minor[row])
            price[row], held[row], lack = wallet.charge(limits, int(most[row]), redeems, discount, new_at)
            shortage[row] = lack.value if lack is not None else ""
    return replace(table, price_minor=price, held_minor=held, shortage=shortage)


def want_missed(
    table: CandidateTable, draw: Draw, at: float, wallet: Wallet, rules: PolicyRules, effects: Effects
) -> None:
    """Ask for what is sold out here and would be given if it could be had.

    Parameters
    ----------
    table : CandidateTable
        All candidates of the trigger, output of `charge`.
    draw : Draw
        Of the trigger.
    at : float
        Time of the trigger, UTC epoch seconds.
    wallet : Wallet
        The purses of the shopper's partition.
    rules : PolicyRules
        Exploration, and the least value of a coupon that is given.
    effects : Effects
        Effects of the trigger so far; extended.
    """
    for row in _missed(table, draw, rules):
        position = int(table.position[row])
        most = int(table.coupons.most_minor[position])
        wallet.want(table.coupons.limited[position], int(table.held_minor[row]), most, at, effects)


def _missed(table: CandidateTable, draw: Draw, rules: PolicyRules) -> list[int]:
    """Return the rows that would be given if they could be had: the drawn one, and all that are better than the rest.

    Not the best one alone: it may be sold out everywhere, and what lies idle of the next one would never be asked for.
    """
    if draw.is_control:
        return []
    net, is_available, priority = table.net_minor, table.is_available, table.priority
    leader = policy.leading(np.where(is_available, net, -np.inf), rules, priority)
    is_better = net > (rules.min_value_minor if leader is None else net[leader])
    if priority is not None and leader is not None:
        level, is_worth_it = priority[leader], net > rules.min_value_minor
        is_better = is_worth_it & ((priority > level) | (is_better & (priority == level)))
    missed = np.flatnonzero(~is_available & is_better).tolist()
    row = policy.pick(net, draw, rules, priority=priority).row
    if row is None or is_available[row] or row in missed:
        return missed
    return [*missed, row]


def note_demand(table: CandidateTable, wallet: Wallet, least_value_minor: float) -> None:
    """Count what the decision would draw on each account with a price, were that price another one.

    A coupon without stock asks for no money. One without money asks for it: demand is what sets the price.

    Parameters
    ----------
    table : CandidateTable
        All candidates of the trigger, output of `charge`.
    wallet : Wallet
        The purses of the shopper's partition.
    least_value_minor : float
        Value above which a coupon is given, minor units.
    """
    priced = [table.coupons.priced[position] for position in table.position.tolist()]
    if not any(priced):
        return
    # Most accounts have one row: arrays would cost more than they save.
    values, net = table.value_minor.tolist(), table.net_minor.tolist()
    costs = (table.predicted[:, REDEEM] * table.discount_minor).tolist()
    allowed = np.where(table.lacks(Shortage.STOCK, Shortage.NEW_SHOPPERS), -math.inf, table.net_minor).tolist()
    rows_of: dict[str, tuple[Limit, list[int]]] = {}
    for row, limits in enumerate(priced):
        for limit in limits:
            if limit.is_stock or allowed[row] > -math.inf:
                rows_of.setdefault(limit.account_id, (limit, []))[1].append(row)
    best, priority = max(allowed), table.priority
    top = allowed.index(best)
    for limit, rows in rows_of.values():
        if priority is None:
            others = float(np.delete(allowed, rows).max(initial=-math.inf)) if top in rows else best
            outside = max(others, least_value_minor)
        else:
            rows, outside = _contest(rows, allowed, values, priority.tolist(), least_value_minor)
            if not rows:
                continue
        if max([values[row] for row in rows]) <= outside:  # not even at prices of 0
            continue
        price = wallet.price(limit)
        drawn = [float(limit.unit_minor or costs[row]) for row in rows]
        before_price = [net[row] + price * cost for row, cost in zip(rows, drawn, strict=True)]
        if max(before_price) > outside:
            wallet.add_demand(limit, np.array(before_price), np.array(drawn), outside)


def _contest(
    rows: list[int], allowed: list[float], values: list[float], priority: list[int], least: float
) -> tuple[list[int], float]:
    """Return the rows of an account that compete at the highest priority, and the value that one must exceed.

    Parameters
    ----------
    rows : list of int
        Rows of the account.
    allowed, values : list of float
        Value of each row after all prices, and before any, minor units.
    priority : list of int
        Priority of each row.
    least : float
        Value above which a coupon is given, minor units.
    """
    others = [row for row, net in enumerate(allowed) if net > least and row not in rows]
    possible = [*others, *(row for row in rows if values[row] > least)]
    level = max((priority[row] for row in possible), default=0)
    return (
        [row for row in rows if priority[row] == level],
        max((allowed[row] for row in others if priority[row] == level), default=least),
    )

"""Prices of coupons whose stock or budget binds, by a linear programme over all decisions of a run.

Maximise the expected margin of what is given, with at most one coupon a decision, within every stock and budget. The
dual values of stocks and budgets are the prices: what one more unit, or one more cent, would bring.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from stream_coupons.core.catalogue.compiled import Floats, Positions
from stream_coupons.core.features.rows import Subject
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons_lab.demo.rankings import TrueValue
from stream_coupons_lab.simulation.shoppers import World

MAX_CHOICES = 10
"""Most coupons of a decision that the programme chooses among: those that are worth most."""
MIN_PRICE = 1e-9


@dataclass(frozen=True, slots=True)
class Prices:
    """By coupon: minor units for each that is given, and for each minor unit of expected discount."""

    issues_minor: dict[str, float]
    discounts: dict[str, float]


class PricedTrueValue(TrueValue):
    """True value less the prices of what is scarce."""

    def __init__(self, world: World, cost_minor: float, prices: Prices) -> None:
        super().__init__(world, cost_minor)
        self._prices = prices

    def values_of(self, subject: Subject) -> Floats:
        """Return the expected incremental margin of each coupon less the prices of its stock and budget."""
        worth = self.worth_of(subject)
        names = [subject.coupons.coupons[n].coupon_id for n in subject.positions]
        issues = [self._prices.issues_minor.get(name, 0.0) for name in names]
        discounts = [self._prices.discounts.get(name, 0.0) for name in names]
        return np.asarray(worth.margin_minor - self._cost_minor - issues - worth.discount_minor * discounts)


class Recorded(TrueValue):
    """True value, greedy, which keeps what there was to choose from."""

    def __init__(self, world: World, cost_minor: float) -> None:
        super().__init__(world, cost_minor)
        self.choices: list[tuple[str, Positions, Floats, Floats]] = []

    def values_of(self, subject: Subject) -> Floats:
        """Return the true values of one moment."""
        worth = self.worth_of(subject)
        values = np.asarray(worth.margin_minor - self._cost_minor)
        kept = np.flatnonzero(values > 0)
        kept = kept[np.argsort(-values[kept], kind="stable")[:MAX_CHOICES]]
        self.choices.append((subject.user_id, subject.positions[kept], values[kept], worth.discount_minor[kept]))
        return values


def prices_of(choices: Sequence[tuple[Positions, Floats, Floats]], coupons: Sequence[Coupon]) -> Prices:
    """Return the prices of what is scarce.

    Parameters
    ----------
    choices : sequence of (positions, values, discounts)
        By decision, of each coupon that could be given: its position in `coupons`, value and expected discount in minor
        units.
    coupons : sequence of Coupon
        With their stocks and budgets.

    Raises
    ------
    RuntimeError
        If the programme is not solved.
    """
    stocks = [n for n, coupon in enumerate(coupons) if coupon.stock is not None]
    budgets = [n for n, coupon in enumerate(coupons) if coupon.budget_minor is not None]
    if not choices or not stocks + budgets:
        return Prices({}, {})
    decision = np.repeat(np.arange(len(choices)), [len(positions) for positions, _, _ in choices])
    position, value, discount = (np.concatenate([choice[n] for choice in choices]) for n in range(3))
    column = np.arange(len(value))
    rows, columns, entries = [decision], [column], [np.ones(len(value))]
    limits = [*np.ones(len(choices))]
    for which, of_coupon, weight in (("stock", stocks, np.ones(len(value))), ("budget_minor", budgets, discount)):
        for n in of_coupon:
            mine = column[position == n]
            rows.append(np.full(len(mine), len(limits)))
            columns.append(mine)
            entries.append(weight[mine])
            limits.append(getattr(coupons[n], which))
    matrix = coo_array(
        (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(len(limits), len(value))
    )
    solved = linprog(-value, A_ub=matrix.tocsr(), b_ub=limits, bounds=(0, None), method="highs")
    if solved.status != 0:
        raise RuntimeError(f"prices: the linear programme was not solved: {solved.message}")
    dual = -solved.ineqlin.marginals[len(choices) :]
    names = [coupons[n].coupon_id for n in (*stocks, *budgets)]
    found = list(zip(names, dual.tolist(), strict=True))
    issues, discounts = found[: len(stocks)], found[len(stocks) :]
    return Prices(
        {name: price for name, price in issues if price > MIN_PRICE},
        {name: price for name, price in discounts if price > MIN_PRICE},
    )

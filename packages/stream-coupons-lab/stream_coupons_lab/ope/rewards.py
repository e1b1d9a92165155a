"""The rewards of a log's decisions, and those that the model predicted for every arm."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision.scoring import CLICK, ORDER, REDEEM
from stream_coupons.core.rules import PolicyRules
from stream_coupons_lab.offline.logged_decisions import LoggedDecisions
from stream_coupons_lab.reports.axes import MINOR_UNITS, Unit

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Reward(StrEnum):
    """The kinds of reward."""

    CLICK = "click"
    PURCHASE = "purchase"
    MARGIN = "margin"

    @property
    def noun(self) -> str:
        """Plural of what is counted."""
        return self.value if self is Reward.MARGIN else f"{self.value}s"

    def unit(self, currency: str | None) -> Unit:
        """Return the unit of its values; money without a currency is in minor units."""
        return (currency or MINOR_UNITS) if self is Reward.MARGIN else "percent"

    def in_unit(self, currency: str | None) -> str:
        """Return the title of its values, which names the unit of money."""
        return f"{self.noun} in {self.unit(currency)}" if self is Reward.MARGIN else self.noun


@dataclass(frozen=True, slots=True)
class Rewards:
    """The rewards of decisions, and those predicted for every arm.

    Attributes
    ----------
    reward : array, shape (n,)
    predicted : array, shape (n, a)
        The reward model: the expected reward of each arm, from what was known at that moment.
    worth : array, shape (n, a)
        The worth that our policy ranks by; -inf in columns that a row does not have.
    notes : list of str
        Assumptions that were made.
    """

    reward: Floats
    predicted: Floats
    worth: Floats
    notes: list[str]


def rewards(decisions: LoggedDecisions, kind: Reward, rules: PolicyRules) -> Rewards:
    """Return the rewards of one kind.

    - click: 1 for a click. Predicted are P(click) and, for `none`, its share of clicks known until then.
    - purchase: 1 for a purchase. Predicted are P(redeem) and, for `none`, P(order).
    - margin: margin of the order less the discount, and the cost of having given a coupon; our policy ranks by
      the values of a live decision. Orders of unknown value count as the coupon's typical price. `none` earns
      the mean margin ratio of the coupons.
    """
    if kind is Reward.CLICK:
        return _clicks(decisions)
    p_purchase = np.where(decisions.is_none, decisions.probability[..., ORDER], decisions.probability[..., REDEEM])
    if kind is Reward.PURCHASE:
        return _ranked_as_predicted(decisions, decisions.purchased.astype(np.float64), p_purchase)
    missing = int((decisions.purchased & np.isnan(decisions.order_value)).sum())
    return _margins(decisions, p_purchase, rules, missing)


def _ranked_as_predicted(decisions: LoggedDecisions, reward: Floats, predicted: Floats) -> Rewards:
    return Rewards(reward, predicted, np.where(decisions.is_arm, predicted, -np.inf), [])


def _clicks(decisions: LoggedDecisions) -> Rewards:
    clicked = decisions.clicked.astype(np.float64)
    gave_none = decisions.is_none[np.arange(len(decisions)), decisions.chosen]
    of_none = _mean_known(decisions, gave_none, clicked, prior=0.0)
    predicted = np.where(decisions.is_none, of_none[:, None], decisions.probability[..., CLICK])
    return _ranked_as_predicted(decisions, clicked, predicted)


def _margins(decisions: LoggedDecisions, p_purchase: Floats, rules: PolicyRules, missing: int) -> Rewards:
    coupons, is_none = decisions.coupons, decisions.is_none
    position = np.where(decisions.is_coupon, decisions.position[decisions.arm], 0)
    price = np.exp2(coupons.price_log2)
    ratio = coupons.margin_minor / price
    # Margin of an order before its discount, at the coupon's typical price.
    earned = coupons.margin_minor - coupons.discount_minor + rules.redemption_worth_minor
    cost = rules.cost_weight * rules.cost_minor
    predicted = p_purchase * np.where(is_none, coupons.margin_minor.mean(), earned[position]) - cost * ~is_none

    rows = np.arange(len(decisions))
    of_coupon, gave_none = position[rows, decisions.chosen], is_none[rows, decisions.chosen]
    typical = np.where(gave_none, price.mean(), price[of_coupon])
    order = np.where(np.isnan(decisions.order_value), typical, decisions.order_value)
    given = np.where(gave_none, 0.0, _discounts(coupons, of_coupon, order) - rules.redemption_worth_minor)
    kept = order * np.where(gave_none, ratio.mean(), ratio[of_coupon])
    reward = decisions.purchased * (kept - given) - cost * ~gave_none

    worth = np.where(is_none, rules.min_value_minor, np.where(decisions.is_arm, decisions.worth, -np.inf))
    notes = [f"{missing} purchases have no order_value_minor: they count as the coupon's typical price"]
    return Rewards(reward, predicted, worth, notes if missing else [])


def _discounts(coupons: CouponSet, position: Rows, order: Floats) -> Floats:
    """Return each coupon's discount on an order; that at the typical price where the coupon has no percentage."""
    percent = np.array([np.nan if c.discount_percent is None else c.discount_percent for c in coupons.coupons])
    fixed = np.array([c.discount_minor is not None for c in coupons.coupons])
    at_most = np.array([float(c.max_discount_minor) for c in coupons.coupons])
    by_percent = np.minimum(percent[position] / 100.0 * order, at_most[position])
    is_fixed = fixed[position] | np.isnan(percent[position])
    discounts: Floats = np.where(is_fixed, coupons.discount_minor[position], by_percent)
    return discounts


def _mean_known(decisions: LoggedDecisions, rows: Mask, values: Floats, prior: float) -> Floats:
    """Return the mean of the values of some rows known at the moment of each decision, shape (n,).

    `prior` counts as one value more.
    """
    order = np.argsort(decisions.labelled_at[rows], kind="stable")
    sums = np.append(0.0, np.cumsum(values[rows][order]))
    known = np.searchsorted(decisions.labelled_at[rows][order], decisions.at, side="left")
    means: Floats = (sums[known] + prior) / (known + 1)
    return means

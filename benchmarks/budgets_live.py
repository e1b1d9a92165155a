"""Live runs of the product under budgets: with what it learns, its leases and its prices, on simulated shoppers.

Each coupon can be used for two days, as in the replays, and budgets are those of the replays of the same world. The
product sees events only. Money is what redemptions took off.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.messages.catalogue import BudgetCurve, BudgetHold, Campaign
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.play import play
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

from .budgets_replay import DAY_S, GRACE_DAYS, WINDOW_DAYS, Problem, Replayed, result_of
from .direct_play import HOURLY, DirectTarget

CAMPAIGN = "all"


class LivePolicy(Struct, frozen=True):
    """Settings of all budgets of a run."""

    about: str
    hold: BudgetHold
    curve: BudgetCurve


LIVE: Mapping[str, LivePolicy] = {
    "live_maximum_first_come": LivePolicy("the product, holds the most, first come", "maximum", "none"),
    "live_maximum": LivePolicy("the product, holds the most, price", "maximum", "even"),
    "live_first_come": LivePolicy("the product, holds a quantile, first come", "quantile", "none"),
    "live": LivePolicy("the product's defaults: holds a quantile, price", "quantile", "even"),
}


class BudgetedWorld(World):
    """A world whose coupons have the budgets of a problem."""

    def __init__(self, settings: WorldSettings, problem: Problem, policy: LivePolicy) -> None:
        super().__init__(settings)
        self._amounts = [int(amount) for amount in problem.amounts.tolist()]
        self._is_shared = len(self._amounts) == 1
        self._policy = policy
        coupons = self._coupons
        ordered = [coupon.coupon_id for coupon in CouponSet(coupons, 1.0).coupons]
        shared = {"campaign_id": CAMPAIGN, "budget_minor": None}
        self._coupons = [
            msgspec.structs.replace(
                coupon,
                stock=None,
                redeem_within_s=WINDOW_DAYS * DAY_S,
                **(shared if self._is_shared else self._own(ordered.index(coupon.coupon_id))),
            )
            for coupon in coupons
        ]
        self._by_id = {coupon.coupon_id: coupon for coupon in self._coupons}

    def _own(self, number: int) -> dict[str, object]:
        return {
            "budget_minor": self._amounts[number],
            "budget_hold": self._policy.hold,
            "budget_curve": self._policy.curve,
            "valid_from": self.settings.start_at,
            "valid_until": self.ends_at,
        }

    def campaigns(self) -> list[Campaign]:
        """Return the campaign, if there is one budget."""
        if not self._is_shared:
            return []
        return [
            Campaign(
                campaign_id=CAMPAIGN,
                budget_minor=self._amounts[0],
                budget_hold=self._policy.hold,
                budget_curve=self._policy.curve,
                starts_at=self.settings.start_at,
                ends_at=self.ends_at,
            )
        ]


class Spending:
    """Adds up what redemptions took off, by account and day; hears all messages."""

    def __init__(self, world: BudgetedWorld, problem: Problem) -> None:
        ordered = [coupon.coupon_id for coupon in CouponSet(world.catalogue(), 1.0).coupons]
        self._account = dict(zip(ordered, problem.account.tolist(), strict=True))
        self._starts_at = world.settings.start_at
        self._of_issue: dict[str, int] = {}
        self.spent = np.zeros(len(problem.amounts))
        self.by_day = np.zeros(int(problem.days) + 1)

    def hear(self, message: Struct) -> None:
        """Take note of a coupon and of its purchase."""
        if isinstance(message, CouponIssue):
            self._of_issue[message.issue_id] = self._account[message.coupon_id]
        elif isinstance(message, FeedbackEvent) and message.kind == "purchase":
            account = self._of_issue.get(message.issue_id)
            if account is not None:
                self.spent[account] += message.discount_minor or 0
                self.by_day[int((message.occurred_at - self._starts_at) // DAY_S)] += message.discount_minor or 0

    def learn(self) -> None:
        """Do nothing: only the product learns."""


def run_live(problem: Problem, world: WorldSettings, settings: Settings, policy: LivePolicy) -> Replayed:
    """Play the product on a world under the budgets of a problem; there is no holdout."""
    rules = msgspec.structs.replace(settings.policy, holdout_ratio=0.0)
    grace = msgspec.structs.replace(settings.attribution, grace_s=GRACE_DAYS * DAY_S)
    budgeted = BudgetedWorld(world, problem, policy)
    spending = Spending(budgeted, problem)
    target = DirectTarget(msgspec.structs.replace(settings, policy=rules, attribution=grace), budgeted, None, spending)
    played = play("learned", budgeted, target, pacing=HOURLY)
    value = sum(played.outcomes.margins.values())
    return result_of(problem, value, len(played.outcomes.issues), spending.spent, spending.by_day)

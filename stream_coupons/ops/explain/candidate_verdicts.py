"""Verdicts on every coupon of a domain at one moment, by the functions that decide, and the meaning of codes."""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.catalogue import eligible, objection
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.eligibility_rules import broken_clause
from stream_coupons.core.catalogue.occasions import zone_of
from stream_coupons.core.catalogue.rule_fields import Occasion
from stream_coupons.core.decision import campaign_holdout, policy
from stream_coupons.core.decision.commit import charge, chosen
from stream_coupons.core.decision.pipeline import decide
from stream_coupons.core.decision.scoring import HEADS, REDEEM, Knowledge
from stream_coupons.core.decision.table import CandidateTable, Decision, Trigger, stored
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Interests, Moment, look
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.decisions import Reason
from stream_coupons.core.messages.inputs import BrowseEvent
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import Ineligible, NoCoupon, Passed, Shortage
from stream_coupons.ops.explain.feature_text import FeatureText, tell

Code = Ineligible | NoCoupon | Passed

WORDS: Mapping[str, str] = {
    Ineligible.NOT_YET_VALID: "it is not valid yet",
    Ineligible.PAUSED: "it is paused, or its campaign is",
    Ineligible.DRAFT: "its campaign is a draft: `campaigns stage` or `campaigns approve` goes on",
    Ineligible.STAGED: "its campaign is staged: decisions only record where it would have been given",
    Ineligible.APPROVED: "its campaign is approved, but `campaigns launch` did not launch it",
    Ineligible.HELD: "its campaign is held, until `campaigns resume`",
    Ineligible.ENDED: "its campaign was ended",
    Ineligible.ARCHIVED: "its campaign is archived",
    Ineligible.NOT_APPROVED: "its campaign lacks valid signatures of approval.required operators, or was changed since",
    Ineligible.OUTSIDE_RAMP: "its campaign is ramped up, and this shopper is not among its ramp_ratio yet",
    Ineligible.EXPIRED: "it is no longer valid",
    Ineligible.NOT_AT_THIS_HOUR: "it is for other weekdays or hours on the shopper's clock, or its campaign is",
    Ineligible.OTHER_CHANNEL: "it is for other channels than the trigger's",
    Ineligible.SHOPPER_CAP: "this shopper has had it as often as its caps allow for now",
    Ineligible.CAMPAIGN_CAP: "this shopper has had as many coupons of its campaign as the caps of that allow for now",
    Ineligible.ALREADY_HELD: "the shopper holds it, or one of an overlapping scope, see its not_while_held",
    Ineligible.EXCLUSION_GROUP: "the shopper holds another coupon of its exclusion_group",
    Ineligible.ALREADY_ORDERED: "the shopper ordered what it is for within policy.reorder_suppress_s",
    Ineligible.CAMPAIGN_HOLDOUT: "this shopper is in the campaign's holdout, which gets none of its coupons",
    Ineligible.RULE: "a clause of its eligible_if, or its campaign's, is not true",
    NoCoupon.COOLDOWN: "this shopper was considered within policy.cooldown_s",
    NoCoupon.FREQUENCY_CAP: "this shopper had policy.max_issues_per_window coupons within policy.issue_window_s, "
    "or as many as policy.caps allow for now",
    NoCoupon.QUIET_HOURS: "it is an hour in which nobody is disturbed",
    NoCoupon.HOLDOUT: "this shopper belongs to the control group, which never gets a coupon",
    NoCoupon.LIFT_BELOW_ZERO: "coupons lose money by the measured lift: only few shoppers go on getting some",
    NoCoupon.CONTROL: "chance withheld it, to learn what is ordered without it, see policy.control_ratio",
    NoCoupon.NOT_WORTH_IT: "it is expected to cost more than it brings",
    NoCoupon.SOLD_OUT: "no stock or budget was left for it in this shopper's partition; a budget that is spent has "
    "paused by itself",
    NoCoupon.NEW_SHOPPERS: "the shopper is new, and new shoppers had drawn policy.new_shopper_ratio of it in that hour",
    Passed.NOT_SHORTLISTED: "policy.max_candidates others are nearer to this shopper",
    Passed.HARDLY_KNOWN: "new shopper who has not looked at anything this coupon covers: see policy.known_after",
    Passed.PRICED_OUT: "it is worth more than giving none, but no more than its budgets charge for its expected cost",
    Passed.OUTRANKED: "another one is worth more, less what its budgets charge",
    Passed.PRIORITY: "another one of a higher priority is worth giving",
    Passed.EXPLORED: "another one was drawn by chance, to learn",
}
"""The meaning of every code of a verdict."""


class Score(Struct, frozen=True, kw_only=True):
    """The figures computed for a candidate.

    Attributes
    ----------
    value_minor : float
        Worth of giving it over giving none, before the price of its budgets.
    spread_minor : float
        Standard deviation of the worth, as the outcomes of the coupon that are known are few.
    price_minor : float
        Price that its budgets charge for its expected cost.
    charged_by : list of str
        Accounts that charge it, or may have done.
    rank : int
        Rank by value less price among all candidates, from 1.
    propensity : float
        Probability that a trigger issues it, exploration included; 0 if sold out.
    reasons : list of Told
        The features with the largest contributions to P(redeem).
    """

    p_click: float
    p_redeem: float
    p_order: float
    value_minor: float
    spread_minor: float
    price_minor: float
    charged_by: list[str]
    rank: int
    propensity: float
    reasons: list[FeatureText]


class Lack(Struct, frozen=True, kw_only=True):
    """The shortage of a coupon that is sold out for this shopper.

    Attributes
    ----------
    account_id : str
        The limit: `units:` and the coupon's id is its stock, `money:` and the coupon's id its budget in minor units,
        `campaign:` and the campaign's id that of its campaign.
    needed : int
        Amount that one more coupon takes.
    here : int
        Amount that may still be given in the shopper's partition.
    """

    shortage: Shortage
    account_id: str
    needed: int
    here: int


class Verdict(Struct, frozen=True, kw_only=True):
    """The verdict on one coupon.

    Attributes
    ----------
    eligible : bool
        True if this shopper may have it.
    reason : str or None
        Code of the first reason against it; None if it is given, or may be.
    by : str or None
        What the reason is about: the cap that is reached, the coupon that is held, or the one that is given.
    lacks : Lack or None
        The shortage if it is sold out, where stock and budgets were evaluated.
    content, neighbours : float or None
        R(u, i) by the shopper's own interests and by those of similar shoppers; None where not evaluated.
    score : Score or None
        None if it is no candidate.
    clause : str or None
        The clause of its rule that is not true, if that is the reason.
    """

    coupon_id: str
    title: str
    domain: str
    eligible: bool
    reason: Code | None
    by: str | None = None
    lacks: Lack | None = None
    content: float | None = None
    neighbours: float | None = None
    score: Score | None = None
    clause: str | None = None


def consider(moment: Moment, domain: str, coupons: CouponSet, wallet: Wallet, known: Knowledge) -> Decision:
    """Return the decision on a shopper in a domain at a moment, with values, prices and shortages."""
    event = BrowseEvent(event_id="", user_id=moment.user_id, occurred_at=moment.at, domain=domain)
    positions = eligible(moment.shopper, coupons, moment.at, known.rules, trigger=event, context=moment.context)
    positions, _ = campaign_holdout.allowed(moment.user_id, coupons, positions, known.rules.key)
    trigger = Trigger(moment, event, "", coupons, positions, Effects())
    [table] = decide([trigger], known)
    return Decision(trigger, charge(table, wallet), wallet, known)


class CandidateVerdicts:
    """Every coupon of a domain at one moment.

    Parameters
    ----------
    decision : Decision
        The candidates with their prices and shortages.

    Attributes
    ----------
    leader : int or None
        Position of what is given when not exploring.
    """

    def __init__(self, decision: Decision) -> None:
        self._table: CandidateTable = decision.table
        self._trigger = decision.trigger
        self.coupons = decision.table.coupons
        self._all_rules = decision.known.rules
        self.rules = self._all_rules.policy
        self.is_random = self.rules.strategy != "value"
        self.leader: int | None = None
        self._moment = decision.trigger.moment
        everything = [np.arange(len(self.coupons))]
        self._views = look(Interests.of([self._moment], self.coupons, decision.known.rules.profile), everything)
        self._row = {position: row for row, position in enumerate(self._table.position.tolist())}
        net, priority = self._table.net_minor, self._table.priority
        level = 0.0 * net if priority is None else np.where(net > self.rules.min_value_minor, priority, -np.inf)
        self._rank = {row: rank for rank, row in enumerate(np.lexsort((-net, -level)).tolist(), start=1)}
        self._propensity: dict[int, float] = {}
        if self._table.is_available.any():
            left = decision.among(self._table, self._table.is_available)
            # The trigger decides what is drawn, which is not looked at.
            choice = chosen(left, policy.draw("", self.rules, decision.known.rules.key))
            positions = left.table.position.tolist()
            self._propensity = {position: choice.propensity(row) for row, position in enumerate(positions)}
            self.leader = None if choice.leader is None else positions[choice.leader]

    def objection(self, position: int) -> Ineligible | Passed | None:
        """Return why a coupon is no candidate; None if it is."""
        if position in self._row:
            return None
        moment, event = self._moment, self._trigger.event
        personal = objection(moment.shopper, self.coupons, position, moment.at, self._all_rules, event, moment.context)
        if personal is None and position not in self._trigger.eligible:
            return Ineligible.CAMPAIGN_HOLDOUT
        return personal or Passed.NOT_SHORTLISTED

    def _clause(self, position: int) -> str | None:
        """Return the clause of a coupon's rule that is not true."""
        moment, zone = self._moment, zone_of(self._moment.context, self._all_rules.shop.time_zone)
        occasion = Occasion(moment.shopper, moment.at, self._trigger.event, zone)
        return broken_clause(self.coupons, position, occasion)

    def why_not(self, position: int) -> Code | None:
        """Return the first reason of the coupon itself; None if it could be given."""
        if (found := self.coupons.stops[position] or self.objection(position)) is not None:
            return found
        row, table, least = self._row[position], self._table, self.rules.min_value_minor
        if not self.is_random and table.net_minor[row] <= least:
            if table.value_minor[row] > least:
                return Passed.PRICED_OUT
            return Passed.HARDLY_KNOWN if table.is_cut[row] else NoCoupon.NOT_WORTH_IT
        if table.shortage[row] == Shortage.NEW_SHOPPERS.value:
            return NoCoupon.NEW_SHOPPERS
        return None if table.is_available[row] else NoCoupon.SOLD_OUT

    def outranked(self, position: int) -> Passed:
        """Return the reason why the leader is given and not this coupon, which could be."""
        priority = self.coupons.priority
        is_behind = priority is not None and self.leader is not None and priority[position] < priority[self.leader]
        return Passed.PRIORITY if is_behind else Passed.OUTRANKED

    def _named_by(self, position: int, reason: Code | None) -> str | None:
        """Return what a reason is about: a cap, a coupon that is held, or the one that is given."""
        coupon, shopper, at = self.coupons.coupons[position], self._moment.shopper, self._moment.at
        match reason:
            case Ineligible.SHOPPER_CAP | Ineligible.CAMPAIGN_CAP:
                (own, shared), on = self.coupons.caps[position], local_time(at, self._all_rules.shop.time_zone)
                counts, campaign_id = shopper.history.given, coupon.campaign_id
                if (cap := counts.reached(own, on, coupon_id=coupon.coupon_id)) is not None:
                    return str(cap)
                return f"{campaign_id}: {counts.reached(shared, on, campaign_id=campaign_id)}"
            case Ineligible.ALREADY_HELD | Ineligible.EXCLUSION_GROUP:
                find = self.coupons.of_group if reason is Ineligible.EXCLUSION_GROUP else self.coupons.excluded_by
                return ", ".join(sorted(one for one in shopper.held_coupons(at) if position in find(one)))
            case Ineligible.CAMPAIGN_HOLDOUT:
                return coupon.campaign_id
            case Passed.OUTRANKED | Passed.PRIORITY if self.leader is not None:
                return self.coupons.coupons[self.leader].coupon_id
        return None

    def verdict(self, position: int, reason: Code | None, lacks: Lack | None = None) -> Verdict:
        """Return the verdict on a coupon, with the reason not to give it."""
        coupon = self.coupons.coupons[position]
        return Verdict(
            coupon_id=coupon.coupon_id,
            title=coupon.title,
            domain=coupon.domain,
            eligible=position in self._trigger.eligible,
            reason=reason,
            by=self._named_by(position, reason),
            lacks=lacks,
            content=float(self._views.content[position]),
            neighbours=float(self._views.collaborative[position]),
            score=self._score(position) if position in self._row else None,
            clause=self._clause(position) if reason is Ineligible.RULE else None,
        )

    def _score(self, position: int) -> Score:
        row, table = self._row[position], self._table
        click, redeem, order = stored(table.predicted[row, : len(HEADS)].tolist())
        contributions = table.scorer.contributions(table.features, row, REDEEM)
        loudest = contributions[: self.rules.explain_top]
        return Score(
            p_click=click,
            p_redeem=redeem,
            p_order=order,
            value_minor=round(float(table.value_minor[row]), 3),
            spread_minor=round(float(table.spread_minor[row]), 3),
            price_minor=round(float(table.price_minor[row]), 3),
            charged_by=[limit.account_id for limit in self.coupons.priced[position]],
            rank=self._rank[row],
            propensity=round(self._propensity.get(position, 0.0), 6),
            reasons=[tell(Reason(name, round(value, 4), round(added, 4))) for name, value, added in loudest],
        )

"""Verdicts on every coupon of a domain at one moment, by the functions that decide, and the meaning of codes."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.catalogue import eligible, objection
from stream_coupons.core.catalogue.compiled import CouponSet, Floats
from stream_coupons.core.decision import policy
from stream_coupons.core.decision.policy_plugin import Offer
from stream_coupons.core.decision.scoring import HEADS, REDEEM, Judgement, Knowledge, judge
from stream_coupons.core.features.affinity import Moment, look
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import Reason
from stream_coupons.core.reasons import Ineligible, NoCoupon, Passed, Shortage
from stream_coupons.lab.explain.feature_text import FeatureText, tell

Code = Ineligible | NoCoupon | Passed

WORDS: Mapping[Code, str] = {
    Ineligible.OTHER_DOMAIN: "it is of another domain than the event",
    Ineligible.NOT_YET_VALID: "it is not valid yet",
    Ineligible.PAUSED: "it is paused, or its campaign is",
    Ineligible.EXPIRED: "it is no longer valid",
    Ineligible.SHOPPER_CAP: "this shopper has had it as often as max_per_user allows",
    Ineligible.ALREADY_HELD: "the shopper holds it, or one of an overlapping scope, see its not_while_held",
    Ineligible.ALREADY_ORDERED: "the shopper ordered what it is for within policy.reorder_suppress_s",
    NoCoupon.COOLDOWN: "this shopper was considered within policy.cooldown_s",
    NoCoupon.FREQUENCY_CAP: "this shopper had policy.max_issues_per_window coupons within policy.issue_window_s",
    NoCoupon.QUIET_HOURS: "it is an hour in which nobody is disturbed",
    NoCoupon.HOLDOUT: "this shopper belongs to the control group, which never gets a coupon",
    NoCoupon.CONTROL: "this trigger was drawn by chance to get nothing, see policy.control_ratio",
    NoCoupon.NOT_WORTH_IT: "it is expected to cost more than it brings",
    NoCoupon.SOLD_OUT: "no stock or budget was left for it in this shopper's partition",
    Passed.NOT_SHORTLISTED: "policy.max_candidates others are nearer to this shopper",
    Passed.HARDLY_KNOWN: "the shopper turned to nothing that it is for, and is hardly known: see policy.known_after",
    Passed.PRICED_OUT: "it is worth more than giving none, but no more than its budgets charge for its expected cost",
    Passed.OUTRANKED: "another one is worth more, less what its budgets charge",
    Passed.EXPLORED: "another one was drawn by chance, to learn",
    Passed.NOT_KNOWN: "not known: by what is kept today it would have been worth more",
}
"""The meaning of every code of a verdict."""


class Score(Struct, frozen=True, kw_only=True):
    """The figures computed for a candidate.

    Attributes
    ----------
    value_minor : float
        Worth of giving it over giving none, before the price of its budgets.
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
    in_all : int
        Amount neither given nor held in any partition, as far as they have reported.
    """

    shortage: Shortage
    account_id: str
    needed: int
    here: int
    in_all: int


class Verdict(Struct, frozen=True, kw_only=True):
    """The verdict on one coupon.

    Attributes
    ----------
    eligible : bool
        True if `eligibility.eligible` lets this shopper have it.
    reason : str or None
        Code of the first reason against it; None if it is given, or may be.
    lacks : Lack or None
        The shortage if it is sold out, where stock and budgets were evaluated.
    content, neighbours : float or None
        R(u, i) by the shopper's own interests and by those of similar shoppers; None where not evaluated.
    score : Score or None
        None if it is no candidate.
    """

    coupon_id: str
    title: str
    domain: str
    eligible: bool
    reason: Code | None
    lacks: Lack | None = None
    content: float | None = None
    neighbours: float | None = None
    score: Score | None = None


class ChargedPrices(NamedTuple):
    """The prices that a partition charges for the candidates of a moment, and those that are sold out.

    Attributes
    ----------
    prices_minor : array, shape (n,)
        Prices by row of the judgement.
    sold_out : collection of int
        Positions of candidates.
    """

    prices_minor: Floats
    sold_out: Collection[int] = ()


def free(coupons: CouponSet, judged: Judgement) -> ChargedPrices:  # noqa: ARG001
    """Return terms by which all coupons can be had, and none has a price."""
    return ChargedPrices(np.zeros(len(judged.worth)))


class CandidateVerdicts:
    """Every coupon of a domain at one moment.

    Parameters
    ----------
    terms_of : callable
        Returns the prices of the candidates, and which are sold out.

    Attributes
    ----------
    worthwhile : set of int
        Positions of what is worth giving, sold out or not; under any strategy but "value", of all candidates.
    priced_out : set of int
        Positions of what would be worth giving, but for the price of its budgets.
    leader : int or None
        Position of what is given when not exploring.
    """

    def __init__(
        self,
        moment: Moment,
        coupons: CouponSet,
        domain: str,
        known: Knowledge,
        terms_of: Callable[[CouponSet, Judgement], ChargedPrices] = free,
    ) -> None:
        self.coupons = coupons
        self.rules = known.rules.policy
        self.is_random = self.rules.strategy != "value"
        self._moment = moment
        self._scorer = known.scorer(domain)
        positions = eligible(moment.shopper, coupons, moment.at, self.rules)
        self._judged = judge([moment], [positions], coupons, self._scorer, known.rules)
        self._views = look([moment], coupons, [np.arange(len(coupons))], known.rules.profile)
        self._eligible = set(positions.tolist())
        candidates: list[int] = self._judged.chosen[0].tolist()
        self._row = {position: row for row, position in enumerate(candidates)}
        worth, terms = self._judged.worth, terms_of(coupons, self._judged)
        self._prices = terms.prices_minor
        net = worth - self._prices
        self._rank = {row: rank for rank, row in enumerate(policy.ranking(net).tolist(), start=1)}
        least = self.rules.min_value_minor
        is_worth_it = net > least
        self.worthwhile = {position for position, row in self._row.items() if self.is_random or is_worth_it[row]}
        self.priced_out = {
            position for position, row in self._row.items() if position not in self.worthwhile and worth[row] > least
        }
        had = [row for position, row in self._row.items() if position not in terms.sold_out]
        self._propensity: dict[int, float] = {}
        self.leader: int | None = None
        if had:
            # The trigger decides what is drawn, which is not looked at.
            choice = policy.choose(net[had], "", self.rules, known.rules.key, lambda: self._offer(had, domain))
            self._propensity = {row: choice.propensity(index) for index, row in enumerate(had)}
            self.leader = None if choice.leader is None else candidates[had[choice.leader]]

    def _offer(self, rows: list[int], domain: str) -> Offer:
        judged, coupons = self._judged, self.coupons.coupons
        return Offer(
            user_id=self._moment.user_id,
            domain=domain,
            at=self._moment.at,
            coupon_ids=[coupons[int(judged.chosen[0][row])].coupon_id for row in rows],
            predicted=judged.predicted[rows],
            values_minor=judged.worth[rows],
            prices_minor=self._prices[rows],
            rules=self.rules,
        )

    def objection(self, position: int) -> Ineligible | Passed | None:
        """Return why a coupon is no candidate; None if it is."""
        if position in self._row:
            return None
        personal = objection(self._moment.shopper, self.coupons, position, self._moment.at, self.rules)
        return personal or Passed.NOT_SHORTLISTED

    def value_minor(self, position: int) -> float:
        """Return the worth of a candidate, as an issue records it."""
        return round(float(self._judged.worth[self._row[position]]), 3)

    def price_minor(self, position: int) -> float:
        """Return the price of a candidate, as an issue records it."""
        return round(float(self._prices[self._row[position]]), 3)

    def why_not_worth_it(self, position: int) -> NoCoupon | Passed | None:
        """Return why a candidate is not worth giving; None if it is."""
        if position in self.worthwhile:
            return None
        if position in self.priced_out:
            return Passed.PRICED_OUT
        return Passed.HARDLY_KNOWN if self._judged.is_cut[self._row[position]] else NoCoupon.NOT_WORTH_IT

    def verdict(self, position: int, reason: Code | None, lacks: Lack | None = None) -> Verdict:
        """Return the verdict on a coupon, with the reason not to give it."""
        coupon = self.coupons.coupons[position]
        return Verdict(
            coupon_id=coupon.coupon_id,
            title=coupon.title,
            domain=coupon.domain,
            eligible=position in self._eligible,
            reason=reason,
            lacks=lacks,
            content=float(self._views.content[position]),
            neighbours=float(self._views.collaborative[position]),
            score=self._score(position),
        )

    def _score(self, position: int) -> Score | None:
        row = self._row.get(position)
        if row is None:
            return None
        judged = self._judged
        click, redeem, order = judged.predicted[row, : len(HEADS)].tolist()
        loudest = self._scorer.contributions(judged.rows, row, REDEEM)[: self.rules.explain_top]
        return Score(
            p_click=round(click, 6),
            p_redeem=round(redeem, 6),
            p_order=round(order, 6),
            value_minor=self.value_minor(position),
            price_minor=self.price_minor(position),
            charged_by=[limit.account_id for limit in self.coupons.priced[position]],
            rank=self._rank[row],
            propensity=round(self._propensity.get(row, 0.0), 6),
            reasons=[tell(Reason(name, round(value, 4), round(added, 4))) for name, value, added in loudest],
        )


def of_another_domain(coupon: Coupon) -> Verdict:
    """Return the verdict on a coupon that the event's domain rules out."""
    return Verdict(
        coupon_id=coupon.coupon_id,
        title=coupon.title,
        domain=coupon.domain,
        eligible=False,
        reason=Ineligible.OTHER_DOMAIN,
    )

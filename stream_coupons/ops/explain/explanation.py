"""Explain why a shopper gets or got a coupon and not the others.

Pure: the input is an issue and the record of its decision, or the shopper, the catalogue, the rules and the models; the
output is codes, numbers and words.
"""

import copy
from collections.abc import Iterator
from operator import itemgetter

from msgspec import Struct

from stream_coupons.core.decision import policy
from stream_coupons.core.decision.pipeline import pass_time
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.reasons import NoCoupon, Passed
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.imputation import fill_context
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka.topics import DECISIONS
from stream_coupons.ops.explain.candidate_verdicts import CandidateVerdicts, Code, Verdict, consider
from stream_coupons.ops.explain.feature_text import FeatureText, tell
from stream_coupons.ops.explain.funds import Funds


class ShopperExplanation(Struct, frozen=True, kw_only=True):
    """The decision that would be made for a shopper at a moment.

    Attributes
    ----------
    objection : NoCoupon or None
        Reason to give the shopper nothing at all, before any coupon is evaluated.
    coupons : list of Verdict
        Ordered by domain and id.
    """

    user_id: str
    at: float
    last_event_at: float
    objection: NoCoupon | None
    is_holdout: bool
    model_versions: dict[str, int]
    coupons: list[Verdict]


class PassedOver(Struct, frozen=True, kw_only=True):
    """A coupon that could be given, or was sold out, when another one was.

    Attributes
    ----------
    reason : str
        A code of `Passed` or `NoCoupon`.
    value_minor, price_minor : float or None
        Worth of giving it over giving none, and the price of its budgets; None if it was sold out.
    """

    coupon_id: str
    reason: str
    value_minor: float | None = None
    price_minor: float | None = None


class IssueExplanation(Struct, frozen=True, kw_only=True):
    """The reasons for an issue, and those against the other coupons.

    Attributes
    ----------
    decision : LoggedDecision or None
        The record of the decision; None if it was not recorded, or is no longer kept.
    reasons : list of FeatureText
        Reasons that the issue carries.
    others : list of PassedOver
        By value less price, the best first; those sold out last.
    """

    issue: CouponIssue
    reasons: list[FeatureText]
    decision: LoggedDecision | None
    others: list[PassedOver]
    notes: list[str]


def explain_shopper(user_id: str, shopper: Shopper, at: float, known: Knowledge, funds: Funds) -> ShopperExplanation:
    """Explain the decision in each domain on a trigger at this moment of which only the time is known."""
    shopper = copy.deepcopy(shopper)
    pass_time(user_id, shopper, at, known)
    shopper.note_arrival(at, known.rules.policy.new_for_s)
    context = fill_context(shopper.profile.contexts, {}, at, known.rules.profile)
    standing = policy.standing_objection(shopper, at, at, known.rules, context)
    is_holdout = policy.is_holdout(user_id, known.rules.policy, known.rules.key)
    if standing is None and is_holdout:
        standing = NoCoupon.HOLDOUT
    moment, verdicts = Moment(user_id, shopper, at, context), []
    sets = (*known.catalogue.domains.items(), *known.catalogue.shadows.items())
    for domain, coupons in sorted(sets, key=itemgetter(0)):
        is_braked = standing is None and policy.arm_of(user_id, known.brake(domain), known.rules).is_braked
        against = NoCoupon.LIFT_BELOW_ZERO if is_braked else standing
        decision = consider(moment, domain, coupons, funds.wallet, known)
        judged, lacking = CandidateVerdicts(decision), funds.lacking(decision.table)
        for position, coupon in enumerate(coupons.coupons):
            if known.catalogue.set_of(coupon.coupon_id) is not coupons:
                continue  # its verdict is that among the launched coupons
            reason = judged.why_not(position) or against
            if reason is None and not (position == judged.leader or judged.is_random):
                reason = judged.outranked(position)
            verdicts.append(judged.verdict(position, reason, lacking.get(position)))
    return ShopperExplanation(
        user_id=user_id,
        at=at,
        last_event_at=shopper.profile.last_event_at,
        objection=standing,
        is_holdout=is_holdout,
        model_versions={domain: known.scorer(domain).version for domain in sorted(known.catalogue.names)},
        coupons=verdicts,
    )


def explain_issue(issue: CouponIssue, decision: LoggedDecision | None, rules: PolicyRules) -> IssueExplanation:
    """Explain a coupon by what its issue records, and why not the others by the record of the decision."""
    notes = [] if decision is not None else [f"the decision is not in {DECISIONS.name}: the others are not known"]
    return IssueExplanation(
        issue=issue,
        reasons=[tell(reason) for reason in issue.reasons],
        decision=decision,
        others=[] if decision is None else [*_passed_over(issue, decision, rules)],
        notes=notes,
    )


def _passed_over(issue: CouponIssue, decision: LoggedDecision, rules: PolicyRules) -> Iterator[PassedOver]:
    prices = decision.prices_minor or [0.0] * len(decision.arms)
    levels = decision.priorities or [0] * len(decision.arms)
    given = dict(zip(decision.arms, levels, strict=True)).get(issue.coupon_id, 0)
    rows = zip(decision.arms, decision.values_minor, prices, levels, strict=True)
    is_drawn = bool(decision.shares) or rules.strategy != "value"
    for coupon_id, value, price, level in sorted(rows, key=lambda row: row[2] - row[1]):
        if coupon_id == issue.coupon_id:
            continue
        if is_drawn:
            reason: Code = Passed.EXPLORED
        elif value - price <= rules.min_value_minor:
            reason = Passed.PRICED_OUT if value > rules.min_value_minor else NoCoupon.NOT_WORTH_IT
        else:
            is_better = (level, value - price) > (given, issue.value_minor - issue.price_minor)
            reason = Passed.PRIORITY if level < given else Passed.OUTRANKED
            reason = Passed.EXPLORED if issue.is_explored and is_better else reason
        yield PassedOver(coupon_id=coupon_id, reason=reason, value_minor=value, price_minor=price)
    for coupon_id in decision.sold_out:
        yield PassedOver(coupon_id=coupon_id, reason=NoCoupon.SOLD_OUT)

"""Why a shopper gets or got a coupon, and why not the others: the functions that decide, asked again.

Pure: what is known of the shopper, the catalogue, the rules and the models comes in; codes, numbers and words go out.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from msgspec import Struct

from stream_coupons.core import policy
from stream_coupons.core.coupons import CouponSet
from stream_coupons.core.events import Coupon, CouponIssue, LoggedDecision
from stream_coupons.core.leases import (
    Account,
    Purse,
    first_lease,
    money_limit,
    money_of,
    units_limit,
    units_of,
)
from stream_coupons.core.missing import fill_context
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.core.observation import pass_time
from stream_coupons.core.pipeline import ShopEvent
from stream_coupons.core.profile import fold
from stream_coupons.core.reasons import NoCoupon, Passed, Shortage
from stream_coupons.core.scoring import Knowledge
from stream_coupons.core.shopper import Shopper
from stream_coupons.core.similarity import DIGEST_BYTES
from stream_coupons.core.views import Moment
from stream_coupons.core.wallet import Wallet
from stream_coupons.evaluation.phrases import Told, score_of, tell
from stream_coupons.evaluation.verdicts import WORDS, Code, Judged, Lack, Score, Verdict, of_another_domain
from stream_coupons.runtime.shared import SharedStates
from stream_coupons.topics import DECISIONS

NUMBERS_BYTES = 4 * len(NUMERIC)
"""Of a stored row, as `attribution.pack` makes it."""


class ShopperExplanation(Struct, frozen=True, kw_only=True):
    """What would be decided for a shopper at a moment.

    Attributes
    ----------
    objection : NoCoupon or None
        Why they would get nothing at all, before any coupon is looked at.
    coupons : list of Verdict
        By domain and id.
    """

    user_id: str
    at: float
    last_event_at: float
    objection: NoCoupon | None
    is_holdout: bool
    model_versions: dict[str, int]
    coupons: list[Verdict]


class Choice(StrEnum):
    """How a coupon came to be the one."""

    BEST = "best"  # of all that could be had it was worth most
    EXPLORED = "explored"  # it was drawn by chance, to learn


class IssueExplanation(Struct, frozen=True, kw_only=True):
    """Why an issue was made, and why none of the other coupons.

    Attributes
    ----------
    reasons : list of Told
        Those that the issue carries.
    content, neighbours : float or None
        R(u, i) by the shopper's own interests and by those of similar shoppers; None if nothing is kept of them.
    is_reproduced : bool
        Whether the computation, done again on the state of that moment, gave the very numbers of the issue. Then what
        is said of the others is what was so; else it is as near as `notes` say.
    """

    issue: CouponIssue
    choice: Choice
    reasons: list[Told]
    content: float | None
    neighbours: float | None
    is_reproduced: bool
    others: list[Verdict]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is still kept of the decision behind an issue; None is what is gone.

    Attributes
    ----------
    trigger : BrowseEvent, CartEvent, OrderEvent or None
    decision : LoggedDecision or None
        Its record.
    before, after, now : Shopper or None
        The states as they were saved before and after the decision, and the latest one.
    """

    trigger: ShopEvent | None = None
    decision: LoggedDecision | None = None
    before: Shopper | None = None
    after: Shopper | None = None
    now: Shopper | None = None


@dataclass(frozen=True, slots=True)
class Funds:
    """What is left of stock and budgets.

    Attributes
    ----------
    purses : mapping
        Of the shopper's partition, by account.
    accounts : mapping
        As their owner knows them, by account.
    partition, partitions : int
        The shopper's partition, and how many there are.
    """

    purses: Mapping[str, Purse]
    accounts: Mapping[str, Account]
    partition: int
    partitions: int

    def lack(self, coupon: Coupon, at: float) -> Lack | None:
        """What one more coupon would lack for the shopper; None when it can be given."""
        shortage = Wallet(SharedStates(self.purses, Purse), self.partition, self.partitions).shortage(coupon, at)
        if shortage is None:
            return None
        if shortage is Shortage.STOCK:
            account_id, limit, needed = units_of(coupon.coupon_id), units_limit(coupon), 1
        else:
            account_id, limit = money_of(coupon.coupon_id), money_limit(coupon, at)
            needed = coupon.max_discount_minor
        purse, account = self.purses.get(account_id), self.accounts.get(account_id, Account())
        drawn = {number: holding.drawn - holding.freed for number, holding in account.holdings.items()}
        if purse is not None:  # it knows more than it has reported
            drawn[self.partition] = purse.drawn - purse.freed
        return Lack(
            shortage=shortage,
            account_id=account_id,
            needed=needed,
            here=first_lease(limit, self.partitions, self.partition) if purse is None else purse.available,
            in_all=max((limit.most or 0) - sum(drawn.values()), 0),
        )


def explain_shopper(
    user_id: str, shopper: Shopper, at: float, known: Knowledge, funds: Funds | None
) -> ShopperExplanation:
    """What a trigger at this moment would lead to in each domain, if nothing were known of it but its time.

    Parameters
    ----------
    funds : Funds or None
        None when stock and budgets are not to be looked at.
    """
    shopper = copy.deepcopy(shopper)
    pass_time(user_id, shopper, at, known)
    standing = policy.standing_objection(shopper, at, at, known.rules.policy)
    is_holdout = policy.is_holdout(user_id, known.rules.policy, known.rules.key)
    if standing is None and is_holdout:
        standing = NoCoupon.HOLDOUT
    moment, verdicts = _moment(user_id, shopper, at, None, known), []
    for domain, coupons in sorted(known.catalogue.domains.items()):
        lacking = _lacking(coupons, at, funds)
        judged = Judged(moment, coupons, domain, known, lacking)
        for position in range(len(coupons)):
            reason = _why_not_now(judged, position, standing, is_sold_out=position in lacking)
            verdicts.append(judged.verdict(position, reason, lacking.get(position)))
    return ShopperExplanation(
        user_id=user_id,
        at=at,
        last_event_at=shopper.profile.last_event_at,
        objection=standing,
        is_holdout=is_holdout,
        model_versions={domain: known.scorer(domain).version for domain in sorted(known.catalogue.domains)},
        coupons=verdicts,
    )


def _moment(user_id: str, shopper: Shopper, at: float, trigger: ShopEvent | None, known: Knowledge) -> Moment:
    given = {} if trigger is None else trigger.context
    context = fill_context(shopper.profile.contexts, given, at, known.rules.profile.context_policies)
    return Moment(user_id, shopper, at, context, trigger)


def _lacking(coupons: CouponSet, at: float, funds: Funds | None) -> dict[int, Lack]:
    """What is sold out, by position."""
    if funds is None:
        return {}
    found = {position: funds.lack(coupon, at) for position, coupon in enumerate(coupons.coupons)}
    return {position: lack for position, lack in found.items() if lack is not None}


def _why_not_now(judged: Judged, position: int, standing: NoCoupon | None, *, is_sold_out: bool) -> Code | None:
    """The first of the reasons, those of the coupon itself before those of the shopper."""
    objection = judged.objection(position)
    if objection is not None:
        return objection
    if position not in judged.worthwhile:
        return NoCoupon.NOT_WORTH_IT
    if is_sold_out:
        return NoCoupon.SOLD_OUT
    if standing is not None:
        return standing
    return None if position == judged.leader or judged.is_random else Passed.OUTRANKED


def explain_issue(issue: CouponIssue, kept: Kept, known: Knowledge) -> IssueExplanation:
    """Why this coupon, by what the issue says itself; why not the others, by what is kept of its moment.

    Parameters
    ----------
    known : Knowledge
        The catalogue, and the model of the version that decided, if it is still kept.
    """
    choice = Choice.EXPLORED if issue.is_explored else Choice.BEST
    sold_out = kept.decision.sold_out if kept.decision is not None else []
    judged = _judge_again(issue, kept, known, sold_out)
    own, others = _verdicts(issue, choice, judged, sold_out) if judged is not None else (None, [])
    others += [of_another_domain(one) for one in known.catalogue.by_id.values() if one.domain != issue.domain]
    content, neighbours = _stored_scores(issue, kept)
    if content is None and own is not None:
        content, neighbours = own.content, own.neighbours
    is_same = own is not None and own.score is not None and _numbers(own.score) == _numbers(issue)
    notes = list(_gaps(issue, kept, known, is_same=is_same))
    if own is not None and not is_same:
        notes.append(_difference(own, issue))
    return IssueExplanation(
        issue=issue,
        choice=choice,
        reasons=[tell(reason) for reason in issue.reasons],
        content=content,
        neighbours=neighbours,
        is_reproduced=is_same and kept.before is not None,
        others=others,
        notes=notes,
    )


def _judge_again(issue: CouponIssue, kept: Kept, known: Knowledge, sold_out: Collection[str]) -> Judged | None:
    coupons = known.catalogue.of_domain(issue.domain)
    state, trigger = kept.now, kept.trigger
    if kept.before is not None:
        state = copy.deepcopy(kept.before)
        if trigger is not None:
            fold(state.profile, trigger, known.rules.profile)
    if state is None or coupons is None:
        return None
    moment = _moment(issue.user_id, state, issue.issued_at, trigger, known)
    gone = {coupons.position[coupon_id] for coupon_id in sold_out if coupon_id in coupons.position}
    return Judged(moment, coupons, issue.domain, known, gone)


def _verdicts(
    issue: CouponIssue, choice: Choice, judged: Judged, sold_out: Collection[str]
) -> tuple[Verdict | None, list[Verdict]]:
    """Of the coupon that was issued, None if it has left the catalogue, and of the others of its domain."""
    own, others = None, []
    for position, coupon in enumerate(judged.coupons.coupons):
        if coupon.coupon_id == issue.coupon_id:
            own = judged.verdict(position, judged.objection(position))
        else:
            reason = _why_not_then(judged, position, issue, choice, is_sold_out=coupon.coupon_id in sold_out)
            others.append(judged.verdict(position, reason))
    return own, others


def _why_not_then(judged: Judged, position: int, issue: CouponIssue, choice: Choice, *, is_sold_out: bool) -> Code:
    objection = judged.objection(position)
    if objection is not None:
        return objection
    if position not in judged.worthwhile:
        return NoCoupon.NOT_WORTH_IT
    if is_sold_out:
        return NoCoupon.SOLD_OUT
    if judged.is_random:
        return Passed.EXPLORED
    if judged.value_minor(position) <= issue.value_minor:
        return Passed.OUTRANKED
    return Passed.EXPLORED if choice is Choice.EXPLORED else Passed.NOT_KNOWN


def _numbers(of: CouponIssue | Score) -> tuple[float, ...]:
    return of.p_click, of.p_redeem, of.p_order, of.value_minor


def _stored_scores(issue: CouponIssue, kept: Kept) -> tuple[float | None, float | None]:
    """R(u, i) by own interests and by the neighbours', from the features that were stored when it was decided."""
    for numeric in _stored_features(issue, kept):
        if len(numeric) == NUMBERS_BYTES:  # else an older program stored them
            row = np.frombuffer(numeric, "<f4")
            content, neighbours = (score_of(float(row[NUMERIC.index(name)])) for name in ("content", "collaborative"))
            return content, neighbours
    return None, None


def _stored_features(issue: CouponIssue, kept: Kept) -> Iterator[bytes]:
    for state in (kept.after, kept.now):
        if state is not None and issue.issue_id in state.issues:
            yield state.issue(issue.issue_id).numeric


def event_digests(shopper: Shopper) -> set[bytes]:
    """What is remembered of the identities of a shopper's latest events."""
    seen = shopper.profile.seen
    return {seen[start : start + DIGEST_BYTES] for start in range(0, len(seen), DIGEST_BYTES)}


def _gaps(issue: CouponIssue, kept: Kept, known: Knowledge, *, is_same: bool) -> Iterator[str]:
    """What is no longer kept of the decision, and what that means."""
    if kept.decision is None:
        yield f"the decision is not in the topic {DECISIONS.name}: which coupons were sold out is not known"
    if kept.before is None and kept.now is None:
        yield "no state of this shopper is kept: why not the others cannot be said"
    elif kept.before is None:
        yield "the shopper's state has moved on and what it was is no longer kept: the others are judged by that of now"
    elif kept.after is not None and not is_same and len(event_digests(kept.after) - event_digests(kept.before)) > 1:
        yield "other events were applied in one batch with the trigger: the state kept of before it lacks them"
    if kept.trigger is None:
        yield "the event that triggered it is no longer kept: what the shopper looked at just then is left out"
    version = known.scorer(issue.domain).version
    if version != issue.model_version:
        yield f"model version {issue.model_version} is no longer kept: the others are judged by version {version}"
    if issue.coupon_id not in known.catalogue.by_id:
        yield f"coupon {issue.coupon_id} is no longer in the catalogue"


def _difference(own: Verdict, issue: CouponIssue) -> str:
    if own.score is None:
        objection = f" ({WORDS[own.reason]})" if own.reason is not None else ""
        return f"computed again, coupon {issue.coupon_id} is no candidate{objection}: judge the others with care"
    return (
        f"computed again, P(redeem) is {own.score.p_redeem:.2%} and the value {own.score.value_minor:.1f} instead of "
        f"{issue.p_redeem:.2%} and {issue.value_minor:.1f}: state, catalogue, model or settings are not what they were"
    )

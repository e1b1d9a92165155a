"""Why a shopper gets or got a coupon, and why not the others: the functions that decide, asked again.

Pure: what is known of the shopper, the catalogue, the rules and the models comes in; codes, numbers and words go out.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from msgspec import Struct

from stream_coupons.core import policy
from stream_coupons.core.coupons import CouponSet
from stream_coupons.core.events import CouponIssue, Proposal
from stream_coupons.core.ledger import Ledger, shortage
from stream_coupons.core.numeric import NUMERIC
from stream_coupons.core.observation import pass_time
from stream_coupons.core.pipeline import ShopEvent
from stream_coupons.core.reasons import NoCoupon, Passed, Shortage
from stream_coupons.core.scoring import Knowledge
from stream_coupons.core.shopper import Shopper
from stream_coupons.core.views import Moment
from stream_coupons.evaluation.phrases import Told, score_of, tell
from stream_coupons.evaluation.verdicts import WORDS, Code, Judged, Score, Verdict, of_another_domain

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

    BEST = "best"  # it was worth most
    ALTERNATIVE = "alternative"  # what was ranked above it was sold out
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

    `proposal` is the one that was granted, `decided` the shopper's state as the decision left it, `now` as it is now.
    """

    proposal: Proposal | None = None
    trigger: ShopEvent | None = None
    decided: Shopper | None = None
    now: Shopper | None = None


def explain_shopper(
    user_id: str, shopper: Shopper, at: float, known: Knowledge, ledgers: Mapping[str, Ledger] | None
) -> ShopperExplanation:
    """What a trigger at this moment would lead to in each domain, if nothing were known of it but its time.

    Parameters
    ----------
    ledgers : mapping or None
        By coupon id, a new one where there is none; None when stock and budgets are not to be looked at.
    """
    shopper = copy.deepcopy(shopper)
    pass_time(user_id, shopper, at, known)
    standing = policy.standing_objection(shopper, at, known.rules.policy)
    is_holdout = policy.is_holdout(user_id, known.rules.policy, known.rules.key)
    if standing is None and is_holdout:
        standing = NoCoupon.HOLDOUT
    moment, verdicts = Moment(user_id, shopper, at, {}), []
    for domain, coupons in sorted(known.catalogue.domains.items()):
        judged = Judged(moment, coupons, domain, known)
        lacking = _lacking(coupons, at, ledgers)
        offered = judged.ranked[: judged.rules.alternatives]
        first = next((position for position in offered if position not in lacking), None)
        for position in range(len(coupons)):
            reason = _why_not_now(
                judged, position, standing, is_sold_out=position in lacking, is_first=position == first
            )
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


def _lacking(coupons: CouponSet, at: float, ledgers: Mapping[str, Ledger] | None) -> dict[int, Shortage]:
    """What is sold out, by position."""
    if ledgers is None:
        return {}
    found = {}
    for position, coupon in enumerate(coupons.coupons):
        ledger = ledgers.get(coupon.coupon_id, Ledger())
        lacks = shortage(ledger, coupon, coupon.max_discount_minor, at)
        if lacks is not None:
            found[position] = lacks
    return found


def _why_not_now(
    judged: Judged, position: int, standing: NoCoupon | None, *, is_sold_out: bool, is_first: bool
) -> Code | None:
    """The first of the reasons, those of the coupon itself before those of the shopper."""
    objection = judged.objection(position)
    if objection is not None:
        return objection
    if position not in judged.ranked:
        return NoCoupon.NOT_WORTH_IT
    if is_sold_out:
        return NoCoupon.SOLD_OUT
    if standing is not None:
        return standing
    return None if is_first or judged.is_random else Passed.OUTRANKED


def explain_issue(issue: CouponIssue, kept: Kept, known: Knowledge) -> IssueExplanation:
    """Why this coupon, by what the issue says itself; why not the others, by what is kept of its moment.

    Parameters
    ----------
    known : Knowledge
        The catalogue, and the model of the version that decided, if it is still kept.
    """
    choice, judged = _choice(issue), _judge_again(issue, kept, known)
    own, others = _verdicts(issue, kept, choice, judged) if judged is not None else (None, [])
    others += [of_another_domain(one) for one in known.catalogue.by_id.values() if one.domain != issue.domain]
    content, neighbours = _stored_scores(issue, kept)
    if content is None and own is not None:
        content, neighbours = own.content, own.neighbours
    is_same = own is not None and own.score is not None and _numbers(own.score) == _numbers(issue)
    notes = list(_gaps(issue, kept, known))
    if own is not None and not is_same:
        notes.append(_difference(own, issue))
    return IssueExplanation(
        issue=issue,
        choice=choice,
        reasons=[tell(reason) for reason in issue.reasons],
        content=content,
        neighbours=neighbours,
        is_reproduced=is_same and kept.decided is not None,
        others=others,
        notes=notes,
    )


def _choice(issue: CouponIssue) -> Choice:
    if issue.is_explored:
        return Choice.EXPLORED
    return Choice.ALTERNATIVE if issue.rank else Choice.BEST


def _judge_again(issue: CouponIssue, kept: Kept, known: Knowledge) -> Judged | None:
    state, coupons = kept.decided or kept.now, known.catalogue.of_domain(issue.domain)
    if state is None or coupons is None:
        return None
    context = kept.trigger.context if kept.trigger is not None else {}
    moment = Moment(issue.user_id, state, issue.issued_at, context, kept.trigger)
    return Judged(moment, coupons, issue.domain, known)


def _verdicts(issue: CouponIssue, kept: Kept, choice: Choice, judged: Judged) -> tuple[Verdict | None, list[Verdict]]:
    """Of the coupon that was issued, None if it has left the catalogue, and of the others of its domain."""
    proposal, own, others = kept.proposal, None, []
    ahead = {one.coupon_id for one in proposal.alternatives[: proposal.refused]} if proposal is not None else set()
    for position, coupon in enumerate(judged.coupons.coupons):
        if coupon.coupon_id == issue.coupon_id:
            own = judged.verdict(position, judged.objection(position))
        elif coupon.coupon_id in ahead:
            others.append(judged.verdict(position, NoCoupon.SOLD_OUT))
        else:
            others.append(judged.verdict(position, _why_not_then(judged, position, issue, choice)))
    return own, others


def _why_not_then(judged: Judged, position: int, issue: CouponIssue, choice: Choice) -> Code:
    objection = judged.objection(position)
    if objection is not None:
        return objection
    if judged.is_random:
        return Passed.EXPLORED
    if position not in judged.ranked:
        return NoCoupon.NOT_WORTH_IT
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
    if kept.decided is not None and (proposal := kept.decided.proposals.get(issue.issue_id)) is not None:
        yield from (option.numeric for option in proposal.options if option.coupon_id == issue.coupon_id)
    if kept.now is not None and issue.issue_id in kept.now.issues:
        yield kept.now.issue(issue.issue_id).numeric


def _gaps(issue: CouponIssue, kept: Kept, known: Knowledge) -> Iterator[str]:
    """What is no longer kept of the decision, and what that means."""
    began_at = issue.issued_at if kept.trigger is None else max(issue.issued_at, kept.trigger.occurred_at)
    if kept.proposal is None:
        yield "the proposal is no longer kept: which coupons were sold out is not known"
    if kept.decided is None and kept.now is None:
        yield "no state of this shopper is kept: why not the others cannot be said"
    elif kept.decided is None:
        yield "the shopper's state has moved on and what it was is no longer kept: the others are judged by that of now"
    elif kept.decided.profile.last_event_at > began_at:
        yield "the state kept of that moment knows later events too: they were applied in one batch with the trigger"
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

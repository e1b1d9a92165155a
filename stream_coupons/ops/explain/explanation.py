"""Explain why a shopper gets or got a coupon and not the others, with the functions that decide.

Pure: the input is the shopper, the catalogue, the rules and the models; the output is codes, numbers and words.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from msgspec import Struct

from stream_coupons.core.decision import arms, policy
from stream_coupons.core.decision.candidates import Candidates
from stream_coupons.core.decision.pipeline import pass_time
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import DIGEST_BYTES
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.numeric import FEATURE_BY_NAME, NUMERIC
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.money.wallet import Charge
from stream_coupons.core.reasons import NoCoupon, Passed, Shortage
from stream_coupons.core.shopper.imputation import fill_context
from stream_coupons.core.shopper.profile import fold
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka.topics import DECISIONS
from stream_coupons.ops.explain.candidate_verdicts import (
    WORDS,
    CandidateVerdicts,
    Code,
    Score,
    Verdict,
    consider,
    of_another_domain,
)
from stream_coupons.ops.explain.feature_text import FeatureText, number_of, tell
from stream_coupons.ops.explain.funds import Funds

PRICE_ROUNDING = 0.01
"""Rounding of prices on record, minor units."""
NUMBERS_BYTES = 4 * len(NUMERIC)
"""Bytes of the numeric features of a row that `candidates.packed_row` made."""


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


class ExplainedChoice(StrEnum):
    """The way in which a coupon was chosen."""

    BEST = "best"  # of all that could be had it was worth most
    EXPLORED = "explored"  # it was drawn by chance, to learn


class IssueExplanation(Struct, frozen=True, kw_only=True):
    """The reasons for an issue, and those against the other coupons.

    Attributes
    ----------
    reasons : list of Told
        Reasons that the issue carries.
    content, neighbours : float or None
        R(u, i) by the shopper's own interests and by those of similar shoppers; None if neither is kept.
    is_reproduced : bool
        True if the computation, repeated on the state of that moment, gives exactly the numbers of the issue. Then the
        verdicts on the others are exact; else `notes` say how near they are.
    """

    issue: CouponIssue
    choice: ExplainedChoice
    reasons: list[FeatureText]
    content: float | None
    neighbours: float | None
    is_reproduced: bool
    others: list[Verdict]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """The data still kept of the decision behind an issue; None where they are gone.

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


def explain_shopper(user_id: str, shopper: Shopper, at: float, known: Knowledge, funds: Funds) -> ShopperExplanation:
    """Explain the decision in each domain on a trigger at this moment of which only the time is known."""
    shopper = copy.deepcopy(shopper)
    pass_time(user_id, shopper, at, known)
    standing = policy.standing_objection(shopper, at, at, known.rules.policy)
    is_holdout = policy.is_holdout(user_id, known.rules.policy, known.rules.key)
    if standing is None and is_holdout:
        standing = NoCoupon.HOLDOUT
    moment, verdicts = _moment(user_id, shopper, at, None, known), []
    for domain, coupons in sorted(known.catalogue.domains.items()):
        is_braked = standing is None and arms.is_braked(user_id, domain, known)
        against = NoCoupon.LIFT_BELOW_ZERO if is_braked else standing
        considered = consider(moment, domain, coupons, funds.wallet, known)
        considered.charge()
        judged, lacking = CandidateVerdicts(considered, known), funds.lacking(considered)
        for position in range(len(coupons)):
            reason = judged.why_not(position) or against
            if reason is None and not (position == judged.leader or judged.is_random):
                reason = Passed.OUTRANKED
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
    context = fill_context(shopper.profile.contexts, given, at, known.rules.profile)
    return Moment(user_id, shopper, at, context, trigger)


def explain_issue(issue: CouponIssue, kept: KeptDecision, known: Knowledge) -> IssueExplanation:
    """Explain this coupon by what the issue records, and why not the others by what is kept of its moment.

    Parameters
    ----------
    known : Knowledge
        The catalogue, and the model of the version that decided, if it is still kept.
    """
    choice = ExplainedChoice.EXPLORED if issue.is_explored else ExplainedChoice.BEST
    judged = _judge_again(issue, kept, known)
    own, others = _verdicts(issue, choice, judged) if judged is not None else (None, [])
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


def _judge_again(issue: CouponIssue, kept: KeptDecision, known: Knowledge) -> CandidateVerdicts | None:
    coupons = known.catalogue.domains.get(issue.domain)
    state, trigger = kept.now, kept.trigger
    if kept.before is not None:
        state = copy.deepcopy(kept.before)
        if trigger is not None:
            fold(state.profile, trigger, known.rules.profile)
    if state is None or coupons is None:
        return None
    moment = _moment(issue.user_id, state, issue.issued_at, trigger, known)
    considered = consider(moment, issue.domain, coupons, Funds({}, {}, 0, 1).wallet, known)
    considered.charge_by(_charges_then(considered, issue, kept.decision))
    return CandidateVerdicts(considered, known)


def _charges_then(considered: Candidates, issue: CouponIssue, decision: LoggedDecision | None) -> list[Charge]:
    """Return the prices of candidates, and which were sold out, by the record of a decision."""
    prices, sold_out = {issue.coupon_id: issue.price_minor}, list[str]()
    if decision is not None:
        priced = decision.prices_minor or [0.0] * len(decision.arms)
        prices, sold_out = dict(zip(decision.arms, priced, strict=True)) | prices, decision.sold_out
    ids = [coupon.coupon_id for coupon in considered.coupons()]
    return [Charge(prices.get(one, 0.0), 0, Shortage.STOCK if one in sold_out else None) for one in ids]


def _verdicts(
    issue: CouponIssue, choice: ExplainedChoice, judged: CandidateVerdicts
) -> tuple[Verdict | None, list[Verdict]]:
    """Return the verdicts on the issued coupon, None if it left the catalogue, and on the others of its domain."""
    own, others = None, []
    for position, coupon in enumerate(judged.coupons.coupons):
        if coupon.coupon_id == issue.coupon_id:
            own = judged.verdict(position, judged.objection(position))
        else:
            others.append(judged.verdict(position, _why_not_then(judged, position, issue, choice)))
    return own, others


def _why_not_then(judged: CandidateVerdicts, position: int, issue: CouponIssue, choice: ExplainedChoice) -> Code:
    if (obstacle := judged.why_not(position)) is not None:
        return obstacle
    if judged.is_random:
        return Passed.EXPLORED
    price_minor = judged.price_minor(position)
    rounding = PRICE_ROUNDING if price_minor or issue.price_minor else 0.0
    if judged.value_minor(position) - price_minor <= issue.value_minor - issue.price_minor + rounding:
        return Passed.OUTRANKED
    return Passed.EXPLORED if choice is ExplainedChoice.EXPLORED else Passed.NOT_KNOWN


def _numbers(of: CouponIssue | Score) -> tuple[float, ...]:
    return of.p_click, of.p_redeem, of.p_order, of.value_minor


def _stored_scores(issue: CouponIssue, kept: KeptDecision) -> tuple[float | None, float | None]:
    """Return R(u, i) by own interests and by the neighbours', from the features stored at decision time."""
    for numeric in _stored_features(issue, kept):
        if len(numeric) == NUMBERS_BYTES:  # else an older program stored them
            row = np.frombuffer(numeric, "<f4")
            content, neighbours = (
                number_of(FEATURE_BY_NAME[name], float(row[NUMERIC.index(name)]))
                for name in ("content", "collaborative")
            )
            return content, neighbours
    return None, None


def _stored_features(issue: CouponIssue, kept: KeptDecision) -> Iterator[bytes]:
    for state in (kept.after, kept.now):
        if state is not None and issue.issue_id in state.issues:
            yield state.issue(issue.issue_id).numeric


def event_digests(shopper: Shopper) -> set[bytes]:
    """Return the digests of the identities of a shopper's latest events."""
    seen = shopper.profile.seen
    return {seen[start : start + DIGEST_BYTES] for start in range(0, len(seen), DIGEST_BYTES)}


def _gaps(issue: CouponIssue, kept: KeptDecision, known: Knowledge, *, is_same: bool) -> Iterator[str]:
    """Yield what is no longer kept of the decision, with the consequence."""
    if kept.decision is None:
        yield (
            f"the decision is not in the topic {DECISIONS.name}: which coupons were sold out, and what budgets charged "
            "for them, is not known"
        )
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

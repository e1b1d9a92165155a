"""Decisions on record: what each chose among and how likely, whatever it led to."""

from collections.abc import Sequence

from stream_coupons.core.coupons import Floats
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.events import NO_COUPON, DecisionResult, LoggedDecision, Reservation
from stream_coupons.core.policy import Choice
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper import Considered, OpenProposal


def is_logged(identity: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether the decision of this identity is on record: `PolicyRules.decisions_logged_ratio` of all are."""
    ratio = rules.decisions_logged_ratio
    return ratio >= 1.0 or (ratio > 0.0 and key.uniform("logged", identity) < ratio)


def considered(arms: list[str], worth: Floats, choice: Choice) -> Considered:
    """Return what a decision chose among; `arms` are the coupon ids of the rows of `worth`."""
    return Considered(
        arms=arms,
        values_minor=worth.round(2).tolist(),
        ranking=choice.greedy,
        tried=[] if len(choice.tried) == len(arms) else choice.tried,
        exploration_ratio=choice.epsilon,
        drawn=choice.order[-1] if choice.is_drawn else None,
        control_ratio=choice.control_ratio,
    )


def refused(chosen_among: Considered, answer: Reservation) -> list[int]:
    """Return the arms that the budgets refused before they answered so."""
    if chosen_among.drawn is None or answer.granted:
        return chosen_among.ranking[: answer.refused]
    return [*chosen_among.ranking[: answer.refused - 1], chosen_among.drawn]


def of_proposal(
    user_id: str,
    proposal: OpenProposal,
    result: DecisionResult,
    ratio: float,
    *,
    answer: Reservation | None = None,
    propensity: float | None = None,
) -> LoggedDecision | None:
    """Return the record of a decision that was proposed and has a result; None if it is not to be on record."""
    if proposal.considered is None:
        return None
    return entry(
        proposal.considered,
        decision_id=proposal.proposal_id,
        user_id=user_id,
        domain=proposal.domain,
        at=proposal.at,
        trigger_id=proposal.trigger_id,
        result=result,
        model_version=proposal.model_version,
        ratio=ratio,
        coupon_id=answer.coupon_id if answer is not None and result == "given" else NO_COUPON,
        propensity=propensity,
        refused=[] if answer is None else refused(proposal.considered, answer),
    )


def entry(  # noqa: PLR0913 - the same
    chosen_among: Considered,
    *,
    decision_id: str,
    user_id: str,
    domain: str,
    at: float,
    trigger_id: str,
    result: DecisionResult,
    model_version: int,
    ratio: float,
    coupon_id: str = NO_COUPON,
    propensity: float | None = None,
    refused: Sequence[int] = (),
    is_holdout: bool = False,
) -> LoggedDecision:
    """Return the record of a decision; the arguments are its fields."""
    return LoggedDecision(
        decision_id=decision_id,
        user_id=user_id,
        domain=domain,
        at=at,
        trigger_id=trigger_id,
        result=result,
        model_version=model_version,
        coupon_id=coupon_id,
        propensity=propensity,
        arms=chosen_among.arms,
        values_minor=chosen_among.values_minor,
        ranking=chosen_among.ranking,
        tried=chosen_among.tried,
        exploration_ratio=chosen_among.exploration_ratio,
        drawn=chosen_among.drawn,
        control_ratio=chosen_among.control_ratio,
        refused=list(refused),
        is_holdout=is_holdout,
        logged_ratio=ratio,
    )

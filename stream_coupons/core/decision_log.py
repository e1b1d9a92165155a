"""Decisions on record: what each chose among and how likely, whatever it led to."""

from stream_coupons.core.coupons import Floats
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.events import NO_COUPON, DecisionResult, LoggedDecision
from stream_coupons.core.policy import Choice
from stream_coupons.core.rules import PolicyRules


def is_logged(identity: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether the decision of this identity is on record: `PolicyRules.decisions_logged_ratio` of all are."""
    ratio = rules.decisions_logged_ratio
    return ratio >= 1.0 or (ratio > 0.0 and key.uniform("logged", identity) < ratio)


def entry(  # noqa: PLR0913 - all that a decision says
    arms: list[str],
    values_minor: Floats,
    prices_minor: Floats,
    choice: Choice,
    *,
    decision_id: str,
    user_id: str,
    domain: str,
    at: float,
    trigger_id: str,
    result: DecisionResult,
    model_version: int,
    ratio: float,
    sold_out: list[str],
    coupon_id: str = NO_COUPON,
    propensity: float | None = None,
    is_holdout: bool = False,
) -> LoggedDecision:
    """Return the record of a decision among `arms`, the coupon ids of the rows; the rest are its fields."""
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
        arms=arms,
        values_minor=values_minor.round(2).tolist(),
        prices_minor=prices_minor.round(2).tolist() if prices_minor.any() else [],
        best=choice.leader,
        tried=[] if len(choice.tried) == len(arms) else choice.tried,
        exploration_ratio=choice.epsilon,
        drawn=choice.row if choice.is_drawn else None,
        control_ratio=choice.control_ratio,
        sold_out=sold_out,
        is_holdout=is_holdout,
        logged_ratio=ratio,
    )

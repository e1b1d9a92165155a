"""Decisions on record: what each chose among and how likely, whatever it led to."""

from typing import Any

from stream_coupons.core.coupons import Floats
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.events import LoggedDecision
from stream_coupons.core.policy import Choice
from stream_coupons.core.rules import PolicyRules


def is_logged(identity: str, rules: PolicyRules, key: DrawKey) -> bool:
    """Return whether the decision of this identity is on record: `PolicyRules.decisions_logged_ratio` of all are."""
    ratio = rules.decisions_logged_ratio
    return ratio >= 1.0 or (ratio > 0.0 and key.uniform("logged", identity) < ratio)


def entry(arms: list[str], values_minor: Floats, prices_minor: Floats, choice: Choice, **said: Any) -> LoggedDecision:
    """Return the record of a decision among `arms`, the coupon ids of the rows; `said` are its other fields."""
    return LoggedDecision(
        arms=arms,
        values_minor=values_minor.round(2).tolist(),
        prices_minor=prices_minor.round(2).tolist() if prices_minor.any() else [],
        best=choice.leader,
        tried=[] if len(choice.tried) == len(arms) else choice.tried,
        exploration_ratio=choice.epsilon,
        drawn=choice.row if choice.is_drawn else None,
        control_ratio=choice.control_ratio,
        **said,
    )

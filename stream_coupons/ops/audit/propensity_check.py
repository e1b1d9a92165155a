"""Decisions on record: result and propensity follow from the arms, their values, and the draw of the trigger.

What a record states is enough to compute the choice again, but for the draw, which takes the secret. Values and prices
are recorded to two digits, so what depends on their order is judged within `ROUNDED_MINOR`.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from stream_coupons.core.decision import policy
from stream_coupons.core.decision.pipeline import issue_id
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.policy_plugin import drawn_row
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.rules import STRATEGIES, PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record, origin_of
from stream_coupons.ops.audit.courses import Given
from stream_coupons.ops.audit.findings import Check, Findings
from stream_coupons.ops.audit.promise_check import when
from stream_coupons.ops.audit.promised import PromisedRules
from stream_coupons.ops.audit.terms import began_ms

ROUNDED_MINOR = 0.0201
"""Largest error of the difference of two values less prices, minor units."""
ROUNDED_RATIO = 2e-9
"""Largest difference of a propensity computed again."""
KINDS = {topics.BROWSE.name: "browse", topics.CART.name: "cart", topics.ORDER.name: "order"}


class PropensityCheck:
    """Checks decisions on record; read them after the issues."""

    def __init__(self, promised: PromisedRules, given: Mapping[str, Given], findings: Findings) -> None:
        self._promised = promised
        self._given = given
        self._findings = findings
        self._considered_at: dict[int, float] = {}

    def decision(self, record: Record, decision: LoggedDecision) -> None:
        """Check a decision; copies are checked again."""
        began = began_ms(record)
        has_key, has_rules = began >= self._promised.key_since_ms, began >= self._promised.since_ms
        if has_key and has_rules:
            is_holdout = policy.is_holdout(decision.user_id, self._promised.rules.policy, self._promised.rules.key)
            fault = f"is_holdout is {decision.is_holdout}, expected {is_holdout} by the secret"
            self._judge(Check.HOLDOUT, record, decision, fault if is_holdout != decision.is_holdout else None)
        if has_rules:
            self._check_cooldown(record, decision)
        found = (
            _form_fault(decision)
            or _identity_fault(record, decision)
            or _value_fault(decision)
            or (_settings_fault(decision, self._promised.rules.policy) if has_rules else None)
            or self._choice_fault(decision, has_key=has_key)
            or self._issue_fault(decision)
        )
        self._judge(Check.PROPENSITIES, record, decision, found)

    def _judge(self, check: Check, record: Record, decision: LoggedDecision, fault: str | None) -> None:
        """Pass a decision, or name it in a violation."""
        if fault is not None:
            about = f"decision {decision.decision_id} for {decision.user_id} at {when(decision.at)}"
            fault = f"{about}, {decision.result} {decision.coupon_id}: {fault}"
        self._findings.judge(check, record, fault)

    def _check_cooldown(self, record: Record, decision: LoggedDecision) -> None:
        """Check that a decision that is no copy comes after the cooldown of the one before."""
        shopper, cooldown_s = hash(decision.user_id), self._promised.rules.policy.cooldown_s
        before = self._considered_at.get(shopper, decision.at)
        self._considered_at[shopper] = max(before, decision.at)
        is_early = before < decision.at < before + cooldown_s
        fault = f"expected {cooldown_s:g} s after {when(before)}" if is_early else None
        self._judge(Check.COOLDOWN, record, decision, fault)

    def _choice_fault(self, decision: LoggedDecision, *, has_key: bool) -> str | None:
        """Return the fault of result and propensity, by the draw if the key is known."""
        arms, is_explored = decision.arms, decision.drawn is not None
        row = arms.index(decision.coupon_id) if decision.result == "given" else None
        choice = Choice(
            row=row,
            is_drawn=is_explored,
            leader=decision.best,
            tried=decision.tried or list(range(len(arms))),
            epsilon=decision.exploration_ratio,
            best=decision.best or 0,
            control_ratio=decision.control_ratio,
            shares=decision.shares,
        )
        if decision.propensity is not None:
            expected = choice.propensity(row)
            if abs(decision.propensity - expected) > ROUNDED_RATIO:
                return f"propensity is {decision.propensity}, expected {expected:.9g}"
        return self._draw_fault(decision, choice) if has_key and decision.result != "lift_below_zero" else None

    def _draw_fault(self, decision: LoggedDecision, choice: Choice) -> str | None:
        """Return how a result differs from what the draw of its trigger gives."""
        rules = _ratios(decision.control_ratio, decision.exploration_ratio)
        draw = policy.draw(decision.decision_id, rules, self._promised.rules.key)
        row = decision.best
        if draw.is_control:
            row = None
        elif decision.shares:
            row = drawn_row(np.array(decision.shares), draw.arm)
        elif draw.is_explored:
            row = choice.tried[int(draw.arm * len(choice.tried))]
        none = "control" if draw.is_control else "not_worth_it"
        result = none if row is None else "holdout" if decision.is_holdout else "given"
        drawn = row if draw.is_explored else None
        arm = decision.arms[row] if row is not None and result == "given" else "none"
        if (decision.result, decision.coupon_id, decision.drawn) == (result, arm, drawn):
            return None
        return f"drawn is {decision.drawn}, expected {result} {arm}, drawn {drawn}, by the secret"

    def _issue_fault(self, decision: LoggedDecision) -> str | None:
        """Return how the issue of a decision, if it is there, differs from it."""
        given = self._given.get(decision.decision_id)
        if given is None:
            return None
        decided = decision.coupon_id, decision.propensity, decision.drawn is not None
        issued = given.coupon_id, given.propensity, given.is_explored
        if decided == issued:
            return None
        return "its issue has coupon {}, propensity {}, is_explored {}, expected {}, {}, {}".format(*issued, *decided)


@lru_cache(maxsize=100)
def _ratios(control_ratio: float, exploration_ratio: float) -> PolicyRules:
    return PolicyRules(control_ratio=control_ratio, exploration_ratio=exploration_ratio)


def _form_fault(decision: LoggedDecision) -> str | None:
    """Return the fault of a record that contradicts itself."""
    n = len(decision.arms)
    indices = [index for index in (*decision.tried, decision.best, decision.drawn) if index is not None]
    of_arms = [len(each) or n for each in (decision.prices_minor, decision.priorities)]
    lengths = len(decision.values_minor), *of_arms, len(decision.shares) or n + 1
    if not n or lengths != (n, n, n, n + 1) or max(indices, default=0) >= n:
        return f"it has {n} arms, expected as many values, prices and priorities, and no index beyond"
    if (decision.result == "given") != (decision.coupon_id in decision.arms):
        return "expected one of its arms if given, none otherwise"
    if (decision.propensity is None) != (decision.result in ("holdout", "lift_below_zero")):
        return f"propensity is {decision.propensity}, expected none for holdout and lift_below_zero alone"
    is_other = decision.result == "holdout" and not decision.is_holdout
    if is_other or (decision.result in ("given", "lift_below_zero") and decision.is_holdout):
        return f"is_holdout is {decision.is_holdout}, expected another result"
    return None


def _identity_fault(record: Record, decision: LoggedDecision) -> str | None:
    """Return the fault of an identity, which fixes the draw, that is not that of the trigger."""
    origin = origin_of(record)
    kind = KINDS.get(origin[0].rpartition(":")[0]) if origin is not None else None
    if kind is None:
        return "it follows from no event of a shopper, expected an origin"
    expected = issue_id(decision.user_id, kind, decision.trigger_id)
    return None if decision.decision_id == expected else f"expected the id {expected} of its trigger"


def _value_fault(decision: LoggedDecision) -> str | None:
    """Return the fault of `best` or `tried`, which are the arms with the greatest values less prices.

    Arms of a lower priority than the best one may be worth more.
    """
    if decision.shares:
        return None
    worth, levels = _worth(decision), decision.priorities or [0] * len(decision.arms)
    if (best := decision.best) is not None:
        most = max(value for value, level in zip(worth, levels, strict=True) if level >= levels[best])
        if worth[best] < most - ROUNDED_MINOR:
            return f"best is {best} with value less price {worth[best]:.2f}, expected {most:.2f}"
    tried = set(decision.tried)
    left_out = [value for row, value in enumerate(worth) if row not in tried] if tried else []
    if left_out and min(worth[row] for row in tried) < max(left_out) - ROUNDED_MINOR:
        return f"tried are {decision.tried}, expected those with the greatest values less prices"
    return None


def _settings_fault(decision: LoggedDecision, rules: PolicyRules) -> str | None:
    """Return how a record differs from the settings."""
    is_own = rules.strategy in STRATEGIES
    exploration = rules.exploration_ratio if rules.strategy == "value" else 1.0
    tried = min(len(decision.arms), rules.explored_candidates if rules.strategy == "value" else len(decision.arms))
    stated = decision.exploration_ratio, decision.control_ratio, len(decision.tried) or len(decision.arms)
    if stated != (exploration, rules.control_ratio, tried):
        return "exploration_ratio {}, control_ratio {}, {} tried; expected {}, {}, {} by the settings".format(
            *stated, exploration, rules.control_ratio, tried
        )
    if is_own and exploration < 1.0:
        return _best_fault(decision, rules.min_value_minor)
    return None


def _best_fault(decision: LoggedDecision, least: float) -> str | None:
    """Return the fault of `best` by the value above which a coupon is given, minor units."""
    best, worth = decision.best, _worth(decision)
    most = max(worth) if best is None else worth[best]
    if abs(most - least) > ROUNDED_MINOR and (best is None) == (most > least):
        return f"best is {best} with at most {most:.2f}, expected one if above {least:g}"
    levels = decision.priorities or [0] * len(decision.arms)
    worth_it = [level for value, level in zip(worth, levels, strict=True) if value > least + ROUNDED_MINOR]
    if best is not None and levels[best] < max(worth_it, default=levels[best]):
        return f"best is {best} of priority {levels[best]}, expected one of priority {max(worth_it)}"
    return None


def _worth(decision: LoggedDecision) -> list[float]:
    """Return the values of the arms less their prices, minor units."""
    prices = decision.prices_minor or [0.0] * len(decision.arms)
    return [value - price for value, price in zip(decision.values_minor, prices, strict=True)]

"""Decisions on record: result and propensity follow from the arms, their values, and the draw of the trigger.

A record has all that its choice was made of, but for the draw, which takes the secret. Values and prices are recorded
to two digits, so what depends on their order is judged within `ROUNDED_MINOR`.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

from stream_coupons.core.decision import policy
from stream_coupons.core.decision.pipeline import issue_id
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.policy_plugin import drawn_row
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.rules import PolicyRules
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
"""Largest error of a propensity that is computed again."""
KINDS = {topics.BROWSE.name: "browse", topics.CART.name: "cart", topics.ORDER.name: "order"}
WITHOUT_PROPENSITY = ("holdout", "lift_below_zero")


class PropensityCheck:
    """Checks decisions on record; read them after the issues."""

    def __init__(self, promised: PromisedRules, given: Mapping[str, Given], findings: Findings) -> None:
        self._promised = promised
        self._given = given
        self._findings = findings
        self._considered_at: dict[int, float] = {}

    def decision(self, record: Record, decision: LoggedDecision) -> None:
        """Check a decision; copies are checked again."""
        rules, key, began = self._promised.rules.policy, self._promised.rules.key, began_ms(record)
        has_rules = began >= self._promised.since_ms
        if began >= self._promised.both_since_ms:
            is_holdout = policy.is_holdout(decision.user_id, rules, key)
            fault = f"is_holdout is {decision.is_holdout}, expected {is_holdout} by the secret"
            self._judge(Check.HOLDOUT, record, decision, None if is_holdout == decision.is_holdout else fault)
        if has_rules:
            self._judge(Check.COOLDOWN, record, decision, self._cooldown_fault(decision))
        found = (
            _form_fault(decision)
            or _value_fault(decision, rules if has_rules else None)
            or next(self._choice_faults(record, decision, has_key=began >= self._promised.key_since_ms), None)
            or self._issue_fault(decision)
        )
        self._judge(Check.PROPENSITIES, record, decision, found)

    def _judge(self, check: Check, record: Record, decision: LoggedDecision, fault: str | None) -> None:
        """Pass a decision, or name it in a violation."""
        if fault is not None:
            about = f"decision {decision.decision_id} for {decision.user_id} at {when(decision.at)}"
            fault = f"{about}, {decision.result} {decision.coupon_id}: {fault}"
        self._findings.judge(check, record, fault)

    def _cooldown_fault(self, decision: LoggedDecision) -> str | None:
        """Return a fault if a decision that is no copy comes before the cooldown of the one before is over."""
        shopper, cooldown_s = hash(decision.user_id), self._promised.rules.policy.cooldown_s
        before = self._considered_at.get(shopper, decision.at)
        self._considered_at[shopper] = max(before, decision.at)
        is_early = before < decision.at < before + cooldown_s
        return f"expected {cooldown_s:g} s after {when(before)}" if is_early else None

    def _choice_faults(self, record: Record, decision: LoggedDecision, *, has_key: bool) -> Iterator[str]:
        """Yield how a record differs from the choice by its own arms, and by the draw of its trigger."""
        origin = origin_of(record)
        kind = KINDS.get(origin[0].rpartition(":")[0], "") if origin is not None else ""
        identity = issue_id(decision.user_id, kind, decision.trigger_id)
        if decision.decision_id != identity:
            yield f"expected the id {identity} of the trigger that its origin names"
        row = decision.arms.index(decision.coupon_id) if decision.result == "given" else None
        tried = decision.tried or list(range(len(decision.arms)))
        ratios = decision.exploration_ratio, decision.control_ratio
        choice = Choice(row, False, decision.best, tried, ratios[0], 0, ratios[1], shares=decision.shares)
        propensity = None if decision.result in WITHOUT_PROPENSITY else choice.propensity(row)
        if (decision.propensity is None) != (propensity is None) or (
            abs((decision.propensity or 0.0) - (propensity or 0.0)) > ROUNDED_RATIO
        ):
            yield f"propensity is {decision.propensity}, expected {propensity}"
        if not has_key or decision.result == "lift_below_zero":
            return
        draw, row = policy.draw(decision.decision_id, _rules(*ratios), self._promised.rules.key), decision.best
        if decision.shares:
            row = drawn_row(np.array(decision.shares), draw.arm)
        elif draw.is_explored:
            row = tried[int(draw.arm * len(tried))]
        expected: tuple[str, str, int | None]
        drawn = row if draw.is_explored else None
        if row is None or decision.is_holdout:
            expected = "not_worth_it" if row is None else "holdout", NO_COUPON, drawn
        else:
            is_withheld = draw.control < decision.control_ratio
            expected = ("control", NO_COUPON, drawn) if is_withheld else ("given", decision.arms[row], drawn)
        if (decision.result, decision.coupon_id, decision.drawn) != expected:
            yield "drawn is {}, expected {} {}, drawn {}, by the secret".format(decision.drawn, *expected)

    def _issue_fault(self, decision: LoggedDecision) -> str | None:
        """Return how the issue of a decision, if it is there, differs from it."""
        given = self._given.get(decision.decision_id)
        decided = decision.coupon_id, decision.propensity, decision.drawn is not None
        if given is None or decided == (given.coupon_id, given.propensity, given.is_explored):
            return None
        issued = f"{given.coupon_id}, propensity {given.propensity}, is_explored {given.is_explored}"
        return "its issue has coupon {}, expected {}, {}, {}".format(issued, *decided)


@lru_cache(maxsize=100)
def _rules(exploration_ratio: float, control_ratio: float) -> PolicyRules:
    return PolicyRules(exploration_ratio=exploration_ratio, control_ratio=control_ratio)


def _form_fault(decision: LoggedDecision) -> str | None:
    """Return the fault of a record that contradicts itself."""
    n = len(decision.arms)
    indices = [index for index in (*decision.tried, decision.best, decision.drawn) if index is not None]
    of_arms = [len(each) or n for each in (decision.prices_minor, decision.priorities)]
    lengths = len(decision.values_minor), *of_arms, len(decision.shares) or n + 1
    if not n or lengths != (n, n, n, n + 1) or max(indices, default=0) >= n:
        return f"it has {n} arms, expected as many values, prices and priorities, and no index beyond"
    is_given = decision.result == "given"
    if is_given != (decision.coupon_id in decision.arms) or (is_given and decision.is_holdout):
        return f"is_holdout is {decision.is_holdout}, expected one of its arms if given, and none in the holdout"
    return None


def _value_fault(decision: LoggedDecision, rules: PolicyRules | None) -> str | None:
    """Return the fault of ratios by the rules, if they are known, or of the arms that should be best or tried."""
    n, worth, best = len(decision.arms), decision.values_minor, decision.best
    if rules is not None:
        is_value, stated = rules.strategy == "value", decision.exploration_ratio
        expected = rules.exploration_ratio if is_value else 1.0
        count, size = len(decision.tried) or n, min(rules.explored_candidates, n) if is_value else n
        if (stated, count) != (expected, size):
            return f"exploration is {stated} with {count} tried, expected {expected} with {size}"
        least, most = policy.control_bounds(rules)
        if not least <= decision.control_ratio <= most:
            return f"control is {decision.control_ratio}, expected {least:g} to {most:g}"
    if decision.shares or decision.exploration_ratio >= 1.0:
        return None
    if decision.prices_minor:
        worth = [value - price for value, price in zip(worth, decision.prices_minor, strict=True)]
    levels = decision.priorities or [0] * n
    level = levels[best] if best is not None else min(levels)
    most = max(value for value, each in zip(worth, levels, strict=True) if each >= level)
    if best is not None and worth[best] < most - ROUNDED_MINOR:
        return f"best is {best} with value less price {worth[best]:.2f}, expected {most:.2f}"
    if rules is not None and (most - rules.min_value_minor) * (-1 if best is None else 1) < -ROUNDED_MINOR:
        return f"best is {best} with at most {most:.2f}, expected one if above {rules.min_value_minor:g}"
    if rules is not None and best is not None:
        of_worth = zip(worth, levels, strict=True)
        highest = max(
            (each for value, each in of_worth if value > rules.min_value_minor + ROUNDED_MINOR), default=level
        )
        if level < highest:
            return f"best is {best} of priority {level}, expected one of priority {highest}"
    tried = set(decision.tried)
    left_out = [value for row, value in enumerate(worth) if row not in tried] if tried else []
    if left_out and min(worth[row] for row in tried) < max(left_out) - ROUNDED_MINOR:
        return f"tried are {decision.tried}, expected those with the greatest values less prices"
    return None

"""The sequential part of a decision: draw on the purses, choose a row of the table, issue or withhold its coupon.

The triggers of a partition are committed in their order, each behind the bookings of those before it.
"""

import logging
from functools import partial

import numpy as np

from stream_coupons.core.decision import controls, lift_steps, policy, visits
from stream_coupons.core.decision.arms import BRAKED, draw_in_arm
from stream_coupons.core.decision.charge import charge, note_demand, want_missed
from stream_coupons.core.decision.decided import Decision
from stream_coupons.core.decision.issuing import give, record
from stream_coupons.core.decision.policy import Choice, Draw
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import CandidateTable, Trigger
from stream_coupons.core.effects import Effects
from stream_coupons.core.errors import PluginError
from stream_coupons.core.messages.decisions import DecisionResult
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import NoCoupon, Shortage

log = logging.getLogger(__name__)


def commit(trigger: Trigger, table: CandidateTable, wallet: Wallet, known: Knowledge) -> Effects:
    """Give the shopper the best coupon for now, or none; return the effects of the whole event.

    Parameters
    ----------
    trigger : Trigger
        Its shopper's state is changed in place.
    table : CandidateTable
        The trigger's candidates with their values.
    wallet : Wallet
        The purses of the shopper's partition, drawn upon.
    known : Knowledge
        Rules, catalogue and models.
    """
    try:
        result = _conclude(Decision(trigger, table, wallet, known)) if table.is_finite else NoCoupon.NOT_FINITE
    except PluginError as error:
        log.error("no coupon for trigger %s: %s", trigger.identity, error)
        result = NoCoupon.POLICY_FAILED
    trigger.effects.facts.append(("decision", result))
    return trigger.effects


def _conclude(decision: Decision) -> str:
    """Give one of the candidates, or none; what is sold out here is none, and is asked for if it was to be given."""
    trigger, wallet, known = decision.trigger, decision.wallet, decision.known
    rules, key = known.rules.policy, known.rules.key
    visits.watch(decision)
    if trigger.refusal is not None:
        controls.open_control(decision, 0)
        return trigger.refusal
    everything = charge(decision.table, wallet)
    user_id, is_available = trigger.moment.user_id, everything.is_available
    draw = draw_in_arm(user_id, trigger.event.domain, trigger.identity, known)
    is_holdout = policy.is_holdout(user_id, rules, key)
    if not is_holdout and draw is not BRAKED:
        note_demand(everything, wallet, rules.min_value_minor)
        if not is_available.all():
            want_missed(everything, draw, trigger.moment.at, wallet, rules, trigger.effects)
    is_held_back = bool(everything.lacks(Shortage.NEW_SHOPPERS).any())
    if is_held_back:
        trigger.effects.facts.append(("new_shopper", "held_back"))
    if not is_available.any():
        return NoCoupon.NEW_SHOPPERS if is_held_back else NoCoupon.SOLD_OUT
    decision, is_due = decision.among(everything, is_available), True
    if is_holdout:
        decision, is_due = controls.under_caps_of_holdout(decision)
    choice = policy.pick(decision.table.net_minor, draw, rules, partial(decision.offer), decision.table.priority)
    result = _result(choice, draw, is_holdout=is_holdout)
    lift_steps.enrol(trigger, decision.table, known)
    if policy.is_logged(trigger.identity, rules, key):
        sold_out = [everything.coupon(row).coupon_id for row in np.flatnonzero(~is_available).tolist()]
        trigger.effects.messages.append(record(decision, sold_out, choice, result, is_holdout=is_holdout))
    _act(decision, choice, result, is_due=is_due)
    return result


def _result(choice: Choice, draw: Draw, *, is_holdout: bool) -> DecisionResult:
    """Return the result of a choice."""
    if choice.row is not None:
        return "holdout" if is_holdout else "given"
    return "lift_below_zero" if draw is BRAKED else "control" if choice.is_control else "not_worth_it"


def _act(decision: Decision, choice: Choice, result: DecisionResult, *, is_due: bool) -> None:
    """Give the chosen coupon, or withhold it, and open control observations."""
    if result == "given" and choice.row is not None:
        give(decision, choice, choice.row)
        controls.open_controls_apart(decision, choice.row)
    elif result == "holdout" and choice.row is not None:
        controls.withhold(decision, choice.row, is_due=is_due)
    elif choice.is_control:
        controls.open_control(decision, choice.best)
        controls.open_controls_beside(decision, choice.best)
    else:
        trigger, key = decision.trigger, decision.known.rules.key
        controls.open_control(decision, policy.control_row(len(decision.table), trigger.identity, key))

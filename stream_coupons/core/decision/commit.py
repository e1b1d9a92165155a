"""The sequential part of a decision: draw on the purses, choose a row of the table, issue or withhold its coupon.

The triggers of a partition are committed in their order, each behind the bookings of those before it. From top to
bottom: the choice; prices, holds and shortages of candidates, and the demand that sets prices; the issue of a coupon,
and the record of a decision.
"""

import logging
import math
from typing import Any

import numpy as np
from msgspec import structs

from stream_coupons.core import codes
from stream_coupons.core.decision import attribution, lift_steps, policy, result_steps, watching
from stream_coupons.core.decision.policy import Arm, Choice, Draw
from stream_coupons.core.decision.scoring import REDEEM, Knowledge
from stream_coupons.core.decision.table import (
    SHORTAGES,
    CandidateTable,
    Decision,
    StoredRow,
    Trigger,
    stored_row,
    unpack,
)
from stream_coupons.core.effects import Effects, Stake
from stream_coupons.core.errors import PluginError
from stream_coupons.core.features.rows import SCHEMA, FeatureRows, hashed_names
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue, DecisionResult, LoggedDecision, Reason, StagedCoupon
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.messages.terms import Terms
from stream_coupons.core.money.accounts import Limit
from stream_coupons.core.money.holds import cost_of
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import NoCoupon, Shortage
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import OpenIssue

log = logging.getLogger(__name__)

MAX_ISSUED_NAMES = 200
"""The most names of a scope that an issue repeats: a longer one is in the catalogue."""


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
    watching.watch_visit(decision)
    if trigger.refusal is not None:
        watching.open_control(decision, 0)
        return trigger.refusal
    everything = charge(decision.table, wallet)
    user_id, is_available = trigger.moment.user_id, everything.is_available
    arm = policy.arm_of(user_id, known.brake(trigger.event.domain), known.rules)
    is_holdout, draw = arm.is_holdout, policy.draw(trigger.identity, rules, key)
    if not (is_holdout or arm.is_braked):
        note_demand(everything, wallet, rules.min_value_minor)
        if not is_available.all():
            want_missed(everything, draw, trigger.moment.at, wallet, rules, trigger.effects)
    is_held_back = not is_available.all() and bool(everything.lacks(Shortage.NEW_SHOPPERS).any())
    if is_held_back:
        trigger.effects.facts.append(("new_shopper", "held_back"))
    if not is_available.any():
        return NoCoupon.NEW_SHOPPERS if is_held_back else NoCoupon.SOLD_OUT
    decision, is_due = decision.among(everything, is_available), True
    if is_holdout:
        decision, is_due = watching.under_caps_of_holdout(decision)
    choice = chosen(decision, draw)
    result = _result(choice, arm)
    lift_steps.enrol(trigger, decision.table, arm)
    staged = None
    if decision.table.shadow is not None and not (is_holdout or arm.is_braked):
        staged = _staged(decision, decision.table.shadow, draw)
    if policy.is_logged(trigger.identity, rules, key):
        sold_out = [everything.coupon(row).coupon_id for row in np.flatnonzero(~is_available).tolist()]
        logged = record(decision, sold_out, choice, result, is_holdout=is_holdout)
        trigger.effects.messages.append(logged if staged is None else structs.replace(logged, staged=staged))
    _act(decision, choice, result, is_due=is_due)
    return result


def _staged(decision: Decision, shadow: CandidateTable, draw: Draw) -> StagedCoupon | None:
    """Return the coupon of a staged campaign that would be given if it was running; None if none would.

    Nothing is asked of a draw that explores, nor of a policy that draws by other rules.
    """
    rules, live = decision.known.rules.policy, decision.table
    if draw.is_explored or rules.strategy != "value" or not shadow.is_finite:
        return None
    shadow, priority = charge(shadow, decision.wallet), None
    if shadow.priority is not None:
        of_live = np.zeros(len(live), np.intp) if live.priority is None else live.priority
        priority = np.concatenate([of_live, shadow.priority])
    worth = np.concatenate([live.net_minor, np.where(shadow.is_available, shadow.net_minor, -np.inf)])
    leader = policy.leading(worth, rules, priority)
    if leader is None or leader < len(live):
        return None
    row = leader - len(live)
    coupon = shadow.coupon(row)
    decision.trigger.effects.facts.append(("staged", coupon.campaign_id or ""))
    return StagedCoupon(coupon.coupon_id, round(float(shadow.value_minor[row]), 2))


def chosen(decision: Decision, draw: Draw) -> Choice:
    """Return the policy's answer to a trigger.

    Parameters
    ----------
    decision : Decision
        Among the candidates that can be had.
    draw : Draw
        Of the trigger.
    """
    table, rules, ratio = decision.table, decision.known.rules.policy, 0.0
    if rules.control_ratio:
        row, is_first_week = int(table.net_minor.argmax()), table.scorer.incremental.is_first_week
        worth, spread = float(table.net_minor[row]), float(table.spread_minor[row])
        ratio = policy.withheld_ratio(worth, spread, rules, is_first_week=is_first_week)
    return policy.pick(table.net_minor, draw, rules, decision.offer, table.priority, ratio)


def _result(choice: Choice, arm: Arm) -> DecisionResult:
    """Return the result of a choice for a shopper of an arm."""
    if arm.is_braked and not arm.is_holdout:
        return "lift_below_zero"
    if choice.row is None:
        return "not_worth_it"
    return "holdout" if arm.is_holdout else "control" if choice.is_withheld else "given"


def _act(decision: Decision, choice: Choice, result: DecisionResult, *, is_due: bool) -> None:
    """Give the chosen coupon, or withhold it, and open control observations."""
    if result == "given" and choice.row is not None:
        give(decision, choice, choice.row)
        watching.open_controls_apart(decision, choice.row)
    elif result in ("holdout", "control") and choice.row is not None:
        watching.withhold(decision, choice.row, is_holdout=result == "holdout", is_due=is_due)
    elif result == "lift_below_zero":
        watching.open_control(decision, choice.best)
        watching.open_controls_beside(decision, choice.best)
    else:
        trigger, key = decision.trigger, decision.known.rules.key
        watching.open_control(decision, policy.control_row(len(decision.table.position), trigger.identity, key))


def charge(table: CandidateTable, wallet: Wallet) -> CandidateTable:
    """Return the table with the price, the hold and the shortage of each candidate, as they are now.

    Parameters
    ----------
    table : CandidateTable
        Output of `value.value`, of one moment.
    wallet : Wallet
        The purses of the shopper's partition.
    """
    coupons, n = table.coupons, len(table.position)
    most = coupons.most_minor[table.position]
    price, held, shortage = np.zeros(n), most.astype(np.int64), np.full(n, "", SHORTAGES)
    [moment] = table.moments
    new_at = moment.at if moment.shopper.is_new(moment.at) else None
    for row, position in enumerate(table.position.tolist()):
        if limits := coupons.limited[position]:
            redeems, discount = float(table.predicted[row, REDEEM]), float(table.discount_minor[row])
            price[row], held[row], lack = wallet.charge(limits, int(most[row]), redeems, discount, new_at)
            shortage[row] = lack.value if lack is not None else ""
    return table.filled(price_minor=price, held_minor=held, shortage=shortage)


def want_missed(
    table: CandidateTable, draw: Draw, at: float, wallet: Wallet, rules: PolicyRules, effects: Effects
) -> None:
    """Ask for what is sold out here and would be given if it could be had.

    Parameters
    ----------
    table : CandidateTable
        All candidates of the trigger, output of `charge`.
    draw : Draw
        Of the trigger.
    at : float
        Time of the trigger, UTC epoch seconds.
    wallet : Wallet
        The purses of the shopper's partition.
    rules : PolicyRules
        Exploration, and the least value of a coupon that is given.
    effects : Effects
        Effects of the trigger so far; extended.
    """
    for row in _missed(table, draw, rules):
        position = int(table.position[row])
        most = int(table.coupons.most_minor[position])
        wallet.want(table.coupons.limited[position], int(table.held_minor[row]), most, at, effects)


def _missed(table: CandidateTable, draw: Draw, rules: PolicyRules) -> list[int]:
    """Return the rows that would be given if they could be had: the drawn one, and all that are better than the rest.

    Not the best one alone: it may be sold out everywhere, and what lies idle of the next one would never be asked for.
    """
    net, is_available, priority = table.net_minor, table.is_available, table.priority
    leader = policy.leading(np.where(is_available, net, -np.inf), rules, priority)
    is_better = net > (rules.min_value_minor if leader is None else net[leader])
    if priority is not None and leader is not None:
        level, is_worth_it = priority[leader], net > rules.min_value_minor
        is_better = is_worth_it & ((priority > level) | (is_better & (priority == level)))
    missed = np.flatnonzero(~is_available & is_better).tolist()
    row = policy.pick(net, draw, rules, priority=priority).row
    if row is None or is_available[row] or row in missed:
        return missed
    return [*missed, row]


def note_demand(table: CandidateTable, wallet: Wallet, least_value_minor: float) -> None:
    """Count what the decision would draw on each account with a price, were that price another one.

    A coupon without stock asks for no money. One without money asks for it: demand is what sets the price.

    Parameters
    ----------
    table : CandidateTable
        All candidates of the trigger, output of `charge`.
    wallet : Wallet
        The purses of the shopper's partition.
    least_value_minor : float
        Value above which a coupon is given, minor units.
    """
    priced = [table.coupons.priced[position] for position in table.position.tolist()]
    if not any(priced):
        return
    # Most accounts have one row: arrays would cost more than they save.
    values, net = table.value_minor.tolist(), table.net_minor.tolist()
    costs = (table.predicted[:, REDEEM] * table.discount_minor).tolist()
    allowed = np.where(table.lacks(Shortage.STOCK, Shortage.NEW_SHOPPERS), -math.inf, table.net_minor).tolist()
    rows_of: dict[str, tuple[Limit, list[int]]] = {}
    for row, limits in enumerate(priced):
        for limit in limits:
            if limit.is_stock or allowed[row] > -math.inf:
                rows_of.setdefault(limit.account_id, (limit, []))[1].append(row)
    best, priority = max(allowed), table.priority
    top = allowed.index(best)
    for limit, rows in rows_of.values():
        if priority is None:
            others = float(np.delete(allowed, rows).max(initial=-math.inf)) if top in rows else best
            outside = max(others, least_value_minor)
        else:
            rows, outside = _contest(rows, allowed, values, priority.tolist(), least_value_minor)
            if not rows:
                continue
        if max([values[row] for row in rows]) <= outside:  # not even at prices of 0
            continue
        price = wallet.price(limit)
        drawn = [float(limit.unit_minor or costs[row]) for row in rows]
        before_price = [net[row] + price * cost for row, cost in zip(rows, drawn, strict=True)]
        if max(before_price) > outside:
            wallet.add_demand(limit, np.array(before_price), np.array(drawn), outside)


def _contest(
    rows: list[int], allowed: list[float], values: list[float], priority: list[int], least: float
) -> tuple[list[int], float]:
    """Return the rows of an account that compete at the highest priority, and the value that one must exceed.

    Parameters
    ----------
    rows : list of int
        Rows of the account.
    allowed, values : list of float
        Value of each row after all prices, and before any, minor units.
    priority : list of int
        Priority of each row.
    least : float
        Value above which a coupon is given, minor units.
    """
    others = [row for row, net in enumerate(allowed) if net > least and row not in rows]
    possible = [*others, *(row for row in rows if values[row] > least)]
    level = max((priority[row] for row in possible), default=0)
    return (
        [row for row in rows if priority[row] == level],
        max((allowed[row] for row in others if priority[row] == level), default=least),
    )


def give(decision: Decision, choice: Choice, row: int) -> None:
    """Issue the coupon of a row: draw its unit and its money, and wait for what follows.

    Parameters
    ----------
    decision : Decision
        Among the candidates that can be had.
    choice : Choice
        The policy's answer, for the propensity.
    row : int
        Of the coupon among the candidates.
    """
    trigger, table, rules, catalogue = decision.trigger, decision.table, decision.known.rules, decision.known.catalogue
    shopper, effects, position = trigger.moment.shopper, trigger.effects, int(table.position[row])
    stored = stored_row(table.features, row, table.predicted[row])
    issue = _issue(decision, choice, row, table.coupons.coupons[position], stored)
    opened, is_new = _opened(decision, row, issue, stored), shopper.is_new(issue.issued_at)
    booking = opened.booking(Stake(), opened.stake, opened.at)
    decision.wallet.draw(table.coupons.accounts[position], booking, effects, is_new=is_new)
    policy.note_issue(shopper.history.recent_issues, issue.issued_at, rules.policy)
    shopper.history.given.note(issue.coupon_id, issue.campaign_id, local_time(issue.issued_at, rules.shop.time_zone))
    effects.messages.append(issue)
    effects.facts.append(("issue", issue.domain))
    lift_steps.note_issue(shopper, opened, catalogue, rules, effects)
    result_steps.note_issue(opened, rules, effects)
    shopper.open_issue(opened, catalogue.by_id)
    if shopper.early:
        attribution.join_early(shopper, issue.issue_id, catalogue, rules, effects)


def _issue(decision: Decision, choice: Choice, row: int, coupon: Coupon, stored: StoredRow) -> CouponIssue:
    """Return the message that gives the coupon of a row."""
    trigger, table, moment = decision.trigger, decision.table, decision.trigger.moment
    numeric, hashed, (p_click, p_redeem, p_order) = stored
    expires_at = min(moment.at + coupon.redeem_within_s, END_OF_TIME)
    return CouponIssue(
        issue_id=trigger.identity,
        user_id=moment.user_id,
        coupon_id=coupon.coupon_id,
        domain=trigger.event.domain,
        issued_at=moment.at,
        expires_at=expires_at,
        trigger_id=trigger.event.event_id,
        title=coupon.title,
        **_terms(coupon),
        currency=decision.known.rules.shop.currency(trigger.event.domain),
        p_click=p_click,
        p_redeem=p_redeem,
        p_order=p_order,
        value_minor=round(float(table.value_minor[row]), 3),
        price_minor=round(float(table.price_minor[row]), 3),
        campaign_id=coupon.campaign_id,
        held_minor=int(table.held_minor[row]),
        propensity=round(choice.propensity(row), 9),
        is_explored=choice.is_drawn,
        model_version=table.scorer.version,
        reasons=_reasons(decision, coupon, unpack(numeric, hashed)),
        code=_code(decision, coupon, expires_at),
    )


def _terms(coupon: Coupon) -> dict[str, Any]:
    """Return the fields by which an issue repeats terms; a long scope is left out, and `scope_in_catalogue` set."""
    fields = {name: getattr(coupon, name) for name in Terms.__struct_fields__}
    if len(coupon.categories) + len(coupon.brands) + len(coupon.items) > MAX_ISSUED_NAMES:
        fields |= {"categories": [], "brands": [], "items": [], "scope_in_catalogue": True}
    return fields


def _code(decision: Decision, coupon: Coupon, expires_at: float) -> str | None:
    """Return the code of the issue of a coupon; None if the coupon has no codes."""
    known, coupon_id = decision.known, coupon.coupon_id
    if coupon.codes == "none":
        return None
    if coupon.codes == "pool":
        number = decision.wallet.next_code(known.catalogue.accounts.of(coupon))
        code = None if number is None else known.catalogue.pools.code(coupon_id, number)
        if code is None:
            raise ValueError(f"coupon {coupon_id} has no code number {number}: it was sold out")
        return code
    key = codes.coupon_key(codes.codes_key(known.rules.key), coupon_id)
    return codes.generate(key, decision.trigger.identity, expires_at, coupon.code_prefix)


def _opened(decision: Decision, row: int, issue: CouponIssue, stored: StoredRow) -> OpenIssue:
    """Return the issue as the shopper's state keeps it."""
    (numeric, hashed, predicted), known = stored, decision.known
    rules, discount_minor = known.rules.attribution, float(decision.table.discount_minor[row])
    expected, variance = cost_of(issue.p_redeem, discount_minor)
    return OpenIssue(
        issue_id=issue.issue_id,
        coupon_id=issue.coupon_id,
        domain=issue.domain,
        at=issue.issued_at,
        expires_at=issue.expires_at + rules.grace_s,
        held_minor=issue.held_minor,
        campaign_id=issue.campaign_id,
        most_minor=issue.max_discount_minor,
        expected_minor=expected,
        variance=variance,
        numeric=numeric,
        hashed=hashed,
        predicted=predicted,
        propensity=issue.propensity,
        model_version=issue.model_version,
        observed=False,
        feature_schema=SCHEMA,
        awaits_impressions=issue.domain in rules.impression_domains,
        until=issue.expires_at,
        scope_mark=known.catalogue.scope_mark(issue.coupon_id),
        value_minor=round(issue.value_minor / decision.table.value_ratio, 3),
        code=issue.code,
        order_minor=round(float(decision.table.order_minor[row]), 1),
        discount_minor=round(discount_minor, 1),
        day=result_steps.day_of(issue.issued_at, known.rules),
    )


def _reasons(decision: Decision, coupon: Coupon, rows: FeatureRows) -> list[Reason]:
    """Return the features of one row with the largest effect for or against, as the model in use weighs them."""
    table, coupons = decision.table, decision.table.coupons
    named = {name: coupon.attributes.get(name) for name in coupons.attributes}
    names = hashed_names(named, decision.trigger.moment.context, has_vectors=coupons.has_vectors)
    contributions = table.scorer.contributions(rows, 0, REDEEM, names)
    loudest = contributions[: decision.known.rules.policy.explain_top]
    return [Reason(name, round(value, 4), round(added, 4)) for name, value, added in loudest]


def record(
    decision: Decision, sold_out: list[str], choice: Choice, result: DecisionResult, *, is_holdout: bool
) -> LoggedDecision:
    """Return the record of a decision.

    Parameters
    ----------
    decision : Decision
        Among the arms: what the policy chose among.
    sold_out : list of str
        Ids of the other candidates, which have no stock or money.
    choice : Choice
        The policy's answer.
    result : str
        What follows from it.
    is_holdout : bool
        True if the shopper is in the holdout.
    """
    trigger, table = decision.trigger, decision.table
    arms, given = [coupon.coupon_id for coupon in table.listed()], choice.row if result == "given" else None
    return choice.logged(
        arms,
        table.value_minor,
        table.price_minor,
        decision_id=trigger.identity,
        priorities=[] if table.priority is None else table.priority.tolist(),
        user_id=trigger.moment.user_id,
        domain=trigger.event.domain,
        at=trigger.moment.at,
        trigger_id=trigger.event.event_id,
        result=result,
        model_version=table.scorer.version,
        logged_ratio=decision.known.rules.policy.decisions_logged_ratio,
        sold_out=sold_out,
        coupon_id=NO_COUPON if given is None else arms[given],
        propensity=None if result in ("holdout", "lift_below_zero") else round(choice.propensity(given), 9),
        is_holdout=is_holdout,
    )

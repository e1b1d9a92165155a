"""The issue of a coupon, and the record of a decision."""

from stream_coupons.core.decision import attribution, lift_steps, open_issues, policy
from stream_coupons.core.decision.decided import Decision
from stream_coupons.core.decision.issue_codes import with_code
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.scoring import REDEEM
from stream_coupons.core.decision.stored_row import StoredRow, unpack
from stream_coupons.core.features.rows import SCHEMA, FeatureRows, hashed_names
from stream_coupons.core.local_time import local_time
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue, DecisionResult, LoggedDecision, Reason
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.messages.terms import issued_terms
from stream_coupons.core.money.holds import cost_of
from stream_coupons.core.shopper.state import OpenIssue


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
    shopper, effects = trigger.moment.shopper, trigger.effects
    stored = table.stored(row)
    limits, issue = table.coupons.accounts[int(table.position[row])], _issue(decision, choice, row, stored)
    issue = with_code(issue, table.coupon(row), decision.wallet, limits, decision.known)
    opened, is_new = _opened(decision, row, issue, stored), shopper.is_new(issue.issued_at)
    decision.wallet.draw(limits, open_issues.opening(opened), effects, is_new=is_new)
    policy.note_issue(shopper.history.recent_issues, issue.issued_at, rules.policy)
    shopper.history.given.note(issue.coupon_id, issue.campaign_id, local_time(issue.issued_at, rules.shop.time_zone))
    effects.messages.append(issue)
    effects.facts.append(("issue", issue.domain))
    lift_steps.note_issue(shopper, opened, rules.policy, effects)
    open_issues.open_issue(shopper, opened, catalogue)
    if shopper.early:
        attribution.join_early(shopper, issue.issue_id, catalogue, rules.attribution, effects)


def _issue(decision: Decision, choice: Choice, row: int, stored: StoredRow) -> CouponIssue:
    """Return the message that gives the coupon of a row."""
    trigger, table, moment = decision.trigger, decision.table, decision.trigger.moment
    coupon, (numeric, hashed, (p_click, p_redeem, p_order)) = table.coupon(row), stored
    return CouponIssue(
        issue_id=trigger.identity,
        user_id=moment.user_id,
        coupon_id=coupon.coupon_id,
        domain=trigger.event.domain,
        issued_at=moment.at,
        expires_at=min(moment.at + coupon.redeem_within_s, END_OF_TIME),
        trigger_id=trigger.event.event_id,
        title=coupon.title,
        **issued_terms(coupon),
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
        model_version=table.model_version,
        reasons=_reasons(decision, coupon, unpack(numeric, hashed)),
    )


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
        value_minor=round(issue.value_minor / known.brake(issue.domain).value_ratio, 3),
        code=issue.code,
    )


def _reasons(decision: Decision, coupon: Coupon, rows: FeatureRows) -> list[Reason]:
    """Return the features of one row with the largest effect for or against, as the model in use weighs them."""
    table, coupons = decision.table, decision.table.coupons
    named = {name: coupon.attributes.get(name) for name in coupons.attributes}
    names = hashed_names(named, decision.trigger.moment.context, has_vectors=coupons.has_vectors)
    contributions = table.model.contributions(rows, 0, REDEEM, names)
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
        model_version=table.model_version,
        logged_ratio=decision.known.rules.policy.decisions_logged_ratio,
        sold_out=sold_out,
        coupon_id=NO_COUPON if given is None else arms[given],
        propensity=None if result in ("holdout", "lift_below_zero") else round(choice.propensity(given), 9),
        is_holdout=is_holdout,
    )

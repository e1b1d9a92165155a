"""Results of a decision: the issue of a coupon, the record of the decision, and control observations.

A control observation is of a coupon that a shopper does not get: it shows who orders without it.
"""

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.catalogue import is_over_own_cap
from stream_coupons.core.decision import attribution, lift_steps, open_issues, policy
from stream_coupons.core.decision.candidates import Candidates, StoredRow, unpack
from stream_coupons.core.decision.issue_codes import with_code
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.scoring import REDEEM, Knowledge
from stream_coupons.core.features.rows import SCHEMA, FeatureRows, hashed_names
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue, DecisionResult, LoggedDecision, Reason
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.money.holds import cost_of
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import OpenIssue
from stream_coupons.core.shopper.watched import OpenControl, Predicted


def give(decision: Candidates, choice: Choice, row: int, known: Knowledge) -> None:
    """Issue the coupon of a row: draw its unit and its money, and wait for what follows.

    Parameters
    ----------
    decision : Candidates
        The candidates that can be had.
    choice : Choice
        The policy's answer, for the propensity.
    row : int
        Of the coupon among the candidates.
    known : Knowledge
        Rules, catalogue and models.
    """
    undecided, rules = decision.undecided, known.rules
    shopper, effects = undecided.moment.shopper, undecided.effects
    limits, coupon = undecided.coupons.accounts[int(decision.positions[row])], decision.coupon(row)
    numeric, hashed, predicted = stored = decision.stored(row)
    reasons = _reasons(decision, coupon, unpack(numeric, hashed), known)
    issue = _issue(decision, choice, row, coupon, predicted, reasons)
    issue = with_code(issue, coupon, undecided.wallet, limits, known)
    opened = _opened(issue, stored, decision, row, known)
    undecided.wallet.draw(limits, open_issues.opening(opened), effects)
    policy.note_issue(shopper.history.recent_issues, issue.issued_at, rules.policy)
    effects.messages.append(issue)
    effects.facts.append(("issue", issue.domain))
    lift_steps.note_issue(shopper, opened, rules.policy, effects)
    open_issues.open_issue(shopper, opened, known.catalogue)
    if shopper.early:
        attribution.join_early(shopper, issue.issue_id, known.catalogue, rules.attribution, effects)


def _issue(
    decision: Candidates, choice: Choice, row: int, coupon: Coupon, predicted: Predicted, reasons: list[Reason]
) -> CouponIssue:
    """Return the message that gives the coupon of a row."""
    undecided, moment = decision.undecided, decision.undecided.moment
    p_click, p_redeem, p_order = predicted
    return CouponIssue(
        issue_id=undecided.identity,
        user_id=moment.user_id,
        coupon_id=coupon.coupon_id,
        domain=undecided.event.domain,
        issued_at=moment.at,
        expires_at=min(moment.at + coupon.redeem_within_s, END_OF_TIME),
        trigger_id=undecided.event.event_id,
        title=coupon.title,
        discount_percent=coupon.discount_percent,
        discount_minor=coupon.discount_minor,
        max_discount_minor=coupon.max_discount_minor,
        p_click=p_click,
        p_redeem=p_redeem,
        p_order=p_order,
        value_minor=round(float(decision.values_minor[row]), 3),
        price_minor=round(float(decision.prices_minor[row]), 3),
        campaign_id=coupon.campaign_id,
        held_minor=decision.charges[row].held_minor,
        propensity=round(choice.propensity(row), 9),
        is_explored=choice.is_drawn,
        model_version=decision.scorer.version,
        reasons=reasons,
    )


def _opened(issue: CouponIssue, stored: StoredRow, decision: Candidates, row: int, known: Knowledge) -> OpenIssue:
    """Return the issue as the shopper's state keeps it."""
    numeric, hashed, predicted = stored
    limits, rules = decision.undecided.coupons.accounts[int(decision.positions[row])], known.rules.attribution
    expected, variance = cost_of(issue.p_redeem, float(decision.discounts_minor[row]))
    return OpenIssue(
        issue_id=issue.issue_id,
        coupon_id=issue.coupon_id,
        domain=issue.domain,
        at=issue.issued_at,
        expires_at=issue.expires_at + rules.grace_s,
        held_minor=issue.held_minor,
        campaign_id=issue.campaign_id,
        most_minor=issue.max_discount_minor,
        keeps_rest=any(limit.hold == "maximum" for limit in limits if limit.most is not None and not limit.is_stock),
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


def _reasons(decision: Candidates, coupon: Coupon, rows: FeatureRows, known: Knowledge) -> list[Reason]:
    """Return the features of one row with the largest effect for or against, as the model in use weighs them."""
    coupons = decision.undecided.coupons
    named = {name: coupon.attributes.get(name) for name in coupons.attributes}
    names = hashed_names(named, decision.undecided.moment.context, has_vectors=coupons.has_vectors)
    contributions = decision.scorer.contributions(rows, 0, REDEEM, names)
    loudest = contributions[: known.rules.policy.explain_top]
    return [Reason(name, round(value, 4), round(added, 4)) for name, value, added in loudest]


def record(  # noqa: PLR0913 - all that a decision says
    decision: Candidates,
    considered: Candidates,
    can_be_had: NDArray[np.bool_],
    choice: Choice,
    result: DecisionResult,
    is_holdout: bool,
    rules: PolicyRules,
) -> LoggedDecision:
    """Return the record of a decision.

    Parameters
    ----------
    decision : Candidates
        The arms: what the policy chose among.
    considered : Candidates
        The arms and what is sold out.
    can_be_had : array of bool, shape (n,)
        False of the rows of `considered` that are sold out.
    choice : Choice
        The policy's answer.
    result : str
        What follows from it.
    is_holdout : bool
        True if the shopper is in the holdout.
    rules : PolicyRules
        `decisions_logged_ratio` is recorded, too.
    """
    undecided = decision.undecided
    arms, given = [coupon.coupon_id for coupon in decision.coupons()], choice.row if result == "given" else None
    return choice.logged(
        arms,
        decision.values_minor,
        decision.prices_minor,
        decision_id=undecided.identity,
        user_id=undecided.moment.user_id,
        domain=undecided.event.domain,
        at=undecided.moment.at,
        trigger_id=undecided.event.event_id,
        result=result,
        model_version=decision.scorer.version,
        logged_ratio=rules.decisions_logged_ratio,
        sold_out=[considered.coupon(row).coupon_id for row in np.flatnonzero(~can_be_had).tolist()],
        coupon_id=NO_COUPON if given is None else arms[given],
        propensity=None if result in ("holdout", "lift_below_zero") else round(choice.propensity(given), 9),
        is_holdout=is_holdout,
    )


def open_control(
    decision: Candidates, row: int, known: Knowledge, *, withheld: bool = False, is_beside: bool = False
) -> None:
    """Watch whether the shopper orders in the scope of a coupon that they do not get.

    Parameters
    ----------
    decision : Candidates
        Candidates of the trigger.
    row : int
        Of the coupon.
    known : Knowledge
        Rules, catalogue and models.
    withheld : bool
        True if it would have been given, but for the holdout.
    is_beside : bool
        True if the decision is a control observation of another coupon, too.
    """
    coupon, moment, identity = decision.coupon(row), decision.undecided.moment, decision.undecided.identity
    numeric, hashed, predicted = decision.stored(row)
    control = OpenControl(
        issue_id=f"{identity}-{coupon.coupon_id}" if is_beside else identity,
        coupon_id=coupon.coupon_id,
        domain=decision.undecided.event.domain,
        at=moment.at,
        until=moment.at + coupon.redeem_within_s,
        numeric=numeric,
        hashed=hashed,
        predicted=predicted,
        model_version=decision.scorer.version,
        withheld=withheld,
        feature_schema=SCHEMA,
        scope_mark=known.catalogue.scope_mark(coupon.coupon_id),
    )
    open_issues.open_control(moment.shopper, control, known.rules.attribution)


def open_controls_beside(decision: Candidates, best: int, known: Knowledge) -> None:
    """Watch some more coupons that the shopper does not get, evenly among all.

    Parameters
    ----------
    decision : Candidates
        All coupons that could be given.
    best : int
        Row that is watched already.
    known : Knowledge
        Rules, catalogue and models.
    """
    size = known.rules.policy.holdout_controls - 1
    for row in policy.watched(len(decision.positions), best, decision.undecided.identity, size, known.rules.key):
        open_control(decision, row, known, is_beside=True)


def open_controls_apart(decision: Candidates, given: int, known: Knowledge) -> None:
    """Watch some coupons of other scopes than the one that is given: for these, the shopper has no coupon.

    Parameters
    ----------
    decision : Candidates
        All coupons that could be given.
    given : int
        Row of the coupon that is given.
    known : Knowledge
        Rules, catalogue and models.
    """
    size, identity = known.rules.policy.controls_apart, decision.undecided.identity
    overlapping = decision.undecided.coupons.overlapping(int(decision.positions[given]))
    for row in policy.watched(len(decision.positions), given, identity, size, known.rules.key):
        if int(decision.positions[row]) not in overlapping:
            open_control(decision, row, known, is_beside=True)


def under_caps_of_holdout(decision: Candidates, known: Knowledge) -> tuple[Candidates, bool]:
    """Return the candidates that a shopper of the holdout may be withheld.

    They are those that others would be given under the same caps: else those who come often would count for more in the
    holdout than among others.

    Parameters
    ----------
    decision : Candidates
        All coupons that could be given.
    known : Knowledge
        Rules of the frequency cap.

    Returns
    -------
    candidates : Candidates
        Those that the caps leave; all if they leave none.
    is_due : bool
        False if the caps leave none.
    """
    history, at = decision.undecided.moment.shopper.history, decision.undecided.moment.at
    kept = np.array([not is_over_own_cap(history.withheld, coupon) for coupon in decision.coupons()])
    if not kept.any() or policy.is_over_frequency_cap(history.recent_withheld, at, known.rules.policy):
        return decision, False
    return decision.narrowed(kept), True


def withhold(decision: Candidates, row: int, known: Knowledge, *, is_due: bool) -> None:
    """Watch the coupon that a shopper of the holdout would have been given, and some coupons beside it.

    Parameters
    ----------
    decision : Candidates
        Candidates of the trigger.
    row : int
        Of the coupon.
    known : Knowledge
        Rules, catalogue and models.
    is_due : bool
        True if caps allow it: then it is marked as withheld, and counts towards them.
    """
    history = decision.undecided.moment.shopper.history
    if is_due:
        policy.note_issue(history.recent_withheld, decision.undecided.moment.at, known.rules.policy)
        coupon_id = decision.coupon(row).coupon_id  # capped or not: the catalogue may set a cap later
        history.withheld[coupon_id] = history.withheld.get(coupon_id, 0) + 1
    open_control(decision, row, known, withheld=is_due)
    open_controls_beside(decision, row, known)

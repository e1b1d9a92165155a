"""A decision's messages: the coupon-issue of what is given, and the record of the decision."""

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.decision import attribution, policy
from stream_coupons.core.decision.candidates import REDEEM, Candidates
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.settlement import opening
from stream_coupons.core.decision.stored_rows import unpack
from stream_coupons.core.features.rows import SCHEMA, hashed_names
from stream_coupons.core.messages.decisions import CouponIssue, DecisionResult, LoggedDecision, Reason
from stream_coupons.core.messages.fields import END_OF_TIME, NO_COUPON
from stream_coupons.core.money.price import cost_of
from stream_coupons.core.rules import PolicyRules
from stream_coupons.core.shopper.state import OpenIssue


def give(decision: Candidates, choice: Choice, row: int, known: Knowledge) -> None:
    """Issue the coupon of a row: draw its unit and its money, and wait for what follows.

    Parameters
    ----------
    choice : Choice
        The policy's answer, for the propensity.
    row : int
        Of the coupon among the candidates.
    """
    undecided, rules = decision.undecided, known.rules
    shopper, effects = undecided.moment.shopper, undecided.effects
    issue = _issue(decision, choice, row, known)
    opened = _opened(issue, decision, row, known)
    undecided.wallet.draw(undecided.coupons.accounts[int(decision.positions[row])], opening(opened), effects)
    attribution.open_issue(shopper, opened, known.catalogue)
    policy.note_issue(shopper.history.recent_issues, issue.issued_at, rules.policy)
    effects.emit(issue)
    effects.count("issue", issue.domain)
    effects.add(attribution.join_early(shopper, issue.issue_id, known.catalogue, rules.attribution))


def _issue(decision: Candidates, choice: Choice, row: int, known: Knowledge) -> CouponIssue:
    """Return the message that gives the coupon of a row."""
    undecided, coupon, moment = decision.undecided, decision.coupon(row), decision.undecided.moment
    p_click, p_redeem, p_order = decision.probabilities(row)
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
        model_version=decision.model_version,
        reasons=_reasons(decision, row, known),
    )


def _opened(issue: CouponIssue, decision: Candidates, row: int, known: Knowledge) -> OpenIssue:
    """Return the issue as the shopper's state keeps it."""
    limits, rules = decision.undecided.coupons.accounts[int(decision.positions[row])], known.rules.attribution
    numeric, hashed = decision.features(row)
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
        predicted=(issue.p_click, issue.p_redeem, issue.p_order),
        propensity=issue.propensity,
        model_version=issue.model_version,
        observed=False,
        feature_schema=SCHEMA,
        awaits_impressions=rules.awaits_impressions(issue.domain),
        until=issue.expires_at,
        scope_mark=known.catalogue.scope_mark(issue.coupon_id),
    )


def _reasons(decision: Candidates, row: int, known: Knowledge) -> list[Reason]:
    """Return the features with the largest effect for or against, as the model in use weighs them."""
    undecided, coupon = decision.undecided, decision.coupon(row)
    rows, coupons = unpack(*decision.features(row)), undecided.coupons
    named = {name: coupon.attributes.get(name) for name in coupons.attributes}
    names = hashed_names(named, undecided.moment.context, has_vectors=coupons.has_vectors)
    contributions = known.scorer(undecided.event.domain).own.contributions(rows, 0, REDEEM, names)
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
    """
    undecided = decision.undecided
    given = choice.row if result == "given" else None
    return choice.logged(
        [coupon.coupon_id for coupon in decision.coupons()],
        decision.values_minor,
        decision.prices_minor,
        decision_id=undecided.identity,
        user_id=undecided.moment.user_id,
        domain=undecided.event.domain,
        at=undecided.moment.at,
        trigger_id=undecided.event.event_id,
        result=result,
        model_version=decision.model_version,
        logged_ratio=rules.decisions_logged_ratio,
        sold_out=[coupon.coupon_id for coupon, can in zip(considered.coupons(), can_be_had, strict=True) if not can],
        coupon_id=NO_COUPON if given is None else decision.coupon(given).coupon_id,
        propensity=None if result == "holdout" else round(choice.propensity(given), 9),
        is_holdout=is_holdout,
    )

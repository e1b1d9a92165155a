"""Coupons that another system gave, or chose not to give: scored as if they were ours, and learnt from."""

import math

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.decision import attribution, erasure
from stream_coupons.core.decision.policy import control_row
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import stored_row
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.rows import SCHEMA, FeatureRows, extract
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import ObservedIssue, window_fault
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.imputation import fill_context, remember_context
from stream_coupons.core.shopper.state import OpenIssue, Predicted, Shopper


def row_of(moment: Moment, event: ObservedIssue, known: Knowledge) -> FeatureRows:
    """Return the features of an observed issue: one row, of the coupon of `arm_of`.

    Parameters
    ----------
    moment : Moment
        The shopper at that time.
    event : ObservedIssue
        The observed issue.
    known : Knowledge
        Rules, catalogue and models.
    """
    coupons, position = arm_of(event, known)
    return extract([moment], coupons.alone(position), [np.array([0])], known.rules.profile)


def arm_of(event: ObservedIssue, known: Knowledge) -> tuple[CouponSet, int]:
    """Return the coupon that an observed issue is scored with: its set, and its position in it.

    It is the coupon given. Where none was given, the issue is a control observation of one of its arms, drawn by chance
    as in the engine's own decisions; if no arm is known, of a coupon for everything that takes nothing off.

    Parameters
    ----------
    event : ObservedIssue
        The observed issue, of a domain and a coupon of the catalogue.
    known : Knowledge
        Rules and catalogue.
    """
    if event.coupon_id != NO_COUPON:
        coupons = known.catalogue.set_of(event.coupon_id)
        return coupons, coupons.position[event.coupon_id]
    coupons = known.catalogue.domains.get(event.domain, known.catalogue.nothing)
    arms = [coupons.position[arm] for arm in event.arms if arm in coupons.position]
    if not arms:
        return known.catalogue.nothing, 0
    return coupons, arms[control_row(len(arms), event.issue_id, known.rules.key)]


def observe(
    user_id: str, shopper: Shopper, event: ObservedIssue, known: Knowledge, latest: float = math.inf
) -> Effects:
    """Score a coupon that another system gave, or chose not to give, as if it were ours, and wait for what follows.

    Parameters
    ----------
    user_id : str
        The shopper.
    shopper : Shopper
        State, changed in place.
    event : ObservedIssue
        With the coupon_id `none` if it gave none.
    known : Knowledge
        Rules, catalogue and models.
    latest : float
        The latest that it can be now, UTC epoch seconds: a sender's clock may be ahead.
    """
    effects = Effects()
    moment = sight(user_id, shopper, event, known, effects)
    if moment is None:
        return effects
    rows, scorer = row_of(moment, event, known), known.scorer(event.domain)
    issue = note(event, known, *stored_row(rows, 0, scorer.predict(rows)[0]), scorer.version)
    keep(shopper, issue, known, effects, latest)
    return effects


def sight(user_id: str, shopper: Shopper, event: ObservedIssue, known: Knowledge, effects: Effects) -> Moment | None:
    """Return the moment of what another system gave, or chose not to give; None if it is of no use.

    The context is remembered for what is missing later.

    Parameters
    ----------
    user_id : str
        The shopper.
    shopper : Shopper
        State, changed in place.
    event : ObservedIssue
        The observed issue.
    known : Knowledge
        Rules, catalogue and models.
    effects : Effects
        Extended by the reason why it is of no use.
    """
    fault = window_fault(event.occurred_at, event.expires_at)
    if fault is not None:
        effects.refuse(Rejection.INVALID, fault)
        return None
    identity = event.issue_id
    if identity in shopper.issues or shopper.has_closed(identity):
        effects.facts.append(("duplicate", "observed"))
        return None
    if shopper.has_forgotten(event.occurred_at):
        effects.facts.append((erasure.ERASURE, "ignored"))
        return None
    at, remembered = event.occurred_at, shopper.profile.contexts
    remember_context(remembered, event.context, at, known.rules.profile)
    coupon = known.catalogue.by_id.get(event.coupon_id)
    # A domain is not made up by who tells of it: each that is learnt of costs every worker a model.
    is_nothing = event.coupon_id == NO_COUPON
    if event.domain not in known.catalogue.names if is_nothing else coupon is None or coupon.domain != event.domain:
        effects.facts.append(("observed", "unknown_coupon"))
        return None
    shopper.leaves_at = None
    return Moment(user_id, shopper, at, fill_context(remembered, event.context, at, known.rules.profile))


def note(
    event: ObservedIssue, known: Knowledge, numeric: bytes, hashed: bytes, predicted: Predicted, version: int
) -> OpenIssue:
    """Return an observed issue as it is kept while it is open.

    Parameters
    ----------
    event : ObservedIssue
        The observed issue.
    known : Knowledge
        Rules, catalogue and models.
    numeric, hashed : bytes
        One row as it is stored.
    predicted : tuple of float
        P(click), P(redeem) and P(order).
    version : int
        Of the model.
    """
    return OpenIssue(
        issue_id=event.issue_id,
        coupon_id=event.coupon_id,
        domain=event.domain,
        at=event.occurred_at,
        expires_at=event.expires_at + known.rules.attribution.grace_s,
        held_minor=0,
        numeric=numeric,
        hashed=hashed,
        predicted=predicted,
        propensity=event.propensity,
        model_version=version,
        observed=True,
        feature_schema=SCHEMA,
        awaits_impressions=event.domain in known.rules.attribution.impression_domains,
        until=event.expires_at,
        scope_mark=known.catalogue.scope_mark(event.coupon_id),
    )


def keep(shopper: Shopper, issue: OpenIssue, known: Knowledge, effects: Effects, latest: float = math.inf) -> None:
    """Wait for what follows on an observed issue; feedback that came before it is joined.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    issue : OpenIssue
        The issue, not yet in the state.
    known : Knowledge
        Rules, catalogue and models.
    effects : Effects
        Of the step so far; extended.
    latest : float
        The latest that it can be now, UTC epoch seconds: a sender's clock may be ahead.
    """
    rules = known.rules.attribution
    shopper.open_issue(issue, known.catalogue.by_id)
    effects.facts.append(("observed", "scored"))
    _make_room(shopper, rules, effects)
    if shopper.early:
        attribution.join_early(shopper, issue.issue_id, known.catalogue, known.rules, effects, latest)


def _make_room(shopper: Shopper, rules: AttributionRules, effects: Effects) -> None:
    """Give up the oldest of more observed issues than may be open: what becomes of it is not known, nor learnt.

    Ours stay. They are few by the caps of the policy, and hold money. So does the latest, however large.
    """
    sizes = {issue_id: len(packed) for issue_id, (_, packed) in shopper.issues.items()}
    if len(sizes) <= rules.max_open_observed and sum(sizes.values()) <= rules.max_observed_bytes:
        return
    observed = [issue_id for issue_id in sizes if shopper.issue(issue_id).observed]
    size = sum(sizes[issue_id] for issue_id in observed)
    for left, issue_id in zip(range(len(observed), 1, -1), observed, strict=False):
        if left <= rules.max_open_observed and size <= rules.max_observed_bytes:
            break
        size -= sizes[issue_id]
        del shopper.issues[issue_id]
        shopper.remember_closed(issue_id, observed=True)
        effects.facts.append(("observed", "crowded_out"))

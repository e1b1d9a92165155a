"""Coupons that another system gave, or chose not to give: scored as if they were ours, and learnt from."""

import math
from collections.abc import Iterable

import numpy as np

from stream_coupons.core.catalogue.compiled import CouponSet, Floats, Positions
from stream_coupons.core.decision import attribution, erasure
from stream_coupons.core.decision.candidates import packed_row, stored
from stream_coupons.core.decision.open_issues import open_issue
from stream_coupons.core.decision.scoring import ORDER, Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.features.rows import SCHEMA, FeatureRows, extract
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import ObservedIssue, window_fault
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.shopper.imputation import fill_context, remember_context
from stream_coupons.core.shopper.state import OpenIssue, Shopper
from stream_coupons.core.shopper.watched import Predicted


def rows_with(moment: Moment, coupons: CouponSet, positions: Positions, known: Knowledge) -> FeatureRows:
    """Return the features of a moment with some coupons of a set, one row for each.

    Parameters
    ----------
    moment : Moment
        A shopper at a time.
    coupons : CouponSet
        Coupons of one domain.
    positions : array of int, shape (n,)
        Positions in `coupons`.
    known : Knowledge
        Rules, catalogue and models.
    """
    return extract([moment], coupons, [positions], known.rules.profile)


def rows_without(moment: Moment, domain: str, arms: Iterable[str], known: Knowledge) -> FeatureRows:
    """Return the features of a moment in which no coupon is given, but one of these arms might have been: one row.

    It is that of a coupon that takes nothing off, for the scope of the arms if that is the same for all, else for
    everything. It has no hashed features of a coupon: what P(order) learns from such rows holds beside every coupon.

    Parameters
    ----------
    moment : Moment
        A shopper at a time.
    domain : str
        Domain of the arms.
    arms : iterable of str
        Coupon ids.
    known : Knowledge
        Rules, catalogue and models.
    """
    return rows_with(moment, known.catalogue.nothing_of(domain, arms), np.array([0]), known)


def predict(
    moment: Moment, coupons: CouponSet, positions: Positions, domain: str, arms: Iterable[str], known: Knowledge
) -> tuple[FeatureRows, Floats]:
    """Return features and probabilities of a moment with some coupons of a set that another system chose from.

    P(order) is that of giving none of the arms, for each of them: shoppers who got none taught it from such a row, so
    what is near in one of the coupons says nothing of it.

    Parameters
    ----------
    moment : Moment
        A shopper at a time.
    coupons : CouponSet
        Coupons of one domain.
    positions : array of int, shape (n,)
        Positions in `coupons`.
    domain : str
        The domain.
    arms : iterable of str
        Coupon ids that the other system chose among.
    known : Knowledge
        Rules, catalogue and models.

    Returns
    -------
    rows : FeatureRows
        n rows.
    predicted : array, shape (n, 3)
        Columns as in `HEADS`.
    """
    rows = rows_with(moment, coupons, positions, known)
    scorer = known.scorer(domain)
    predicted = scorer.predict(rows)
    predicted[:, ORDER] = scorer.predict(rows_without(moment, domain, arms, known))[0, ORDER]
    return rows, predicted


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
    rows, predicted = _score(moment, event, known)
    numeric, hashed = packed_row(rows, 0)
    version = known.scorer(event.domain).version
    issue = note(event, known, numeric, hashed, stored(predicted[0].tolist()), version)
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
    open_issue(shopper, issue, known.catalogue)
    effects.facts.append(("observed", "scored"))
    _make_room(shopper, rules, effects)
    if shopper.early:
        attribution.join_early(shopper, issue.issue_id, known.catalogue, rules, effects, latest)


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


def _score(moment: Moment, event: ObservedIssue, known: Knowledge) -> tuple[FeatureRows, Floats]:
    """Return the row of what was given, and its probabilities."""
    if event.coupon_id == NO_COUPON:
        rows = rows_without(moment, event.domain, event.arms, known)
        return rows, known.scorer(event.domain).predict(rows)
    coupons = known.catalogue.domains[event.domain]
    alone = coupons.alone(coupons.position[event.coupon_id])
    return predict(moment, alone, np.array([0]), event.domain, event.arms, known)

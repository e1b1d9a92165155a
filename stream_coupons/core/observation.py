"""The steps that only take notice: coupons that others gave, feedback, neighbours, the passing of time."""

import numpy as np

from stream_coupons.core import attribution
from stream_coupons.core.effects import Effects
from stream_coupons.core.events import FeedbackEvent, NeighbourUpdate, ObservedIssue
from stream_coupons.core.features import Moment, extract, look
from stream_coupons.core.profile import is_duplicate
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.scoring import Knowledge
from stream_coupons.core.shopper import Neighbourhood, OpenIssue, Shopper
from stream_coupons.core.similarity import pack_vector, stable_hash


def observe(user_id: str, shopper: Shopper, event: ObservedIssue, known: Knowledge) -> Effects:
    """Score a coupon that another system gave, as if it were ours, and wait for what comes of it."""
    effects = Effects()
    if event.issue_id in shopper.issues or stable_hash(event.issue_id) in shopper.closed:
        effects.count("duplicate", "observed")
        return effects
    coupons = known.catalogue.of_domain(event.domain)
    position = coupons.position.get(event.coupon_id) if coupons is not None else None
    if coupons is None or position is None:
        effects.count("observed", "unknown_coupon")
        return effects
    moments = [Moment(user_id, shopper, event.occurred_at, event.context)]
    views = look(moments, coupons, known.rules.profile)
    rows = extract(moments, views, coupons, [np.array([position])], known.rules.profile)
    scorer = known.scorer(event.domain)
    click, redeem, order = scorer.predict(rows)[0].tolist()
    numeric, hashed = attribution.pack(rows).row(0)
    issue = OpenIssue(
        issue_id=event.issue_id,
        coupon_id=event.coupon_id,
        domain=event.domain,
        at=event.occurred_at,
        expires_at=event.expires_at + known.rules.attribution.grace_s,
        held_minor=0,
        numeric=numeric,
        hashed=hashed,
        predicted=(round(click, 6), round(redeem, 6), round(order, 6)),
        propensity=event.propensity,
        model_version=scorer.version,
        observed=True,
    )
    attribution.open_issue(shopper, issue, known.catalogue)
    effects.count("observed", "scored")
    effects.add(attribution.join_early(shopper, event.issue_id, known.catalogue))
    return effects


def feedback(shopper: Shopper, event: FeedbackEvent, known: Knowledge) -> Effects:
    """Join a click or a purchase to the coupon it is about."""
    if is_duplicate(shopper.profile, event.event_id, known.rules.profile):
        effects = Effects()
        effects.count("duplicate", "feedback")
        return effects
    return attribution.join(shopper, event, known.catalogue, known.rules.attribution)


def learn_neighbours(shopper: Shopper, update: NeighbourUpdate) -> Effects:
    """Take in who is near; news from a cell that the shopper has left, or older than known, is ignored."""
    if update.cell == shopper.cell and update.at >= shopper.neighbourhood.at:
        packed = pack_vector(dict(zip(update.indices, update.weights, strict=True)))
        shopper.neighbourhood = Neighbourhood(update.at, packed)
    return Effects()


def pass_time(user_id: str, shopper: Shopper, at: float) -> Effects:
    """Close what time alone decides: proposals that got no answer, windows of issues and controls."""
    effects = attribution.close_windows(user_id, shopper, at)
    for proposal in [proposal for proposal in shopper.proposals.values() if proposal.expires_at <= at]:
        # The answer may still come: confirm finds no proposal then and gives the reservation back.
        del shopper.proposals[proposal.proposal_id]
        effects.count("decision", NoCoupon.TIMED_OUT)
    return effects

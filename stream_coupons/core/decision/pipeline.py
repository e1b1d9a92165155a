"""The steps of a shopper, readable from top to bottom: take in, decide, take notice.

take_in   an event of the shop -> profile -> neighbourhood -> candidates, if it is a trigger
decide    candidates of one trigger or of many -> features -> score -> what can be had -> policy -> a coupon-issue
feedback, learn_neighbours, pass_time   the outcome of a coupon, news of other shoppers, the end of windows

A step takes a shopper's state, changes it in place and returns its effects. It knows no Kafka, no clock and no
randomness but what its arguments hand it. If it raises, the caller throws the state away and loads it again.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from stream_coupons.core.catalogue.catalogue import eligible
from stream_coupons.core.decision import attribution, erasure, lift_steps, policy, visits
from stream_coupons.core.decision.arms import BRAKED, draw_in_arm
from stream_coupons.core.decision.candidates import Candidates, Undecided, note_demand, score, want_missed
from stream_coupons.core.decision.issuing import (
    give,
    open_control,
    open_controls_apart,
    open_controls_beside,
    record,
    under_caps_of_holdout,
    withhold,
)
from stream_coupons.core.decision.open_issues import observe_order
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.effects import Effects
from stream_coupons.core.errors import PluginError
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.decisions import DecisionResult
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, OrderEvent, ShopEvent
from stream_coupons.core.messages.neighbours import NeighbourUpdate, UserVector
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.neighbours.buckets import departure
from stream_coupons.core.neighbours.relations import MAX_VECTOR, bucket_of
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.shopper.imputation import fill_context
from stream_coupons.core.shopper.preferences import category_portrait, is_familiar, portrait
from stream_coupons.core.shopper.profile import fold, is_duplicate
from stream_coupons.core.shopper.state import Neighbourhood, Shopper
from stream_coupons.core.vectors.sparse import SparseVector, damp, pack_vector, simhash

log = logging.getLogger(__name__)

KINDS: Mapping[type[ShopEvent], str] = {BrowseEvent: "browse", CartEvent: "cart", OrderEvent: "order"}


class Times(NamedTuple):
    """Times that an event does not say itself, UTC epoch seconds; None where there is no clock."""

    appended_at: float | None = None
    """Time at which the event was appended."""
    now: float | None = None
    """Time at which it is worked on."""


ANY_TIME = Times()


def take_in(
    user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge, wallet: Wallet, times: Times = ANY_TIME
) -> Effects | Undecided:
    """Fold an event into the shopper's state and, if it is a trigger, find the coupons that the shopper may get.

    What is decided is decided as of when the event was appended if the event says that it comes later. A sender whose
    clock is ahead would otherwise be given coupons before they start, and then none until that time has come.

    Parameters
    ----------
    shopper : Shopper
        Changed in place.
    wallet : Wallet
        The purses of the shopper's partition.

    Returns
    -------
    Effects or Undecided
        The effects of the whole event; or a trigger that is still to be decided, with its effects so far.
    """
    effects = Effects()
    kind = KINDS[type(event)]
    # Before its id is remembered: what is ignored must not make the mark of an erasure grow.
    if shopper.has_forgotten(event.occurred_at):
        effects.facts.append((erasure.ERASURE, "ignored"))
        return effects
    if is_duplicate(shopper.profile, kind, event.event_id, known.rules.profile):
        effects.facts.append(("duplicate", kind))
        return effects
    shopper.leaves_at = None
    fold(shopper.profile, event, known.rules.profile)
    if isinstance(event, OrderEvent):
        observe_order(shopper, event, known.catalogue)
        lift_steps.note_order(shopper, event, known.catalogue, known.rules.policy, effects)
    effects.messages += publish_vector(user_id, shopper, event, known)
    effects.messages += ask_for_related(user_id, shopper, event, known)
    if kind not in known.rules.policy.triggers:
        return effects
    found = _candidates(user_id, shopper, event, known, wallet, times, effects)
    if isinstance(found, Undecided):
        return found
    effects.facts.append(("decision", found))
    return effects


def _candidates(  # noqa: PLR0913 - what a decision begins with
    user_id: str,
    shopper: Shopper,
    event: ShopEvent,
    known: Knowledge,
    wallet: Wallet,
    times: Times,
    effects: Effects,
) -> Undecided | NoCoupon:
    """Return the coupons that a trigger may lead to; or the reason why it leads to none."""
    rules = known.rules.policy
    at = event.occurred_at if times.appended_at is None else min(event.occurred_at, times.appended_at)
    now = max(at, times.now or at)
    identity = issue_id(user_id, KINDS[type(event)], event.event_id)
    objection = policy.standing_objection(shopper, at, now, rules)
    if objection is not None and (shopper.issues or not policy.is_watched(objection, identity, rules, known.rules.key)):
        return objection
    if shopper.has_decided(identity):
        return NoCoupon.REPEATED
    coupons = known.catalogue.domains.get(event.domain)
    if coupons is None:
        return NoCoupon.NO_CANDIDATE
    positions = eligible(shopper, coupons, at, rules, now, event, effects.facts)
    if not len(positions):
        return NoCoupon.NO_CANDIDATE
    shopper.considered_at = at
    if objection is not None:
        positions = positions[[policy.control_row(len(positions), identity, known.rules.key)]]
    familiar = is_familiar(shopper.profile, event, known.rules.profile)
    if familiar is not None:
        effects.facts.append(("interest", "familiar" if familiar else "strange"))
    context = fill_context(shopper.profile.contexts, event.context, at, known.rules.profile)
    moment = Moment(user_id, shopper, at, context, event)
    return Undecided(moment, event, identity, coupons, positions, wallet, effects, objection)


def issue_id(user_id: str, kind: str, trigger_id: str) -> str:
    """Return the identity of an issue to a shopper for a trigger: the same whenever it is computed.

    The kind of event is part of it, since events of two topics may share an id: else the answer to one of them would be
    taken for a copy of the other's answer, and never given back.

    Parameters
    ----------
    kind : str
        "browse", "cart" or "order".
    trigger_id : str
        `event_id` of the trigger.
    """
    return f"i{stable_hash(user_id, kind, trigger_id):016x}{stable_hash(trigger_id, kind, user_id):016x}"


def publish_vector(user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge) -> list[UserVector]:
    """Return the shopper's vector for the owner of their bucket, if it is time; two messages when they change buckets.

    There is none for a domain that is not in the catalogue: it has nothing to recommend, and made-up domains would
    leave states that are never dropped. While there is no coupon at all, any domain may be meant. Weights are damped:
    undamped, the few things that a shopper buys most would outweigh all else that they have in common with others.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    event : ShopEvent
        Just folded into the profile.
    """
    rules, at = known.rules.neighbourhood, event.occurred_at
    last = shopper.vector_sent_at
    if last is not None and at < last + rules.publish_every_s:
        return []
    if not _is_known_domain(event.domain, known):
        return []
    shopper.vector_sent_at = at
    known_by = portrait(shopper.profile, at, known.rules.profile, rules.max_vector)
    weights = _damped(known_by)
    bucket = simhash(dict(zip(known_by, weights, strict=True)), rules.cells)
    before, shopper.cell = shopper.cell, f"{event.domain}/{bucket}"
    arrival = UserVector(user_id=user_id, cell=shopper.cell, at=at, indices=list(known_by), weights=weights)
    return _moving(before, at, arrival)


def ask_for_related(user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge) -> list[UserVector]:
    """Return the shopper's categories for the bucket that relates categories, if it is time and any are known.

    A shopper who turns to another domain leaves the bucket of the one before.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    event : ShopEvent
        Just folded into the profile.
    """
    rules, at, related = known.rules.neighbourhood, event.occurred_at, shopper.related
    is_of_domain = related.bucket.rpartition("/")[0] == event.domain
    if is_of_domain and at < related.asked_at + rules.related_every_s:
        return []
    if not _is_known_domain(event.domain, known):
        return []
    known_by = category_portrait(shopper.profile, at, known.rules.profile, MAX_VECTOR)
    if not known_by:
        return []
    before, left_at = related.bucket, max(at, related.asked_at)
    related.bucket, related.asked_at = bucket_of(user_id, event.domain, rules.related_buckets), at
    arrival = UserVector(user_id=user_id, cell=related.bucket, at=at, indices=list(known_by), weights=_damped(known_by))
    return _moving(before, left_at, arrival)


def _moving(before: str, left_at: float, arrival: UserVector) -> list[UserVector]:
    """Return a vector, behind a departure if the shopper was in another cell before."""
    has_moved = before not in ("", arrival.cell)
    return [departure(arrival.user_id, before, left_at), arrival] if has_moved else [arrival]


def _is_known_domain(domain: str, known: Knowledge) -> bool:
    return not known.catalogue.names or domain in known.catalogue.names


def _damped(vector: SparseVector) -> list[float]:
    weights: list[float] = np.round(damp(np.fromiter(vector.values(), np.float64, len(vector))), 6).tolist()
    return weights


def decide(undecided: Sequence[Undecided], known: Knowledge) -> list[Effects]:
    """Give each shopper the best coupon for now, or none: the effects of their whole events.

    Each is scored as it would be alone, to the last bit; together they cost a fraction. They draw on the wallets one
    after the other, and what early feedback frees is there for the next one.

    Parameters
    ----------
    undecided : sequence of Undecided
        In the order in which their events came.

    Returns
    -------
    list of Effects
        In the same order.
    """
    # In the order of the triggers: domains may share a budget, and what is decided together must not matter.
    for one, candidates in zip(undecided, score(undecided, known), strict=True):
        try:
            result = _conclude(candidates, known) if candidates.is_finite else NoCoupon.NOT_FINITE
        except PluginError as error:
            log.error("no coupon for trigger %s: %s", one.identity, error)
            result = NoCoupon.POLICY_FAILED
        one.effects.facts.append(("decision", result))
        one.wallet.settle(one.effects)  # before the next one is decided, as if each were alone
    return [one.effects for one in undecided]


def _conclude(considered: Candidates, known: Knowledge) -> str:
    """Give one of the candidates, or none; what is sold out here is none, and is asked for if it was to be given."""
    undecided, rules, key = considered.undecided, known.rules.policy, known.rules.key
    visits.watch(considered, known)
    if undecided.refusal is not None:
        open_control(considered, 0, known)
        return undecided.refusal
    considered.charge()
    user_id = undecided.moment.user_id
    draw = draw_in_arm(user_id, undecided.event.domain, undecided.identity, known)
    is_holdout = policy.is_holdout(user_id, rules, key)
    can_be_had = np.array([charge.shortage is None for charge in considered.charges])
    if not is_holdout and draw is not BRAKED:
        note_demand(considered, rules.min_value_minor)
        if not can_be_had.all():
            want_missed(considered, can_be_had, draw, rules)
    if not can_be_had.any():
        return NoCoupon.SOLD_OUT
    decision, is_due = considered.narrowed(can_be_had), True
    if is_holdout:
        decision, is_due = under_caps_of_holdout(decision, known)
    choice = policy.pick(decision.net_minor, draw, rules, partial(decision.offer, rules))
    result: DecisionResult = "holdout" if is_holdout else "given"
    if choice.row is None:
        result = "lift_below_zero" if draw is BRAKED else "control" if choice.is_control else "not_worth_it"
    lift_steps.enrol(decision, known)
    if policy.is_logged(undecided.identity, rules, key):
        undecided.effects.messages.append(record(decision, considered, can_be_had, choice, result, is_holdout, rules))
    if result == "given" and choice.row is not None:
        give(decision, choice, choice.row, known)
        open_controls_apart(decision, choice.row, known)
    elif result == "holdout" and choice.row is not None:
        withhold(decision, choice.row, known, is_due=is_due)
    elif choice.is_control:
        open_control(decision, choice.best, known)
        open_controls_beside(decision, choice.best, known)
    else:
        open_control(decision, policy.control_row(len(decision.positions), undecided.identity, key), known)
    return result


def feedback(shopper: Shopper, event: FeedbackEvent, known: Knowledge, latest: float = math.inf) -> Effects:
    """Join a click or a purchase to the coupon it is about.

    Parameters
    ----------
    latest : float
        The latest that it can be now, UTC epoch seconds: a sender's clock may be ahead.
    """
    if is_duplicate(shopper.profile, attribution.FEEDBACK, event.event_id, known.rules.profile):
        effects = Effects()
        effects.facts.append(("duplicate", attribution.FEEDBACK))
        return effects
    return attribution.join(shopper, event, known.catalogue, known.rules.attribution, latest)


def learn_neighbours(shopper: Shopper, update: NeighbourUpdate) -> Effects:
    """Take in who is near, or what is related.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    update : NeighbourUpdate
        Ignored if it is of a bucket that the shopper has left, or older than the last one.
    """
    related, packed = shopper.related, pack_vector(dict(zip(update.indices, update.weights, strict=True)))
    if update.cell == related.bucket and update.at >= related.at:
        related.at, related.packed = update.at, packed
    elif update.cell == shopper.cell and update.at >= shopper.neighbourhood.at:
        shopper.neighbourhood = Neighbourhood(update.at, packed)
    return Effects()


def pass_time(user_id: str, shopper: Shopper, at: float, known: Knowledge) -> Effects:
    """Close what time alone decides: windows of issues and controls, and feedback that waited for its issue.

    Parameters
    ----------
    at : float
        The time that has come, UTC epoch seconds.
    """
    effects = attribution.close_windows(user_id, shopper, at, known.catalogue, known.rules.attribution)
    erasure.leave_if_idle(user_id, shopper, at, known.rules.profile, effects)
    effects.is_over = erasure.is_over(shopper, at)
    return effects

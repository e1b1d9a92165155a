"""The steps of a shopper, readable from top to bottom: take in, decide, commit; feedback and time.

take_in   an event of the shop -> profile -> vectors for neighbours -> a trigger with eligible coupons, if it is one
decide    triggers of many shoppers -> shortlist and features -> predict -> value: one table a domain, split by trigger
commit    (`commit`) one trigger after the other -> draw on the purses -> choose -> a coupon-issue
publish_vector, ask_for_related, learn_neighbours   the vectors that a shopper sends, and the answers
feedback, pass_time   the outcome of a coupon, the end of windows

A step takes a shopper's state, changes it in place and returns its effects. It knows no Kafka, no clock and no
randomness but what its arguments hand it. If it raises, the caller throws the state away and loads it again.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stream_coupons.core.catalogue import catalogue
from stream_coupons.core.catalogue.compiled import CouponSet, Positions
from stream_coupons.core.decision import attribution, campaign_holdout, erasure, lift_steps, policy
from stream_coupons.core.decision.open_issues import observe_order
from stream_coupons.core.decision.predict import list_all, predict, tabulate
from stream_coupons.core.decision.scoring import Knowledge, ValueScorer
from stream_coupons.core.decision.table import CandidateTable, Trigger
from stream_coupons.core.decision.value import value
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.effects import Effects
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, OrderEvent, ShopEvent
from stream_coupons.core.messages.neighbours import NeighbourUpdate, UserVector
from stream_coupons.core.neighbours.buckets import MAX_INTERESTS, departure
from stream_coupons.core.neighbours.relations import MAX_VECTOR, bucket_of
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.shopper.imputation import fill_context
from stream_coupons.core.shopper.profile import category_portrait, fold, is_duplicate, is_familiar, portrait
from stream_coupons.core.shopper.state import Neighbourhood, Shopper
from stream_coupons.core.vectors.sparse import SparseVector, damp, pack_vector, simhash
from stream_coupons.core.vectors.value_binning import Value

MAX_TOGETHER = 2**17
"""The most numbers in one array of a chunk of decisions. A chunk has some dozens of such arrays; beyond a processor's
cache they cost more than batching saves."""

KINDS: Mapping[type[ShopEvent], str] = {BrowseEvent: "browse", CartEvent: "cart", OrderEvent: "order"}


class Times(NamedTuple):
    """Times that an event does not say itself, UTC epoch seconds; None where there is no clock."""

    appended_at: float | None = None
    """Time at which the event was appended."""
    now: float | None = None
    """Time at which it is worked on."""


ANY_TIME = Times()


def take_in(
    user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge, times: Times = ANY_TIME
) -> Effects | Trigger:
    """Fold an event into the shopper's state and, if it is a trigger, find the coupons that the shopper may get.

    What is decided is decided as of when the event was appended if the event says that it comes later. A sender whose
    clock is ahead would otherwise be given coupons before they start, and then none until that time has come.

    Parameters
    ----------
    shopper : Shopper
        Changed in place.

    Returns
    -------
    Effects or Trigger
        The effects of the whole event; or a trigger that is still to be decided, with its effects so far.
    """
    effects = Effects()
    kind = KINDS[type(event)]
    # Before its id is remembered: what is ignored must not make the mark of an erasure grow.
    if shopper.erased_at is not None and shopper.has_forgotten(event.occurred_at):
        effects.facts.append((erasure.ERASURE, "ignored"))
        return effects
    if is_duplicate(shopper.profile, kind, event.event_id, known.rules.profile):
        effects.facts.append(("duplicate", kind))
        return effects
    shopper.leaves_at = None
    shopper.note_arrival(times.appended_at or event.occurred_at, known.rules.policy.new_for_s)
    fold(shopper.profile, event, known.rules.profile)
    if isinstance(event, OrderEvent):
        observe_order(shopper, event, known.catalogue)
        lift_steps.note_order(shopper, event, known.catalogue, known.rules, effects)
    effects.messages += publish_vector(user_id, shopper, event, known)
    effects.messages += ask_for_related(user_id, shopper, event, known)
    if kind not in known.rules.policy.triggers:
        return effects
    found = _trigger(user_id, shopper, event, known, times, effects)
    if isinstance(found, Trigger):
        return found
    effects.facts.append(("decision", found))
    return effects


def _trigger(
    user_id: str,
    shopper: Shopper,
    event: ShopEvent,
    known: Knowledge,
    times: Times,
    effects: Effects,
) -> Trigger | NoCoupon:
    """Return the trigger with the coupons that it may lead to; or the reason why it leads to none."""
    rules = known.rules.policy
    at = event.occurred_at if times.appended_at is None else min(event.occurred_at, times.appended_at)
    now = max(at, times.now or at)
    identity = issue_id(user_id, KINDS[type(event)], event.event_id)
    context: Mapping[str, Value] = event.context
    if known.rules.profile.missing_context:
        context = fill_context(shopper.profile.contexts, context, at, known.rules.profile)
    objection = policy.standing_objection(shopper, at, now, known.rules, context)
    if objection is not None and (shopper.issues or not policy.is_watched(objection, identity, rules, known.rules.key)):
        return objection
    if shopper.has_decided(identity):
        return NoCoupon.REPEATED
    if (coupons := known.catalogue.domains.get(event.domain)) is None:
        return NoCoupon.NO_CANDIDATE
    positions = catalogue.eligible(shopper, coupons, at, known.rules, now, event, effects.facts, context)
    moment, shadow = Moment(user_id, shopper, at, context, event), None
    positions, arms = campaign_holdout.allowed(user_id, coupons, positions, known.rules.key)
    if objection is None:
        campaign_holdout.enrol(moment, event.domain, arms, known, effects)
    if not len(positions):
        return NoCoupon.NO_CANDIDATE
    shopper.considered_at = at
    if objection is not None:
        positions = positions[[policy.control_row(len(positions), identity, known.rules.key)]]
    familiar = is_familiar(shopper.profile, event, known.rules.profile)
    if familiar is not None:
        effects.facts.append(("interest", "familiar" if familiar else "strange"))
    if objection is None and (staged := known.catalogue.shadows.get(event.domain)) is not None:
        found = catalogue.eligible(shopper, staged, at, known.rules, now, event, None, context)
        found, _ = campaign_holdout.allowed(user_id, staged, found, known.rules.key)
        shadow = Trigger(moment, event, identity, staged, found, effects) if len(found) else None
    return Trigger(moment, event, identity, coupons, positions, effects, objection, shadow)


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


def valued(
    moments: Sequence[Moment], eligible: Sequence[Positions], coupons: CouponSet, domain: str, known: Knowledge
) -> CandidateTable:
    """Return the most promising coupons of some shoppers, predicted and valued.

    Parameters
    ----------
    moments : sequence of Moment
        Shoppers, each at a time.
    eligible : sequence of arrays of int
        For each moment, positions in `coupons`.
    coupons : CouponSet
        Coupons of the domain.
    """
    scorer, rules, value_ratio = known.scorer(domain), known.rules, known.brake(domain).value_ratio
    reads_features = not isinstance(scorer, ValueScorer) or scorer.reads_features
    table = tabulate(moments, eligible, coupons, rules) if reads_features else list_all(moments, eligible, coupons)
    return value(predict(table, scorer), rules, value_ratio)


def decide(triggers: Sequence[Trigger], known: Knowledge) -> list[CandidateTable]:
    """Return the candidates of each trigger with their values: all of a decision that draws on nothing.

    Triggers of one domain are one table, in chunks whose arrays hold about `MAX_TOGETHER` numbers. A row equals that of
    its trigger alone, to the last bit; together they cost a fraction.

    Parameters
    ----------
    triggers : sequence of Trigger
        Of any domains and partitions.

    Returns
    -------
    list of CandidateTable
        In the order of `triggers`.
    """
    by_domain: defaultdict[str, list[int]] = defaultdict(list)
    for index, trigger in enumerate(triggers):
        by_domain[trigger.event.domain].append(index)
    found: dict[int, CandidateTable] = {}
    for domain, indices in by_domain.items():
        size = max(MAX_TOGETHER // triggers[indices[0]].coupons.width, 1)
        for first in range(0, len(indices), size):
            chunk = indices[first : first + size]
            moments = [triggers[index].moment for index in chunk]
            positions = [triggers[index].eligible for index in chunk]
            table = valued(moments, positions, triggers[chunk[0]].coupons, domain, known)
            found.update((index, table.of(number)) for number, index in enumerate(chunk))
    shadowed = {index: trigger.shadow for index, trigger in enumerate(triggers) if trigger.shadow is not None}
    for index, shadow in zip(shadowed, decide([*shadowed.values()], known) if shadowed else (), strict=True):
        found[index] = found[index].filled(shadow=shadow)
    return [found[index] for index in range(len(triggers))]


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
    return attribution.join(shopper, event, known.catalogue, known.rules, latest)


def publish_vector(user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge) -> list[UserVector]:
    """Return the shopper's vector for the owner of their bucket, if it is time; two messages when they change buckets.

    There is none for a domain that is not in the catalogue: it has nothing to recommend, and made-up domains would
    leave states that are never dropped. While there is no coupon at all, any domain may be meant. Weights are damped:
    undamped, the few things that a shopper buys most would outweigh all else that they have in common with others.

    Parameters
    ----------
    user_id : str
        The shopper.
    shopper : Shopper
        State, changed in place.
    event : ShopEvent
        Just folded into the profile.
    known : Knowledge
        Rules, and the domains of the catalogue.
    """
    rules, at = known.rules.neighbourhood, event.occurred_at
    last = shopper.vector_sent_at
    if last is not None and at < last + rules.publish_every_s:
        return []
    if not _is_known_domain(event.domain, known):
        return []
    shopper.vector_sent_at = at
    known_by = portrait(shopper.profile, at, known.rules.profile, MAX_INTERESTS)
    weights = _damped(known_by)
    bucket = simhash(dict(zip(known_by, weights, strict=True)), rules.cells)
    before, shopper.cell = shopper.cell, f"{event.domain}/{bucket}"
    arrival = UserVector(user_id=user_id, cell=shopper.cell, at=at, indices=list(known_by), weights=weights)
    return _moving(before, at, arrival)


def ask_for_related(user_id: str, shopper: Shopper, event: ShopEvent, known: Knowledge) -> list[UserVector]:
    """Return the shopper's categories for the bucket that relates categories, if it is time and any are known.

    A shopper who turns to another domain leaves the bucket of the one before. Parameters as of `publish_vector`.
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
    related.bucket, related.asked_at = bucket_of(user_id, event.domain, known.rules.related_buckets), at
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
    effects = attribution.close_windows(user_id, shopper, at, known.catalogue, known.rules)
    erasure.leave_if_idle(user_id, shopper, at, known.rules.profile, effects)
    effects.is_over = erasure.is_over(shopper, at)
    return effects

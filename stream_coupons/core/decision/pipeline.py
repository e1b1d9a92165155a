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

from stream_coupons.core.catalogue.eligibility import eligible
from stream_coupons.core.decision import attribution, erasure, policy
from stream_coupons.core.decision.candidates import Candidates, Undecided, score
from stream_coupons.core.decision.controls import open_control, open_controls_beside, under_caps_of_holdout, withhold
from stream_coupons.core.decision.demand import note_demand, want_missed
from stream_coupons.core.decision.identities import is_decided, issue_id
from stream_coupons.core.decision.issuing import give, record
from stream_coupons.core.decision.neighbour_messages import ask_for_related, publish_vector
from stream_coupons.core.decision.policy import Choice
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.effects import Effects
from stream_coupons.core.errors import PluginError
from stream_coupons.core.features.affinity import Moment
from stream_coupons.core.messages.decisions import DecisionResult
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, FeedbackEvent, OrderEvent, ShopEvent
from stream_coupons.core.messages.neighbours import NeighbourUpdate
from stream_coupons.core.money.wallet import Wallet
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.core.shopper.imputation import fill_context
from stream_coupons.core.shopper.preferences import is_familiar
from stream_coupons.core.shopper.profile import fold, is_duplicate
from stream_coupons.core.shopper.state import Neighbourhood, Shopper
from stream_coupons.core.vectors.sparse import pack_vector

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
    if erasure.is_of_before(shopper, event.occurred_at):
        effects.count(erasure.ERASURE, "ignored")
        return effects
    if is_duplicate(shopper.profile, kind, event.event_id, known.rules.profile):
        effects.count("duplicate", kind)
        return effects
    shopper.leaves_at = None
    fold(shopper.profile, event, known.rules.profile)
    if isinstance(event, OrderEvent):
        attribution.observe_order(shopper, event, known.catalogue)
    effects.messages += publish_vector(user_id, shopper, event, known)
    effects.messages += ask_for_related(user_id, shopper, event, known)
    if kind not in known.rules.policy.triggers:
        return effects
    found = _candidates(user_id, shopper, event, known, wallet, times, effects)
    if isinstance(found, Undecided):
        return found
    effects.count("decision", found)
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
    objection = policy.standing_objection(shopper, at, now, rules)
    identity = issue_id(user_id, KINDS[type(event)], event.event_id)
    if objection is not None and (shopper.issues or not policy.is_watched(objection, identity, rules, known.rules.key)):
        return objection
    if is_decided(shopper, identity):
        return NoCoupon.REPEATED
    coupons = known.catalogue.of_domain(event.domain)
    positions = np.array([], np.intp) if coupons is None else eligible(shopper, coupons, at, rules, now)
    if coupons is None or not len(positions):
        return NoCoupon.NO_CANDIDATE
    shopper.considered_at = at
    if objection is not None:
        positions = positions[[policy.control_row(len(positions), identity, known.rules.key)]]
    familiar = is_familiar(shopper.profile, event, known.rules.profile)
    if familiar is not None:
        effects.count("interest", "familiar" if familiar else "strange")
    context = fill_context(shopper.profile.contexts, event.context, at, known.rules.profile.context_policies)
    moment = Moment(user_id, shopper, at, context, event)
    return Undecided(moment, event, identity, coupons, positions, wallet, effects, objection)


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
        one.effects.count("decision", result)
        one.wallet.book(one.effects.bookings)  # before the next one is decided, as if each were alone
    return [one.effects for one in undecided]


def _conclude(considered: Candidates, known: Knowledge) -> str:
    """Give one of the candidates, or none; what is sold out here is none, and is asked for if it was to be given."""
    undecided, rules, key = considered.undecided, known.rules.policy, known.rules.key
    if undecided.refusal is not None:
        open_control(considered, 0, known)
        return undecided.refusal
    considered.charge()
    draw = policy.draw(undecided.identity, rules, key)
    is_holdout = policy.is_holdout(undecided.moment.user_id, rules, key)
    can_be_had = np.array([charge.shortage is None for charge in considered.charges])
    if not is_holdout:
        note_demand(considered, rules.min_value_minor)
        if not can_be_had.all():
            want_missed(considered, can_be_had, draw, rules)
    if not can_be_had.any():
        return NoCoupon.SOLD_OUT
    decision, is_due = considered.narrowed(can_be_had), True
    if is_holdout:
        decision, is_due = under_caps_of_holdout(decision, known)
    choice = policy.pick(decision.net_minor, draw, rules, partial(decision.offer, rules))
    result = _result(choice, is_holdout=is_holdout)
    if policy.is_logged(undecided.identity, rules, key):
        undecided.effects.emit(record(decision, considered, can_be_had, choice, result, is_holdout, rules))
    if result == "given" and choice.row is not None:
        give(decision, choice, choice.row, known)
    elif result == "holdout" and choice.row is not None:
        withhold(decision, choice.row, known, is_due=is_due)
    elif result == "control":
        open_control(decision, choice.best, known)
        open_controls_beside(decision, choice.best, known)
    else:
        open_control(decision, policy.control_row(len(decision.positions), undecided.identity, key), known)
    return result


def _result(choice: Choice, *, is_holdout: bool) -> DecisionResult:
    if choice.is_control:
        return "control"
    if choice.row is None:
        return "not_worth_it"
    return "holdout" if is_holdout else "given"


def feedback(shopper: Shopper, event: FeedbackEvent, known: Knowledge, latest: float = math.inf) -> Effects:
    """Join a click or a purchase to the coupon it is about.

    Parameters
    ----------
    latest : float
        The latest that it can be now, UTC epoch seconds: a sender's clock may be ahead.
    """
    if is_duplicate(shopper.profile, attribution.FEEDBACK, event.event_id, known.rules.profile):
        effects = Effects()
        effects.count("duplicate", attribution.FEEDBACK)
        return effects
    return attribution.join(shopper, event, known.catalogue, known.rules.attribution, latest)


def learn_neighbours(shopper: Shopper, update: NeighbourUpdate) -> Effects:
    """Take in who is near, or what is related.

    News from a bucket that the shopper has left, or older than what is known, is ignored.
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

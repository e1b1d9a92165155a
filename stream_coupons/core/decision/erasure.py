"""Forget a shopper: at once all that says what they are like, and in the end all but a mark.

What stays until then is what money and identity need. Coupons that were given can be used until their time is over, and
their owner hears what became of them; caps hold; ids say what was decided; and events of before the request, which may
come late from another topic, say nothing. Nothing is learnt of the shopper any more. A shopper who comes back before
the end stays, and is known by what they did since; one who comes after it is a new one.

The mark is the time of the request, under the key of the state. It has no end: an event of before the request can come
at any time, out of dead letters or a backfill, and without the mark it would make a new profile.
"""

import math
from itertools import chain

from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.inputs import ErasureRequest
from stream_coupons.core.neighbours.buckets import departure
from stream_coupons.core.rules import ProfileRules
from stream_coupons.core.shopper.profile import DAY_S, Profile
from stream_coupons.core.shopper.state import History, Neighbourhood, Related, Shopper

ERASURE = "erasure"
STAYS_S = 15 * DAY_S
"""After the last coupon's time is over: a day longer than inputs may stay in their topics, which keep them for seven
days, in segments that take up to seven to fill. None that was applied can come again when nobody knows it any more."""


def erase(user_id: str, shopper: Shopper, request: ErasureRequest, latest: float = math.inf) -> Effects:
    """Forget what a shopper is like, and note when the rest can go.

    Parameters
    ----------
    user_id : str
        The shopper.
    shopper : Shopper
        State, changed in place.
    request : ErasureRequest
        The request.
    latest : float
        The latest that it can be now: a sender's clock may be ahead.
    """
    effects = Effects()
    at = min(request.occurred_at, latest)
    if shopper.has_forgotten(at):
        effects.facts.append(("duplicate", ERASURE))
        return effects
    effects.facts.append((ERASURE, "requested"))
    _leave_cell(user_id, shopper, at, effects)
    shopper.profile = Profile(seen=shopper.profile.seen)
    shopper.neighbourhood, shopper.related, shopper.outcomes = Neighbourhood(), Related(), None
    old = shopper.history
    shopper.history = History(  # what limits how many coupons a shopper gets
        given=old.given,
        recent_issues=old.recent_issues,
        withheld=old.withheld,
        recent_withheld=old.recent_withheld,
    )
    shopper.considered_at = None
    shopper.controls.clear()
    shopper.visit = None
    _strip_issues(shopper)
    shopper.erased_at = at
    ends = (ends_at for ends_at, _ in shopper.issues.values())
    shopper.leaves_at = max(chain(ends, (early.waits_until for early in shopper.early)), default=at) + STAYS_S
    return effects


def _leave_cell(user_id: str, shopper: Shopper, at: float, effects: Effects) -> None:
    """Send departures to the buckets that the shopper is in."""
    if shopper.cell:
        effects.messages.append(departure(user_id, shopper.cell, max(at, shopper.vector_sent_at or 0.0)))
    shopper.cell, shopper.vector_sent_at = "", None
    related = shopper.related
    if related.bucket:
        effects.messages.append(departure(user_id, related.bucket, max(at, related.asked_at)))
    related.bucket, related.asked_at = "", 0.0


def _strip_issues(shopper: Shopper) -> None:
    """Leave of our open issues what their money needs, and of others' nothing."""
    for issue_id in [*shopper.issues]:
        issue = shopper.issue(issue_id)
        if issue.observed:
            del shopper.issues[issue_id]
            shopper.remember_closed(issue_id, observed=True)
        else:
            issue.forget_features()
            shopper.keep_issue(issue)


def idle_at(shopper: Shopper, rules: ProfileRules) -> float | None:
    """Return the time at which a shopper of whom nothing is open is idle for long enough for the state to end.

    Parameters
    ----------
    shopper : Shopper
        A shopper that has not asked to be forgotten, or came back since.
    rules : ProfileRules
        `forget_after_s` is how long; 0 is never.

    Returns
    -------
    float or None
        UTC epoch seconds; None if it never ends.
    """
    if not rules.forget_after_s or shopper.leaves_at is not None or not shopper.has_nothing_open:
        return None
    last_heard_at = max(shopper.profile.last_event_at, shopper.history.last_issued_at or 0.0)
    return last_heard_at + rules.forget_after_s if last_heard_at else None


def leave_if_idle(user_id: str, shopper: Shopper, at: float, rules: ProfileRules, effects: Effects) -> None:
    """Let the state of a shopper who was idle for long end as that of an erased shopper does.

    A shopper who comes back until then has lost nothing but the place among neighbours.

    Parameters
    ----------
    user_id : str
        The shopper.
    shopper : Shopper
        State, changed in place.
    at : float
        The time that has come, UTC epoch seconds.
    rules : ProfileRules
        `forget_after_s` is the time that is long enough; 0 for never.
    effects : Effects
        Of the step so far; extended.
    """
    idle = idle_at(shopper, rules)
    if idle is not None and idle <= at:
        effects.facts.append((ERASURE, "idle"))
        _leave_cell(user_id, shopper, at, effects)
        shopper.leaves_at = at + STAYS_S


def mark_of(shopper: Shopper) -> Shopper | None:
    """Return what stays of a state that is over: a state with nothing but `erased_at`; None if nobody asked for it."""
    return None if shopper.erased_at is None else Shopper(erased_at=shopper.erased_at)


def is_over(shopper: Shopper, at: float) -> bool:
    """Return True if nothing of the state is needed any more.

    Parameters
    ----------
    shopper : Shopper
        State of the shopper.
    at : float
        UTC epoch seconds.
    """
    return shopper.leaves_at is not None and shopper.leaves_at <= at and shopper.has_nothing_open

"""Identities of issues: how they are made, and which of them are over."""

from stream_coupons.core.shopper.state import MAX_CLOSED, Shopper
from stream_coupons.core.vectors.sparse import stable_hash


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


def remember_closed(shopper: Shopper, identity: str, *, observed: bool = False) -> None:
    """Remember that an issue is over: the last `MAX_CLOSED` of ours, and as many observed ones.

    Observed ones are remembered apart. Another system may give an issue the id of one of ours, and any number of its
    issues must not make us forget our own, or a trigger that comes again would lead to a second coupon.

    Parameters
    ----------
    shopper : Shopper
        State, changed in place.
    identity : str
        `issue_id` of the issue.
    observed : bool
        True if another system gave it.
    """
    closed = shopper.closed_observed if observed else shopper.closed
    closed.append(_mark_of(identity, observed=observed))
    del closed[:-MAX_CLOSED]


def _mark_of(identity: str, *, observed: bool) -> int:
    return stable_hash("observed", identity) if observed else stable_hash(identity)


def is_closed(shopper: Shopper, identity: str) -> bool:
    """Return whether an issue of this id is over, ours or observed."""
    observed = _mark_of(identity, observed=True)
    is_ours = _mark_of(identity, observed=False) in shopper.closed
    return is_ours or observed in shopper.closed_observed


def is_decided(shopper: Shopper, identity: str) -> bool:
    """Return whether this id led to an issue of ours.

    Another system may have given the id to an issue of its own: that says nothing.
    """
    is_open = identity in shopper.issues and not shopper.issue(identity).observed
    return is_open or _mark_of(identity, observed=False) in shopper.closed

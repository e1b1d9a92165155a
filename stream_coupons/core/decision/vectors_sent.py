"""Vectors that shoppers send: to the owner of their bucket of neighbours, and to that of related categories."""

import numpy as np

from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.neighbours.buckets import departure
from stream_coupons.core.neighbours.relations import MAX_VECTOR, bucket_of
from stream_coupons.core.shopper.profile import category_portrait, portrait
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.core.vectors.sparse import SparseVector, damp, simhash


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
    user_id : str
        The shopper.
    shopper : Shopper
        State, changed in place.
    event : ShopEvent
        Just folded into the profile.
    known : Knowledge
        Rules, and the domains of the catalogue.
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

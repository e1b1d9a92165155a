"""Which categories go together: a linear item-to-item model of each bucket, fitted to a bounded sample of shoppers.

The model predicts a shopper's weight for a category from their weights for the others: X B with a diagonal of zeros and
a ridge penalty (Steck 2019: Embarrassingly shallow autoencoders for sparse data, equation 8). Its closed form is

    P = (X'X + penalty I)^-1,    B_kl = -P_kl / P_ll for k != l

so a category that everybody buys says little: what it shares with all others is explained by them. X has one row for
each sampled shopper. We deviate from the reference in three points. Weights are damped counts in place of ones. The
rows of shoppers of whom nothing was heard fade. The penalty is `PENALTY` times the mean of the diagonal of X'X, so that
it needs no tuning when shoppers or their orders become more.

The score of a category l that is new to the shopper is R(u, l) = sum_k f(u, k) B_kl. It is computed here and sent back
to the owner of the shopper, who needs nothing else of other shoppers.

A model is a function of the members' states alone, whatever the order in which they were read: a worker that recovers
the states answers as the one before. Therefore each member keeps the vector that counts in the current model beside
the latest one, see `Member.settled`.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats, Hashes
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.fields import MAX_WEIGHT
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.neighbours.buckets import Member, answer
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.vectors.sparse import PackedVector, pack_vector, stable_hash, unpack_vector

BUCKET_MARK = "/categories-"
FIT_EVERY_S = DAY_S
FADE_HALF_LIFE_S = 90 * DAY_S
"""A shopper of whom nothing was heard for so long counts half."""
FREE_AFTER_S = 4 * FADE_HALF_LIFE_S
"""After so long without news the slot of a shopper is free for another, and their row counts no more."""
PENALTY = 1.0
MAX_CATEGORIES = 512
"""Categories in a model: the time of fitting grows with its cube."""
MAX_VECTOR = 128
"""Categories in the vector of a shopper, the strongest first."""
MAX_RELATED = 48
"""Categories in an answer, the strongest first."""
MAX_DAMPED_WEIGHT = 8.0
"""As of a category that was ordered 51 times lately. So a shopper who forges orders moves a model no further."""
ANSWER_DIGITS = 6
"""Further digits depend on the library that inverts the matrix."""

NOTHING_SETTLED: tuple[float, PackedVector] = (-1.0, (b"", b""))


def bucket_of(user_id: str, domain: str, buckets: int) -> str:
    """Return the name of the bucket that relates categories for a shopper in a domain.

    Every bucket has a random sample of the shoppers, so a domain may have as many as it has traffic for.

    Parameters
    ----------
    buckets : int
        Number of buckets in the domain.

    >>> bucket_of("u1", "groceries", 1)
    'groceries/categories-0'
    """
    return f"{domain}{BUCKET_MARK}{stable_hash('categories', user_id) % buckets}"


def is_category_bucket(cell: str) -> bool:
    """Return whether a bucket relates categories; else it is one of near shoppers.

    >>> is_category_bucket("groceries/categories-0"), is_category_bucket("groceries/7")
    (True, False)
    """
    return cell[cell.rfind("/") :].startswith(BUCKET_MARK)


def slot_of(user_id: str, members: int) -> str:
    """Return the slot of a shopper in a bucket: others may have it already.

    Parameters
    ----------
    members : int
        Number of slots.
    """
    return str(stable_hash("slot", user_id) % members)


class CategoryBucket:
    """The members of one bucket and the model that is fitted to them.

    A derived view of the members' states: made from them, thrown away with them.
    """

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self.period = 0
        """Of the model: vectors that were applied before it, in periods of `FIT_EVERY_S`, count."""
        self._model: tuple[Hashes, Floats] | None = None

    def put(self, slot: str, member: Member) -> None:
        """Set or replace the member of a slot; one without a vector is removed."""
        before, period = self._members.pop(slot, None), self.period
        counted = self._counted(before)
        if member.at >= 0.0:
            self._members[slot] = copy(member)
            self.period = max(period, member.period)
        if before is not None and before.period == period > member.period:
            self.period = max((one.period for one in self._members.values()), default=0)
        if self.period != period or counted != self._counted(self._members.get(slot)):
            self._model = None

    def _counted(self, member: Member | None) -> tuple[float, PackedVector] | None:
        """(weight of a member's row in X'X, in (0, 1]; vector) in the model; None if the member does not count."""
        if member is None:
            return None
        at, vector = _counting_before(member, self.period)
        age_s = max(self.period * FIT_EVERY_S - at, 0.0)
        return (2.0 ** (-age_s / FADE_HALF_LIFE_S), vector) if vector[0] and age_s < FREE_AFTER_S else None

    def related(self, indices: Sequence[int], weights: Sequence[float]) -> dict[int, float]:
        """Return scores of at most `MAX_RELATED` categories that a vector lacks, all above 0, in order of their index.

        Empty before a first period is over, and where nothing in the vector is known.

        Parameters
        ----------
        indices, weights : sequence
            Feature indices of the shopper's categories and their damped weights, of equal length.

        Returns
        -------
        dict
            Score by feature index.
        """
        if self._model is None:
            self._model = self._fit()
        known, related = self._model
        mine = np.array(indices, np.uint32)
        place = np.minimum(np.searchsorted(known, mine), max(len(known) - 1, 0))
        if not len(known) or not (found := known[place] == mine).any():
            return {}
        rows = place[found]
        bounded = np.clip(np.array(weights)[found], 0.0, MAX_DAMPED_WEIGHT)
        scores = (bounded @ related[rows]).clip(0.0, MAX_WEIGHT).round(ANSWER_DIGITS)
        scores[rows] = 0.0
        # Ties go to the smaller feature index.
        best = np.argsort(-scores, kind="stable")[:MAX_RELATED]
        best = np.sort(best[scores[best] > 0.0])
        return dict(zip(known[best].tolist(), scores[best].tolist(), strict=True))

    def _fit(self) -> tuple[Hashes, Floats]:
        """(indices, shape (n,), ascending; B, shape (n, n)) of the members' vectors that count."""
        # By slot: sums of floating-point numbers depend on their order.
        counted = [one for _, member in sorted(self._members.items()) if (one := self._counted(member)) is not None]
        vectors = [unpack_vector(vector) for _, vector in counted]
        everything = np.concatenate([indices for indices, _ in vectors]) if vectors else np.zeros(0, np.uint32)
        known, times = np.unique(everything, return_counts=True)
        if len(known) > MAX_CATEGORIES:
            known = np.sort(known[np.argsort(-times, kind="stable")[:MAX_CATEGORIES]])
        rows = np.zeros((len(vectors), len(known)))
        for row, (weight, _), (indices, weights) in zip(rows, counted, vectors, strict=True):
            place = np.minimum(np.searchsorted(known, indices), max(len(known) - 1, 0))
            is_known = known[place] == indices
            row[place[is_known]] = np.sqrt(weight) * np.clip(weights[is_known], 0.0, MAX_DAMPED_WEIGHT)
        gram = rows.T @ rows
        penalty = PENALTY * np.trace(gram) / max(len(known), 1)
        if penalty <= 0.0:
            return known[:0], gram[:0, :0]
        inverse = np.linalg.inv(gram + penalty * np.eye(len(known)))
        related = -inverse / np.diag(inverse)
        np.fill_diagonal(related, 0.0)
        return known, related


def _counting_before(member: Member, period: int) -> tuple[float, PackedVector]:
    """(time, vector) of a member that counts in the model of a period: the last one applied before it began."""
    return (member.at, member.packed) if member.period < period else (member.settled_at, member.settled)


def relate(member: Member, slot: str, message: UserVector, bucket: CategoryBucket) -> Effects:
    """Take a shopper's vector into the sample, if the slot is theirs or free, and send what is related to it.

    There is no answer to departures, to messages older than the member's vector, and where nothing is related.

    Parameters
    ----------
    member : Member
        State of the slot, changed in place.
    bucket : CategoryBucket
        Changed in place.
    """
    effects, period = Effects(), max(int(message.at // FIT_EVERY_S), bucket.period)
    is_free = member.at < 0.0 or period * FIT_EVERY_S - member.at >= FREE_AFTER_S
    is_own = not is_free and member.user_id == message.user_id
    if is_own and message.at < member.at:
        return effects
    if message.has_left:
        if is_own or is_free:
            bucket.put(slot, Member())
            effects.is_over = True
        return effects
    if is_own or is_free:
        member.settled_at, member.settled = _counting_before(member, period) if is_own else NOTHING_SETTLED
        member.at, member.user_id, member.period = message.at, message.user_id, period
        member.packed = pack_vector(dict(zip(message.indices, message.weights, strict=True)))
        bucket.put(slot, member)
    related = bucket.related(message.indices, message.weights)
    if related:
        effects.emit(answer(message, [], related))
    return effects

"""Related categories: a linear item-to-item model of each bucket, fitted to a bounded sample of shoppers.

The model predicts a shopper's weight for a category from their weights for the others: X B with a diagonal of zeros and
a ridge penalty (Steck 2019: Embarrassingly shallow autoencoders for sparse data, equation 8). Its closed form is

    P = (X'X + penalty I)^-1,    B_kl = -P_kl / P_ll for k != l

so a category that everybody buys has little effect: the other categories explain what it shares with them. X has one
row for each sampled shopper. The model deviates from the reference in three points. Weights are damped counts in place
of ones. The rows of inactive shoppers fade. The penalty is `PENALTY` times the mean of the diagonal of X'X, so it needs
no tuning as shoppers or orders grow in number.

The score of a category l that is new to the shopper is R(u, l) = sum_k f(u, k) B_kl. It is computed here and sent back
to the owner of the shopper, who needs nothing else of other shoppers.

A model is a function of the members' states alone, whatever the order of reading: a worker that recovers the states
gives the same answers as the previous one. Therefore each member keeps, beside the latest vector, the one that counts
in the current model, see `BucketMember.settled`.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats, Hashes
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.fields import MAX_WEIGHT
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.neighbours.buckets import BucketMember, answer
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.core.vectors.sparse import PackedVector, pack_vector, unpack_vector

BUCKET_MARK = "/categories-"
FIT_EVERY_S = DAY_S
FADE_HALF_LIFE_S = 90 * DAY_S
"""Age of a vector at which its row counts half, in seconds."""
FREE_AFTER_S = 4 * FADE_HALF_LIFE_S
"""Age of a vector at which its row stops counting and its slot is free for another shopper, in seconds."""
PENALTY = 1.0
MAX_SAMPLED = 4096
"""The most shoppers in a bucket. A shopper whose slot is taken still asks for what is related."""
MAX_CATEGORIES = 512
"""The most categories in a model: the time to fit grows with the cube."""
MAX_VECTOR = 128
"""The most categories in the vector of a shopper, the strongest first."""
MAX_RELATED = 48
"""The most categories in an answer, the strongest first."""
MAX_DAMPED_WEIGHT = 8.0
"""Bound of a weight, about that of 51 recent orders in a category. It limits the effect of forged orders on a model."""
ANSWER_DIGITS = 6
"""Rounding of scores: further digits depend on the library that inverts the matrix."""

NOTHING_SETTLED: tuple[float, PackedVector] = (-1.0, (b"", b""))


def bucket_of(user_id: str, domain: str, buckets: int) -> str:
    """Return the name of the bucket that relates categories for a shopper in a domain.

    Every bucket has a random sample of the shoppers, so the number of buckets can grow with the traffic of a domain.

    Parameters
    ----------
    user_id, domain : str
        The shopper and the domain.
    buckets : int
        Number of buckets in the domain.

    Examples
    --------
    >>> bucket_of("u1", "groceries", 1)
    'groceries/categories-0'
    """
    return f"{domain}{BUCKET_MARK}{stable_hash('categories', user_id) % buckets}"


def is_category_bucket(cell: str) -> bool:
    """Return True if a bucket relates categories; all others are buckets of near shoppers.

    Examples
    --------
    >>> is_category_bucket("groceries/categories-0"), is_category_bucket("groceries/7")
    (True, False)
    """
    return cell[cell.rfind("/") :].startswith(BUCKET_MARK)


def slot_of(user_id: str, members: int) -> str:
    """Return the slot of a shopper in a bucket; shoppers may share a slot.

    Parameters
    ----------
    user_id : str
        The shopper.
    members : int
        Number of slots.

    Returns
    -------
    str
        A decimal number from 0 to `members` - 1.

    Examples
    --------
    >>> slot_of("u1", 1)
    '0'
    """
    return str(stable_hash("slot", user_id) % members)


class CategoryBucket:
    """The members of one bucket and the model that is fitted to them.

    A derived view of the members' states: built from them, and discarded with them.
    """

    def __init__(self) -> None:
        self._members: dict[str, BucketMember] = {}
        self.period = 0
        """Period of the model, in units of `FIT_EVERY_S`: vectors applied before it count."""
        self._model: tuple[Hashes, Floats] | None = None

    def put(self, slot: str, member: BucketMember) -> None:
        """Set or replace the member of a slot.

        Parameters
        ----------
        slot : str
            Output of `slot_of`.
        member : BucketMember
            State of the slot; one without a vector is removed.
        """
        before, period = self._members.pop(slot, None), self.period
        counted = self._counted(before)
        if member.at >= 0.0:
            self._members[slot] = copy(member)
            self.period = max(period, member.period)
        if before is not None and before.period == period > member.period:
            self.period = max((one.period for one in self._members.values()), default=0)
        if self.period != period or counted != self._counted(self._members.get(slot)):
            self._model = None

    def _counted(self, member: BucketMember | None) -> tuple[float, PackedVector] | None:
        """Return (weight in X'X, in (0, 1]; vector) of a member's row in the model; None if it does not count."""
        if member is None:
            return None
        at, vector = _counting_before(member, self.period)
        age_s = max(self.period * FIT_EVERY_S - at, 0.0)
        return (2.0 ** (-age_s / FADE_HALF_LIFE_S), vector) if vector[0] and age_s < FREE_AFTER_S else None

    def related(self, indices: Sequence[int], weights: Sequence[float]) -> dict[int, float]:
        """Return scores of at most `MAX_RELATED` categories that a vector lacks, all above 0, by ascending index.

        The result is empty in the first period, and if the model has no category of the vector.

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
        """Return (indices, shape (n,), ascending; B, shape (n, n)) of the members' vectors that count."""
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


def _counting_before(member: BucketMember, period: int) -> tuple[float, PackedVector]:
    """Return the (time, vector) of a member that counts in the model of a period: the last applied before it began."""
    return (member.at, member.packed) if member.period < period else (member.settled_at, member.settled)


def relate(member: BucketMember, slot: str, message: UserVector, bucket: CategoryBucket) -> Effects:
    """Add a shopper's vector to the sample, if the slot is theirs or free, and answer with the related categories.

    There is no answer to departures, to messages older than the member's vector, and if no category is related.

    Parameters
    ----------
    member : BucketMember
        State of the slot, changed in place.
    slot : str
        Output of `slot_of`.
    message : UserVector
        The vector, or a departure.
    bucket : CategoryBucket
        The bucket, changed in place.
    """
    effects, period = Effects(), max(int(message.at // FIT_EVERY_S), bucket.period)
    is_free = member.at < 0.0 or period * FIT_EVERY_S - member.at >= FREE_AFTER_S
    is_own = not is_free and member.user_id == message.user_id
    if is_own and message.at < member.at:
        return effects
    if message.has_left:
        if is_own or is_free:
            bucket.put(slot, BucketMember())
            effects.is_over = True
        return effects
    if is_own or is_free:
        member.settled_at, member.settled = _counting_before(member, period) if is_own else NOTHING_SETTLED
        member.at, member.user_id, member.period = message.at, message.user_id, period
        member.packed = pack_vector(dict(zip(message.indices, message.weights, strict=True)))
        bucket.put(slot, member)
    related = bucket.related(message.indices, message.weights)
    if related:
        effects.messages.append(answer(message, [], related))
    return effects

"""Search for near shoppers: exact cosine within buckets of bounded size, updated one vector at a time.

R(u, i) = sum over neighbours j of sim(u, j) * c(j, i), with c(j, i) = sum_k w(i, k) v(j, k) the neighbour's affinity
for coupon i (user-based collaborative filtering, Herlocker et al. 1999, without mean-centring, since behaviour is
implicit). v(j) are weights as published, damped by a logarithm (`pipeline.publish_vector`). R is
linear in v(j). So the sum of the neighbours' vectors, each times its similarity, is enough for the owner of the shopper
to score any coupon. The sum is bounded, and it is the content of the answer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from stream_coupons.core.catalogue.compiled import Floats, Hashes, Positions
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.fields import MAX_WEIGHT
from stream_coupons.core.messages.neighbours import Neighbour, NeighbourUpdate, UserVector
from stream_coupons.core.rules import NeighbourhoodRules
from stream_coupons.core.vectors.sparse import PackedVector, pack_vector, unpack_vector

GROWTH = 2
WIDTH_STEP = 16
MAX_INTERESTS = 64
"""The most entries in the vector of a shopper: the time to compare grows with it."""
MAX_SUM = 256
"""The most entries in the sum of the neighbours' vectors. What is new to a shopper are its weak entries."""
SIMILARITY_DIGITS = 12
"""Rounding of similarities: further digits depend on the layout of the arrays, and answers must not."""


class BucketMember(Struct, array_like=True):
    """State of one shopper in one bucket: their vector, empty after they left. Mutable.

    The fields after `packed` are for buckets that relate categories, see `relations`.
    """

    at: float = -1.0
    packed: PackedVector = (b"", b"")
    user_id: str = ""
    """The shopper who has the slot."""
    period: int = 0
    """Period in which the vector was applied."""
    settled: PackedVector = (b"", b"")
    """The last vector that was applied before that period began; empty if there was none."""
    settled_at: float = -1.0


class BucketVectors:
    """The vectors of one bucket as arrays: for each row the columns of its features and their weights.

    A derived view of the members' states: built from them, and discarded with them.
    """

    def __init__(self, rules: NeighbourhoodRules) -> None:
        self._rules = rules
        self._width = WIDTH_STEP
        """Length of the longest vector, rounded up: most are far shorter than the bound."""
        self._rows: dict[str, int] = {}
        self._users: list[str | None] = []
        self._free: list[int] = []
        self._columns_of: dict[int, int] = {}
        self._count = 1
        self._max_count = 1024
        self._indices: Hashes = np.zeros(16, dtype=np.uint32)
        """Feature index by column; columns from `_count` on are unused. Column 0 is padding."""
        self._dense: Floats = np.zeros(16)
        """Zeros, except while a vector is expanded in it: there are too many columns to allocate it each time."""
        self._columns: Positions = np.zeros((0, self._width), dtype=np.intp)
        self._weights: Floats = np.zeros((0, self._width))
        self._norms: Floats = np.zeros(0)
        self._at: Floats = np.zeros(0)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._rows

    def put(self, user_id: str, member: BucketMember) -> None:
        """Set or replace a shopper's vector; a full bucket leaves out the stalest.

        A shopper who left a full bucket keeps the place until a newer one needs it. If it were free at once, a shopper
        left out earlier would belong there: a worker that takes over finds that shopper among the members, but this
        view has dropped them.

        Parameters
        ----------
        user_id : str
            The shopper.
        member : BucketMember
            State of the shopper in the bucket; one without a vector is removed.
        """
        if member.at < 0.0:  # as before the first vector
            self._remove(user_id)
            return
        indices, weights = unpack_vector(member.packed)
        row = self._rows.get(user_id)
        if row is None:
            if len(self._rows) >= self._rules.max_members:
                stalest = self._stalest()
                if (member.at, user_id) < (self._at[self._rows[stalest]], stalest):
                    return
                self._remove(stalest)
            row = self._new_row(user_id)
        if self._count > self._max_count:
            self._forget_unused()
        size = min(len(indices), MAX_INTERESTS)
        weights = weights[:size]
        if size > self._width:
            self._widen(-(-size // WIDTH_STEP) * WIDTH_STEP)
        self._columns[row] = 0
        self._weights[row] = 0.0
        self._columns[row, :size] = [self._column(index) for index in indices[:size].tolist()]
        self._weights[row, :size] = weights
        self._norms[row] = np.sqrt(weights @ weights)
        self._at[row] = member.at

    def release(self, user_id: str) -> bool:
        """Free the place of a shopper who left, unless the bucket is full: only a full one has left out members."""
        if len(self._rows) >= self._rules.max_members:
            return False
        self._remove(user_id)
        return True

    def _stalest(self) -> str:
        """Return the shopper with the oldest vector; ties go to the first by name."""
        at = self._at[: len(self._users)]
        return min(user for row in np.flatnonzero(at == at.min()).tolist() if (user := self._users[row]) is not None)

    def _column(self, index: int) -> int:
        column = self._columns_of.get(index)
        if column is None:
            column = self._columns_of[index] = self._count
            if column == len(self._indices):
                self._indices = np.concatenate([self._indices, np.zeros_like(self._indices)])
                self._dense = np.zeros(len(self._indices))
            self._indices[column] = index
            self._count += 1
        return column

    def _new_row(self, user_id: str) -> int:
        if self._free:
            row = self._free.pop()
            self._users[row] = user_id
        else:
            row = len(self._users)
            self._users.append(user_id)
            if row >= len(self._norms):
                self._grow(max(16, GROWTH * len(self._norms)))
        self._rows[user_id] = row
        return row

    def _grow(self, size: int) -> None:
        more = size - len(self._norms)
        self._columns = np.concatenate([self._columns, np.zeros((more, self._width), dtype=np.intp)])
        self._weights = np.concatenate([self._weights, np.zeros((more, self._width))])
        self._norms = np.concatenate([self._norms, np.zeros(more)])
        self._at = np.concatenate([self._at, np.zeros(more)])

    def _widen(self, width: int) -> None:
        more = (0, 0), (0, width - self._width)
        self._columns, self._weights = np.pad(self._columns, more), np.pad(self._weights, more)
        self._width = width

    def _remove(self, user_id: str) -> None:
        row = self._rows.pop(user_id, None)
        if row is None:
            return
        self._users[row] = None
        self._weights[row] = 0.0
        self._norms[row] = 0.0
        self._columns[row] = 0
        self._at[row] = np.inf
        self._free.append(row)

    def _forget_unused(self) -> None:
        """Renumber the columns without unused features, so that the arrays stay in cache."""
        used, renumbered = np.unique(np.append(self._columns.ravel(), 0), return_inverse=True)
        self._columns = renumbered[:-1].reshape(self._columns.shape)
        self._indices, self._count = self._indices[used], len(used)
        self._max_count = max(1024, GROWTH * len(used))
        self._dense = np.zeros(len(self._indices))
        self._columns_of = {index: column for column, index in enumerate(self._indices.tolist()) if column}

    def nearest(self, user_id: str) -> tuple[list[Neighbour], dict[int, float]]:
        """Return the nearest other shoppers, nearest first, and sum_j sim(u, j) v(j) over them.

        The sum is cut to its largest terms, each clipped to `MAX_WEIGHT`, which only forged vectors exceed.
        """
        own = self._rows[user_id]
        used = len(self._users)
        self._dense[self._columns[own]] = self._weights[own]
        products = np.einsum("mf,mf->m", np.take(self._dense, self._columns[:used]), self._weights[:used])
        self._dense[self._columns[own]] = 0.0
        lengths = self._norms[:used] * self._norms[own]
        similarity = np.divide(products, lengths, out=np.zeros(used), where=lengths > 0).round(SIMILARITY_DIGITS)
        similarity[own] = 0.0
        found = [
            Neighbour(user, float(similarity[row]))
            for row in self._most_similar(similarity).tolist()
            if (user := self._users[row]) is not None
        ]
        # Ties go to the first by name: rows are numbered as shoppers came.
        neighbours = sorted(found, key=lambda one: (-one.similarity, one.user_id))[: self._rules.neighbours]
        return neighbours, self._sum(neighbours)

    def _most_similar(self, similarity: Floats) -> Positions:
        """Return the rows of the nearest shoppers, with all ties of the last one, in no certain order."""
        near = np.flatnonzero(similarity > 0.0)
        count = self._rules.neighbours
        if len(near) <= count:
            return near
        last = np.partition(similarity[near], -count)[-count]
        nearest: Positions = near[similarity[near] >= last]
        return nearest

    def _sum(self, neighbours: Sequence[Neighbour]) -> dict[int, float]:
        picked = [self._rows[one.user_id] for one in neighbours]
        weights = self._weights[picked] * np.array([one.similarity for one in neighbours])[:, None]
        sums = np.bincount(self._columns[picked].ravel(), weights.ravel(), self._count)
        # The sum of forged vectors may exceed the bound of the message: the number of neighbours is not bounded.
        sums = sums.clip(-MAX_WEIGHT, MAX_WEIGHT).round(9)
        columns = np.flatnonzero(sums)
        indices, sums = self._indices[columns], sums[columns]
        if len(sums) > MAX_SUM:
            kept = np.lexsort((indices, -np.abs(sums)))[:MAX_SUM]  # Ties go to the smaller feature index.
            indices, sums = indices[kept], sums[kept]
        # Columns are numbered by arrival: the answer must not depend on that.
        order = np.argsort(indices)
        return dict(zip(indices[order].tolist(), sums[order].tolist(), strict=True))


def cell_key(cell: str, user_id: str) -> str:
    """Return the key of a shopper's state within a bucket.

    Parameters
    ----------
    cell : str
        Name of the bucket.
    user_id : str
        The shopper.

    Examples
    --------
    >>> cell_key("shop/3", "u1"), split_cell_key(cell_key("shop/3", "u1"))
    ('6:shop/3u1', ('shop/3', 'u1'))
    """
    return f"{len(cell)}:{cell}{user_id}"


def split_cell_key(key: str) -> tuple[str, str]:
    """Return (cell, user_id) of a `cell_key`.

    Examples
    --------
    >>> split_cell_key("6:shop/3u1")
    ('shop/3', 'u1')
    """
    length, _, rest = key.partition(":")
    return rest[: int(length)], rest[int(length) :]


def departure(user_id: str, cell: str, at: float) -> UserVector:
    """Return the message to a bucket's owner that a shopper has left it.

    Parameters
    ----------
    user_id, cell : str
        The shopper, and the name of the bucket.
    at : float
        UTC epoch seconds, not before the last vector.
    """
    return UserVector(user_id=user_id, cell=cell, at=at, indices=[], weights=[])


def answer(message: UserVector, neighbours: list[Neighbour], found: Mapping[int, float]) -> NeighbourUpdate:
    """Return the answer to a shopper's vector, for the owner of the shopper.

    Parameters
    ----------
    message : UserVector
        The vector.
    neighbours : list of Neighbour
        Near shoppers.
    found : mapping of int to float
        Weight by feature index.
    """
    return NeighbourUpdate(
        user_id=message.user_id,
        cell=message.cell,
        at=message.at,
        neighbours=neighbours,
        indices=list(found),
        weights=list(found.values()),
    )


def update(member: BucketMember, message: UserVector, cell: BucketVectors) -> Effects:
    """Apply a shopper's new vector and answer with the near shoppers; ignore a vector older than the stored one.

    Parameters
    ----------
    member : BucketMember
        State of the shopper in the bucket, changed in place.
    message : UserVector
        The vector, or a departure.
    cell : BucketVectors
        The bucket, changed in place.
    """
    effects = Effects()
    if message.at < member.at:
        return effects
    member.at, member.packed = message.at, pack_vector(dict(zip(message.indices, message.weights, strict=True)))
    cell.put(message.user_id, member)
    if message.has_left:
        effects.is_over = cell.release(message.user_id)
    elif message.user_id in cell:
        effects.messages.append(answer(message, *cell.nearest(message.user_id)))
    return effects

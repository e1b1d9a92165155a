"""Messages between the owners of shoppers and the owners of buckets."""

from msgspec import Struct

from stream_coupons.core.messages.fields import EpochSeconds, Id, _check_sparse


class UserVector(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper's interests as a sparse vector, for the owner of a bucket; empty: the shopper has left it."""

    user_id: Id
    """The shopper."""
    cell: Id
    """The bucket that receives it: the record's key."""
    at: EpochSeconds
    """Time of the event after which it was computed."""
    indices: list[int]
    """Hashed features; empty when the shopper has left the bucket."""
    weights: list[float]
    """Weight of each feature."""

    def __post_init__(self) -> None:
        _check_sparse(self.indices, self.weights)

    @property
    def has_left(self) -> bool:
        """True if the shopper has left the bucket."""
        return not self.indices


class Neighbour(Struct, frozen=True, array_like=True):
    """A near shopper and the similarity."""

    user_id: Id
    """The near shopper."""
    similarity: float
    """Cosine of both vectors."""


class NeighbourUpdate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shopper's nearest neighbours and the sum of their vectors, each times its similarity.

    R(u, i) = sum_j sim(u, j) c(j, i) is linear in j's vector, so scoring needs the sum only.
    """

    user_id: Id
    """The shopper: the record's key."""
    cell: Id
    """The bucket that computed it."""
    at: EpochSeconds
    """Time of the vector that was compared."""
    neighbours: list[Neighbour]
    """The nearest shoppers, nearest first."""
    indices: list[int]
    """Hashed features of the weighted sum."""
    weights: list[float]
    """Weight of each feature."""

    def __post_init__(self) -> None:
        _check_sparse(self.indices, self.weights)

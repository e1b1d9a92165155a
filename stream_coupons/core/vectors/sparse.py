"""Sparse vectors over hashed feature names, and how alike two of them are."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.draws import joined

SparseVector = dict[int, float]
"""Feature index (unsigned 32 bit) to weight; absent means zero."""

PackedVector = tuple[bytes, bytes]
"""The same as little-endian bytes, indices and weights of 32 bits. For what is kept, but read only now and then."""


def pack_vector(vector: Mapping[int, float]) -> PackedVector:
    """A sparse vector as bytes, in its order."""
    indices = np.fromiter(vector, "<u4", len(vector))
    return indices.tobytes(), np.fromiter(vector.values(), "<f4", len(vector)).tobytes()


def unpack_vector(packed: PackedVector) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """(indices, weights) of a packed vector."""
    indices, weights = packed
    return np.frombuffer(indices, "<u4"), np.frombuffer(weights, "<f4").astype(np.float64)


def as_arrays(vector: Mapping[int, float]) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """(indices, weights) of a sparse vector, in its order."""
    n = len(vector)
    return np.fromiter(vector, np.uint32, n), np.fromiter(vector.values(), np.float64, n)


def name_index(name: str) -> int:
    """Index of a named feature: CRC-32 of its UTF-8 bytes, the same on every machine.

    >>> name_index("item:A")
    4209920259
    """
    return crc32(name.encode())


MAX_REMEMBERED = 80
"""Characters of what is remembered by its name: senders may make up names without end, and long ones would fill the
memory. To work an index out anew costs a microsecond or two."""
_remembered_index = lru_cache(maxsize=200_000)(name_index)


def feature_index(name: str) -> int:
    """The same, remembered if it is not long: for names that are few, or come again and again."""
    return _remembered_index(name) if len(name) <= MAX_REMEMBERED else name_index(name)


DIGEST_BYTES = 8


def stable_digest(*parts: str) -> bytes:
    """Return a digest of `parts` of `DIGEST_BYTES` bytes, the same on every machine and run."""
    return blake2b(joined(*parts), digest_size=DIGEST_BYTES).digest()


def stable_hash(*parts: str) -> int:
    """Unsigned 64-bit hash of some strings: their digest as a number."""
    return int.from_bytes(stable_digest(*parts), "big")


def top(vector: Mapping[int, float], size: int) -> SparseVector:
    """The `size` entries of largest magnitude; ties go to the smaller index."""
    if len(vector) <= size:
        return dict(vector)
    if size <= 0:
        return {}
    threshold = sorted(map(abs, vector.values()))[-size]
    kept = {index: weight for index, weight in vector.items() if abs(weight) >= threshold}
    if len(kept) > size:
        tied = sorted(index for index, weight in kept.items() if abs(weight) == threshold)
        for index in tied[size - len(kept) :]:
            del kept[index]
    return kept


def damp(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """sign(w) log2(1 + |w|): the tenth purchase says less than the first; nothing stays nothing, one stays one.

    Sublinear weights as for terms of documents (Manning, Raghavan, Schuetze 2008: Introduction to information
    retrieval, section 6.4.1) and confidence in implicit feedback (Hu, Koren, Volinsky 2008: Collaborative filtering for
    implicit feedback datasets, equation 6).

    >>> damp(np.array([0.0, 1.0, 3.0, -7.0])).tolist()
    [0.0, 1.0, 2.0, -3.0]
    """
    damped: NDArray[np.float64] = np.copysign(np.log2(1.0 + np.abs(weights)), weights)
    return damped


def simhash(vector: Mapping[int, float], cells: int) -> int:
    """Cell of a vector by the signs of its projections on random hyperplanes, modulo `cells`.

    Vectors at a small angle mostly share a cell (Charikar 2002, section 3). The hyperplanes are the bits of a mix
    of the feature index, so nothing is stored.
    """
    if cells == 1 or not vector:
        return 0
    bits = (cells - 1).bit_length()
    mixed = np.fromiter(vector, np.uint32, len(vector)) * np.uint32(0x9E3779B1)
    mixed ^= mixed >> np.uint32(15)
    weights = np.fromiter(vector.values(), np.float64, len(vector))
    sides = (mixed >> np.arange(bits, dtype=np.uint32)[:, None] & np.uint32(1)).astype(bool)
    sums = np.where(sides, weights, -weights).sum(axis=1)
    return sum(1 << bit for bit, total in enumerate(sums.tolist()) if total > 0) % cells

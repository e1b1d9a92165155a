"""Sparse vectors over hashed feature names: packing, hashing, damping and SimHash."""

import math
from collections.abc import Mapping
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SparseVector = dict[int, float]
"""Feature index (unsigned 32 bit) to weight; absent means zero."""

PackedVector = tuple[bytes, bytes]
"""Little-endian bytes: indices (uint32) and weights (float32). For vectors that are stored and seldom read."""


def pack_vector(vector: Mapping[int, float]) -> PackedVector:
    """Return a sparse vector as bytes, in its order.

    Examples
    --------
    >>> indices, weights = unpack_vector(pack_vector({7: 0.5, 3: 2.0}))
    >>> indices.tolist(), weights.tolist()
    ([7, 3], [0.5, 2.0])
    """
    indices = np.fromiter(vector, "<u4", len(vector))
    return indices.tobytes(), np.fromiter(vector.values(), "<f4", len(vector)).tobytes()


def unpack_vector(packed: PackedVector) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Return (indices, weights) of a packed vector, each of shape (n,)."""
    indices, weights = packed
    return np.frombuffer(indices, "<u4"), np.frombuffer(weights, "<f4").astype(np.float64)


def as_arrays(vector: Mapping[int, float]) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Return (indices, weights) of a sparse vector in its order, each of shape (n,).

    Examples
    --------
    >>> indices, weights = as_arrays({7: 0.5, 3: 2.0})
    >>> indices.tolist(), weights.tolist()
    ([7, 3], [0.5, 2.0])
    """
    n = len(vector)
    return np.fromiter(vector, np.uint32, n), np.fromiter(vector.values(), np.float64, n)


def name_index(name: str) -> int:
    """Return the index of a named feature: CRC-32 of its UTF-8 bytes, the same on every machine.

    Examples
    --------
    >>> name_index("item:A")
    4209920259
    """
    return crc32(name.encode())


MAX_REMEMBERED = 80
"""Characters of the longest name whose index is cached: producers may send names without end, and long ones would fill
the memory. To compute an index costs a microsecond or two."""
_remembered_index = lru_cache(maxsize=200_000)(name_index)


def feature_index(name: str) -> int:
    """Return `name_index`, cached unless the name is long: for names that are few or come again.

    Examples
    --------
    >>> feature_index("item:A") == name_index("item:A")
    True
    """
    return _remembered_index(name) if len(name) <= MAX_REMEMBERED else name_index(name)


def top(vector: Mapping[int, float], size: int) -> SparseVector:
    """Return the entries of largest magnitude as a new vector.

    Parameters
    ----------
    vector : mapping of int to float
        The vector.
    size : int
        Most entries of the result; ties go to the smaller index.

    Examples
    --------
    >>> top({1: 0.5, 2: -3.0, 3: 0.5}, 2)
    {1: 0.5, 2: -3.0}
    """
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
    """Return sign(w) log2(1 + |w|): the tenth purchase counts less than the first; 0 and 1 stay as they are.

    Sublinear weights as for terms of documents (Manning, Raghavan, Schuetze 2008: Introduction to information
    retrieval, section 6.4.1) and confidence in implicit feedback (Hu, Koren, Volinsky 2008: Collaborative filtering for
    implicit feedback datasets, equation 6).

    Parameters
    ----------
    weights : array of any shape
        The weights w.

    Examples
    --------
    >>> damp(np.array([0.0, 1.0, 3.0, -7.0])).tolist()
    [0.0, 1.0, 2.0, -3.0]
    """
    damped: NDArray[np.float64] = np.copysign(np.log2(1.0 + np.abs(weights)), weights)
    return damped


def simhash(vector: Mapping[int, float], cells: int) -> int:
    """Return the bucket of a vector by the signs of its projections on random hyperplanes.

    Vectors at a small angle mostly share a bucket (Charikar 2002, section 3). The hyperplanes are the bits of a mix
    of the feature index, so nothing is stored.

    Parameters
    ----------
    vector : mapping of int to float
        An empty one is in bucket 0.
    cells : int
        Number of buckets, at least 1.

    Returns
    -------
    int
        From 0 to `cells` - 1.

    Examples
    --------
    >>> simhash({7: 1.0, 9: 2.0}, 16) == simhash({7: 2.0, 9: 4.0}, 16)
    True
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


def item_features(item_id: str | None, category: str | None, brand: str | None) -> list[str]:
    """Return the names of the features of an item.

    Parameters
    ----------
    item_id, category, brand : str or None
        Attributes of the item; None if one is not known.

    Examples
    --------
    >>> item_features("A", "tea", "x")
    ['item:A', 'category:tea', 'brand:x', 'category:tea brand:x']
    """
    names = []
    if item_id is not None:
        names.append(f"item:{item_id}")
    if category is not None:
        names.append(f"category:{category}")
    if brand is not None:
        names.append(f"brand:{brand}")
        if category is not None:
            names.append(category_brand(category, brand))
    return names


def interest_indices(item_id: str, category: str | None, brand: str | None) -> tuple[int, tuple[int, ...]]:
    """Return the index of the feature of an item's category, and the indices of its other features.

    Parameters
    ----------
    item_id : str
        The item.
    category, brand : str or None
        None if one is not known. Without a category, its index is that of the name "category:None".

    Examples
    --------
    >>> of_category, others = interest_indices("A", "tea", "x")
    >>> of_category == feature_index("category:tea"), len(others)
    (True, 3)
    """
    is_long = len(item_id) + len(category or "") + len(brand or "") > MAX_REMEMBERED
    return (_interest_indices if is_long else _remembered_interests)(item_id, category, brand)


def _interest_indices(item_id: str, category: str | None, brand: str | None) -> tuple[int, tuple[int, ...]]:
    of_category = f"category:{category}"
    names = item_features(item_id, category, brand)
    return feature_index(of_category), tuple(feature_index(name) for name in names if name != of_category)


_remembered_interests = lru_cache(maxsize=200_000)(_interest_indices)


def category_brand(category: str, brand: str) -> str:
    """Return the name of the feature of a brand within a category.

    Parameters
    ----------
    category, brand : str
        Names.

    Examples
    --------
    >>> category_brand("tea", "x")
    'category:tea brand:x'
    """
    return f"category:{category} brand:{brand}"


@lru_cache(maxsize=200_000)
def price_index(price_minor: float) -> int:
    """Return the index of the feature of a price's band.

    Examples
    --------
    >>> price_index(100.0) == price_index(105.0), price_index(100.0) == price_index(200.0)
    (True, False)
    """
    return feature_index(f"price:{price_band(price_minor)}")


def price_band(price_minor: float) -> int:
    """Return the half-octave band of a price in minor units: a step is a factor of about 1.4.

    Examples
    --------
    >>> price_band(100), price_band(141), price_band(1000)
    (13, 14, 20)
    """
    return round(2 * math.log2(max(price_minor, 1.0)))

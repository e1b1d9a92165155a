"""The catalogue, compiled to arrays, so that all coupons of a domain are judged at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.events import Coupon, Item
from stream_coupons.core.profile import DAY_S, category_brand
from stream_coupons.core.similarity import PackedVector, SparseVector, feature_index, unpack_vector

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint32]
Positions = NDArray[np.intp]

BRAND_WEIGHT = 0.5
NOTHING = Coupon(coupon_id="nothing", discount_minor=0, max_discount_minor=1)


def price_of(coupon: Coupon, default_minor: float) -> float:
    """Typical price of what the coupon is for, minor units."""
    return float(coupon.typical_price_minor or default_minor)


def discount_of(coupon: Coupon, default_price_minor: float) -> float:
    """What one redemption gives away at the typical price, minor units; never above the maximum."""
    if coupon.discount_minor is not None:
        given = float(coupon.discount_minor)
    elif coupon.discount_percent is not None:
        given = coupon.discount_percent / 100.0 * price_of(coupon, default_price_minor)
    else:
        given = float(coupon.max_discount_minor)
    return min(given, float(coupon.max_discount_minor))


def is_in_scope(coupon: Coupon, item: Item) -> bool:
    """Whether the coupon may be used on this item; what the coupon does not name, it does not limit."""
    return (
        (not coupon.items or item.item_id in coupon.items)
        and (not coupon.categories or item.category in coupon.categories)
        and (not coupon.brands or item.brand in coupon.brands)
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """The features that coupons have in common with profiles, as padded rows.

    R(u, i) = sum over features k of coupon i of w(i, k) f(u, k) is `(f[columns] * weights).sum(axis=1)`.
    """

    columns: Positions
    weights: Floats

    def score(self, vectors: Floats) -> Floats:
        """Inner products of dense vectors over the vocabulary with every coupon's row, shape (vectors, coupons)."""
        scores: Floats = (np.take(vectors, self.columns, axis=1) * self.weights).sum(axis=2)
        return scores


def _scope(coupon: Coupon) -> list[str]:
    """Names of the features that an item in the coupon's scope has: the narrowest that the coupon names."""
    if coupon.items:
        return [f"item:{item_id}" for item_id in coupon.items]
    if coupon.categories and coupon.brands:
        return [category_brand(category, brand) for category in coupon.categories for brand in coupon.brands]
    return [f"category:{name}" for name in coupon.categories] + [f"brand:{name}" for name in coupon.brands]


class CouponSet:
    """The coupons of one domain in order of their ids, and what scoring needs of them as arrays.

    Attributes are read-only arrays of shape (coupons,), unless they say otherwise.
    """

    def __init__(self, coupons: Iterable[Coupon], default_price_minor: float) -> None:
        self.coupons: tuple[Coupon, ...] = tuple(sorted(coupons, key=lambda coupon: coupon.coupon_id))
        self.position = {coupon.coupon_id: i for i, coupon in enumerate(self.coupons)}
        self.vocabulary: dict[int, int] = {}
        each = self.coupons
        self.valid_from = np.array([c.valid_from for c in each])
        self.valid_until = np.array([c.valid_until for c in each])
        self.capped = np.array([c.max_per_user is not None for c in each], dtype=bool)
        self.for_items = np.array([bool(c.items) for c in each], dtype=bool)
        price = np.array([price_of(c, default_price_minor) for c in each])
        self.discount_minor = np.array([discount_of(c, default_price_minor) for c in each])
        self.margin_minor = price * np.array([c.margin_ratio for c in each])
        self.depth_ratio = np.clip(self.discount_minor / np.maximum(price, 1.0), 0.0, 1.0)
        self.price_log2 = np.log2(np.maximum(price, 1.0))
        self.static_numeric: Floats = np.stack(
            [
                self.depth_ratio,
                np.log1p(self.discount_minor) / 10.0,
                np.log1p(np.array([c.redeem_within_s for c in each]) / DAY_S) / 4.0,
            ],
            axis=1,
        ).reshape(len(each), 3)
        self.categories = self._terms([[(f"category:{x}", 1.0) for x in c.categories] for c in each])
        self.brands = self._terms([[(f"brand:{x}", BRAND_WEIGHT) for x in c.brands] for c in each])
        self.items = self._terms([[(f"item:{x}", 1.0) for x in c.items] for c in each])
        self.scopes = self._terms([[(name, 1.0) for name in _scope(c)] for c in each])
        # Never empty: what is not in the vocabulary is looked up, too.
        known = np.array(sorted(self.vocabulary.items()) or [(0, 0)])
        self._sorted_indices: Hashes = known[:, 0].astype(np.uint32)
        self._sorted_columns: Positions = known[:, 1].astype(np.intp)
        self.static_hashes: Hashes = np.array(
            [
                [
                    feature_index(f"coupon={c.coupon_id}"),
                    feature_index(f"kind={c.kind}"),
                    feature_index(f"category={c.categories[0] if c.categories else ''}"),
                    feature_index(f"brand={c.brands[0] if c.brands else ''}"),
                    feature_index(f"depth={round(depth * 10)}"),
                ]
                for c, depth in zip(each, self.depth_ratio, strict=True)
            ],
            dtype=np.uint32,
        ).reshape(len(each), 5)

    def __len__(self) -> int:
        return len(self.coupons)

    def _terms(self, rows: list[list[tuple[str, float]]]) -> Terms:
        # Column 0 is nothing: its value is zero in every vector, so rows may be padded with it.
        width = max([len(row) for row in rows] + [1])
        columns = np.zeros((len(rows), width), dtype=np.intp)
        weights = np.zeros((len(rows), width))
        for i, row in enumerate(rows):
            for j, (name, weight) in enumerate(row):
                index = feature_index(name)
                columns[i, j] = self.vocabulary.setdefault(index, len(self.vocabulary) + 1)
                weights[i, j] = weight
        return Terms(columns, weights)

    def dense(self, vectors: Sequence[SparseVector]) -> Floats:
        """Sparse vectors as dense ones over this set's vocabulary, shape (vectors, vocabulary + 1)."""
        dense, vocabulary = np.zeros((len(vectors), len(self.vocabulary) + 1)), self.vocabulary
        for row, vector in enumerate(vectors):
            known = vector.keys() & vocabulary.keys()
            dense[row, [vocabulary[index] for index in known]] = [vector[index] for index in known]
        return dense

    def dense_packed(self, vectors: Sequence[PackedVector]) -> tuple[Floats, Floats]:
        """The same of packed vectors, and the sum of the weights of each, known or not, shape (vectors,)."""
        dense = np.zeros((len(vectors), len(self.vocabulary) + 1))
        unpacked = [unpack_vector(vector) for vector in vectors]
        row = np.repeat(np.arange(len(vectors)), [len(indices) for indices, _ in unpacked])
        indices = np.concatenate([indices for indices, _ in unpacked])
        weights = np.concatenate([weights for _, weights in unpacked])
        dense[row, self._columns(indices)] = weights
        dense[:, 0] = 0.0
        return dense, np.bincount(row, weights, len(vectors)).astype(np.float64)

    def _columns(self, indices: Hashes) -> Positions:
        """Columns of features; 0 of those that are not in the vocabulary."""
        place = np.minimum(np.searchsorted(self._sorted_indices, indices), len(self._sorted_indices) - 1)
        return np.where(self._sorted_indices[place] == indices, self._sorted_columns[place], 0)

    def category_column(self, name: str) -> int:
        """Column of a category; 0 when no coupon is for it."""
        return self.vocabulary.get(feature_index(f"category:{name}"), 0)

    def content_scores(self, vectors: Floats) -> Floats:
        """R(u, i) = sum_k w(i, k) f(u, k) for every vector u and coupon i, shape (vectors, coupons)."""
        return self.categories.score(vectors) + self.brands.score(vectors) + self.items.score(vectors)


class Catalogue:
    """All coupons known; immutable: a change makes a new one."""

    def __init__(self, coupons: Iterable[Coupon], default_price_minor: float = 1000.0) -> None:
        self.by_id = {coupon.coupon_id: coupon for coupon in coupons}
        self._default_price_minor = default_price_minor
        by_domain: dict[str, list[Coupon]] = {}
        for coupon in self.by_id.values():
            by_domain.setdefault(coupon.domain, []).append(coupon)
        self.domains = {domain: CouponSet(members, default_price_minor) for domain, members in by_domain.items()}
        self.nothing = CouponSet([NOTHING], default_price_minor)
        """What stands for giving no coupon: a set of one that is for everything and takes nothing off."""

    def of_domain(self, domain: str) -> CouponSet | None:
        """The coupons of one domain; None when there are none."""
        return self.domains.get(domain)

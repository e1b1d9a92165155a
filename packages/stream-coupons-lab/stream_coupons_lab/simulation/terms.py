"""Terms of coupons as arrays, with a hidden appeal to shoppers that no field states."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons_lab.simulation.assortment import Assortment
from stream_coupons_lab.simulation.population import SEGMENTS, Floats


class CouponTerms:
    """Coupons seen so far, one row each; a coupon whose fields change gets a new row.

    Attributes
    ----------
    scope : NDArray[np.bool_]
        Products in the scope of each coupon, shape (K, I).
    depth : Floats
        The discount over the typical price, shape (K,), in [0, 1].
    is_amount : NDArray[np.bool_]
        True for an amount off, False for a percentage, shape (K,).
    appeal : Floats
        Hidden appeal of the coupon to each segment, shape (K, SEGMENTS), around 1.
    """

    def __init__(self, seed: int, assortment: Assortment) -> None:
        self._seed = seed
        self._assortment = assortment
        self._coupons: list[Coupon] = []
        self._row: dict[str, int] = {}
        self.scope: NDArray[np.bool_] = np.zeros((0, len(assortment.items)), dtype=np.bool_)
        self.depth: Floats = np.zeros(0)
        self.is_amount: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.appeal: Floats = np.zeros((0, SEGMENTS))

    def __len__(self) -> int:
        return len(self._coupons)

    @property
    def coupons(self) -> Sequence[Coupon]:
        """The coupon of each row."""
        return self._coupons

    def rows(self, coupons: Sequence[Coupon]) -> NDArray[np.intp]:
        """The row of each coupon; adds those that are new."""
        return np.fromiter((self._find(coupon) for coupon in coupons), dtype=np.intp, count=len(coupons))

    def _find(self, coupon: Coupon) -> int:
        row = self._row.get(coupon.coupon_id)
        if row is not None and (self._coupons[row] is coupon or self._coupons[row] == coupon):
            return row
        return self._add(coupon)

    def _add(self, coupon: Coupon) -> int:
        scope = self._assortment.scope(coupon)
        typical = coupon.typical_price_minor
        if typical is None:
            typical = int(self._assortment.price_minor[scope].mean()) if scope.any() else 1
        is_amount = coupon.discount_percent is None
        asked = (coupon.discount_minor or 0) if is_amount else typical * (coupon.discount_percent or 0.0) / 100
        depth = min(asked, coupon.max_discount_minor, typical) / max(1, typical)
        sequence = np.random.SeedSequence(self._seed, spawn_key=(4, coupon_number(coupon.coupon_id)))
        rng = np.random.default_rng(sequence)
        appeal = np.exp(rng.normal(0.0, 0.35) + rng.normal(0.0, 0.4, SEGMENTS))
        self.scope = np.concatenate([self.scope, scope[None]])
        self.depth = np.append(self.depth, depth)
        self.is_amount = np.append(self.is_amount, is_amount)
        self.appeal = np.concatenate([self.appeal, appeal[None]])
        self._row[coupon.coupon_id] = len(self._coupons)
        self._coupons.append(coupon)
        return self._row[coupon.coupon_id]


def coupon_number(coupon_id: str) -> int:
    """A number to key generators with; unlike `hash`, the same in every process."""
    return crc32(coupon_id.encode())

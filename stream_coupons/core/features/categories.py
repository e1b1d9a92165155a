"""One object for each categorical feature and cross: its name, value and text.

They are hashed, see `rows`. Attributes of coupons, keys of the context, content vectors and their crosses are hashed
beside these, by the names that catalogue and events give them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.coupon_terms import ABSENT
from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.vectors.sparse import feature_index


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A categorical feature.

    Attributes
    ----------
    name : str
        Unique among numeric and categorical features, and part of the name of the feature space.
    text : str
        Continuation of "the coupon ...".
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponCategory(Category):
    """A category of the coupon.

    Attributes
    ----------
    value : callable
        Returns the text that is hashed; None if the coupon does not state it. A value for "not set" would be in every
        row and every cross of a catalogue without the field, and would take a share of what is learnt from all of them.
    is_of_terms : bool
        True if it describes the coupon itself, not its scope: a shopper who gets no coupon lacks it.
    """

    value: Callable[[Coupon], str | None]
    is_of_terms: bool = False


@dataclass(frozen=True, slots=True)
class Cross:
    """A pair of categories, hashed together."""

    one: str
    other: str
    text: str

    @property
    def name(self) -> str:
        """Name of the pair."""
        return f"{self.one}*{self.other}"


def _depth(coupon: Coupon) -> str | None:
    """Return the depth in tenths, or the amount to one digit if the depth is not known; with a rarer kind."""
    discount = discount_of(coupon)
    if not discount.kind:
        return None
    depth_ratio = discount.depth(coupon.typical_price_minor)
    of_kind = "" if discount.kind in ("amount", "percent") else f"{discount.kind} "
    if depth_ratio is None:
        return f"{of_kind}amount={discount.at(0.0):.0e}"
    return f"{of_kind}depth={round(depth_ratio * 10)}"


COUPON_CATEGORIES = (
    CouponCategory(
        name="coupon",
        value=lambda coupon: f"coupon={coupon.coupon_id}",
        text="is this very coupon: experience with it",
        is_of_terms=True,
    ),
    CouponCategory(
        name="kind",
        value=lambda coupon: f"kind={coupon.kind}" if coupon.kind else None,
        text="is of this kind: experience with all coupons of the kind",
        is_of_terms=True,
    ),
    CouponCategory(
        name="category",
        value=lambda coupon: f"category={coupon.categories[0]}" if coupon.categories else None,
        text="is for this category: experience with all coupons for it",
    ),
    CouponCategory(
        name="brand",
        value=lambda coupon: f"brand={coupon.brands[0]}" if coupon.brands else None,
        text="is for this brand: experience with all coupons for it",
    ),
    CouponCategory(
        name="depth",
        value=_depth,
        text="has about this discount: experience with all coupons as deep",
        is_of_terms=True,
    ),
)
MOMENT_CATEGORIES = (
    Category(
        name="shopper",
        text="goes to this very shopper: experience with their coupons",
    ),
    Category(
        name="hour",
        text="comes at this time of day: experience with all coupons at that time",
    ),
    Category(
        name="weekday",
        text="comes on this day of the week: experience with all coupons on that day",
    ),
    Category(
        name="taste",
        text="goes to someone with this favourite category: experience with all such shoppers",
    ),
    Category(
        name="redeemer",
        text="goes to someone who redeemed as often: experience with all such shoppers",
    ),
    Category(
        name="clock",
        text="comes at this hour of the day (UTC): experience with all coupons at that hour",
    ),
    Category(
        name="weekend",
        text="comes on a weekend, or not: experience with all coupons on such days",
    ),
)
CROSSES = (
    Cross("shopper", "coupon", "is this very coupon: experience with giving it to this very shopper"),
    Cross("shopper", "kind", "is of this kind: experience with this very shopper's coupons of the kind"),
    Cross("shopper", "category", "is for this category: experience with this very shopper's coupons for it"),
    Cross("shopper", "depth", "has about this discount: experience with this very shopper's coupons as deep"),
    Cross("hour", "category", "is for this category at this time of day: experience with all such coupons"),
    Cross("taste", "category", "is for this category: experience with shoppers of the same favourite category"),
    Cross("redeemer", "depth", "has about this discount: experience with shoppers who redeemed as often"),
    Cross("redeemer", "kind", "is of this kind: experience with shoppers who redeemed as often"),
)
VECTOR_TEXTS = {
    "vector": "has content like this: experience with all coupons whose vectors are alike",
    "shopper*vector": "has content like this: experience with giving this very shopper coupons alike",
}
CATEGORY_TEXTS = {each.name: each.text for each in (*COUPON_CATEGORIES, *MOMENT_CATEGORIES, *CROSSES)} | VECTOR_TEXTS
"""Text of each hashed feature by its name."""


def coupon_hashes(coupons: CouponSet) -> NDArray[np.uint32]:
    """Return the hashes of each coupon's categories, shape (coupons, categories); `ABSENT` where one is not set."""
    hashes = np.full((len(coupons), len(COUPON_CATEGORIES)), ABSENT, np.uint32)
    for position, (coupon, gives_nothing) in enumerate(zip(coupons.coupons, coupons.gives_nothing, strict=True)):
        for column, category in enumerate(COUPON_CATEGORIES):
            if not (gives_nothing and category.is_of_terms) and (text := category.value(coupon)) is not None:
                hashes[position, column] = feature_index(text)
    return hashes

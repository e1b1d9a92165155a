"""Terms of one coupon: price, discount and scope."""

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import Item
from stream_coupons.core.vectors.sparse import category_brand

ABSENT = 0
"""Hash of a field that is not set."""
PRIOR_DEPTH_RATIO = 0.15
"""Depth of a discount whose depth is not known: the usual one in the trade."""
MOST_DEPTH_RATIO = 0.5
"""Upper bound of the numeric depth: log-odds grow less from half the price to a gift than from nothing to half the
price. The hashed depth tells deeper discounts apart."""
PART_OF_BRAND, PART_OF_ITEM = 0.25, 0.1
"""Prior share of one brand, or one item, in the demand for its category."""


def price_of(coupon: Coupon, default_minor: float) -> float:
    """Return the typical price of the items in scope, minor units.

    Parameters
    ----------
    coupon : Coupon
        The coupon.
    default_minor : float
        The price if the coupon has none.

    Examples
    --------
    >>> price_of(Coupon(coupon_id="c", max_discount_minor=1), 1000)
    1000.0
    """
    return float(coupon.typical_price_minor or default_minor)


def is_in_scope(coupon: Coupon, item: Item) -> bool:
    """Return True if the coupon may be used on an item.

    Parameters
    ----------
    coupon : Coupon
        An empty list of items, categories or brands does not limit it.
    item : Item
        The item.

    Examples
    --------
    >>> is_in_scope(Coupon(coupon_id="c", max_discount_minor=1, brands=["x"]), Item(item_id="A", brand="x"))
    True
    """
    return (
        (not coupon.items or item.item_id in coupon.items)
        and (not coupon.categories or item.category in coupon.categories)
        and (not coupon.brands or item.brand in coupon.brands)
    )


def may_overlap(one: Coupon, other: Coupon) -> bool:
    """Return False if no item can be in the scopes of both coupons.

    Parameters
    ----------
    one, other : Coupon
        Coupons of one domain.

    Examples
    --------
    >>> tea, milk = (Coupon(coupon_id=name, max_discount_minor=1, categories=[name]) for name in ("tea", "milk"))
    >>> may_overlap(tea, Coupon(coupon_id="x", max_discount_minor=1, brands=["x"])), may_overlap(tea, milk)
    (True, False)
    """
    limits = zip((one.items, one.categories, one.brands), (other.items, other.categories, other.brands), strict=True)
    return all(not ours or not theirs or not set(ours).isdisjoint(theirs) for ours, theirs in limits)


def scope_features(coupon: Coupon) -> list[str]:
    """Return the names of the features of an item in the coupon's scope: the narrowest that the coupon lists.

    Examples
    --------
    >>> scope_features(Coupon(coupon_id="c", max_discount_minor=1, categories=["tea"], brands=["x"]))
    ['category:tea brand:x']
    """
    if coupon.items:
        return [f"item:{item_id}" for item_id in coupon.items]
    if coupon.categories and coupon.brands:
        return [category_brand(category, brand) for category in coupon.categories for brand in coupon.brands]
    return [f"category:{name}" for name in coupon.categories] + [f"brand:{name}" for name in coupon.brands]


def prior_part(coupon: Coupon) -> float:
    """Return the prior share of the coupon's items or brands in the demand for its categories.

    Examples
    --------
    >>> prior_part(Coupon(coupon_id="c", max_discount_minor=1, categories=["tea"], brands=["a", "b"]))
    0.5
    """
    if coupon.items:
        return min(PART_OF_ITEM * len(coupon.items), 1.0)
    return min(PART_OF_BRAND * len(coupon.brands), 1.0) if coupon.brands else 1.0

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


def discount_of(coupon: Coupon, default_price_minor: float) -> float:
    """Return the discount of one redemption at the typical price.

    Parameters
    ----------
    coupon : Coupon
        Its discount is an amount, a percentage, or not known; then the maximum counts.
    default_price_minor : float
        Typical price of a coupon that has none, minor units.

    Returns
    -------
    float
        Minor units, never above the coupon's maximum.

    Examples
    --------
    >>> discount_of(Coupon(coupon_id="c", discount_percent=20, max_discount_minor=150), 1000.0)
    150.0
    """
    if coupon.discount_minor is not None:
        given = float(coupon.discount_minor)
    elif coupon.discount_percent is not None:
        given = coupon.discount_percent / 100.0 * price_of(coupon, default_price_minor)
    else:
        given = float(coupon.max_discount_minor)
    return min(given, float(coupon.max_discount_minor))


def depth_of(coupon: Coupon) -> float | None:
    """Return the discount of one redemption as a share of the typical price, [0, 1]; None if that is not known.

    An amount without a price of its own has no depth: the default price of a whole shop would make every amount above
    it a gift.

    Examples
    --------
    >>> depth_of(Coupon(coupon_id="c", discount_minor=150, max_discount_minor=150, typical_price_minor=1000))
    0.15
    """
    if coupon.typical_price_minor:
        return min(discount_of(coupon, coupon.typical_price_minor) / coupon.typical_price_minor, 1.0)
    if coupon.discount_minor is None:
        return None if coupon.discount_percent is None else coupon.discount_percent / 100.0
    return None if coupon.discount_minor else 0.0


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

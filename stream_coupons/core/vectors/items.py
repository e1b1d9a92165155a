"""Features that an item, or a coupon for one, shares with a profile: names and indices."""

import math
from functools import lru_cache

from stream_coupons.core.vectors.sparse import MAX_REMEMBERED, feature_index


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

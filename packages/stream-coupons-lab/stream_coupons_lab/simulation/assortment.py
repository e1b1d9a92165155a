"""Products of the simulated shop, with categories, brands and prices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.inputs import Item

CATEGORIES = (
    "coffee",
    "snacks",
    "skincare",
    "shoes",
    "outdoor",
    "kitchen",
    "toys",
    "books",
    "pet-food",
    "audio",
    "garden",
    "stationery",
)
MEDIAN_PRICE_MINOR = (900, 450, 1800, 6500, 5200, 3400, 2200, 1500, 2600, 7900, 2900, 700)
REPLENISH_DAYS = (3.0, 2.0, 6.0, 14.0, 12.0, 10.0, 7.0, 5.0, 4.0, 20.0, 9.0, 6.0)
MARGIN_RATIO = (0.38, 0.34, 0.5, 0.46, 0.4, 0.36, 0.42, 0.3, 0.28, 0.24, 0.38, 0.48)
BRANDS = (
    "Alderwick",
    "Birkholm",
    "Cedrano",
    "Dunmere",
    "Elsbeth",
    "Fennimore",
    "Gorsefield",
    "Hollinger",
    "Ivyline",
    "Junipa",
    "Kestrelle",
    "Larchmont",
    "Mistral",
    "Nettlebay",
    "Oakhurst",
    "Pinevale",
    "Quillon",
    "Rowanne",
)
BRANDS_PER_CATEGORY = 5
ITEMS_PER_CATEGORY = 20
PRICE_SPREAD = 0.45


@dataclass(frozen=True, slots=True, eq=False)
class Assortment:
    """All products as parallel arrays of length I, sorted by category; read only.

    Attributes
    ----------
    category, brand : NDArray[np.intp]
        Index into `CATEGORIES` and `BRANDS`.
    price_minor : NDArray[np.int64]
        Shelf price in cents.
    price_level : NDArray[np.float64]
        Log of the price over the category's median: 0 is the middle, negative is cheap.
    first : NDArray[np.intp]
        Index of each category's first product, and at the end I.
    items : tuple[Item, ...]
        The products as messages carry them.
    """

    category: NDArray[np.intp]
    brand: NDArray[np.intp]
    price_minor: NDArray[np.int64]
    price_level: NDArray[np.float64]
    first: NDArray[np.intp]
    items: tuple[Item, ...]

    def scope(self, coupon: Coupon) -> NDArray[np.bool_]:
        """Return the mask of the products in a coupon's scope.

        A product is in scope if each of the coupon's lists (categories, brands, items) contains it or is empty.

        Returns
        -------
        NDArray[np.bool_]
            Shape (I,).
        """
        mask = np.ones(len(self.items), dtype=np.bool_)
        if coupon.categories:
            mask &= np.isin(self.category, [i for i, c in enumerate(CATEGORIES) if c in coupon.categories])
        if coupon.brands:
            mask &= np.isin(self.brand, [i for i, b in enumerate(BRANDS) if b in coupon.brands])
        if coupon.items:
            mask &= np.isin([item.item_id for item in self.items], coupon.items)
        return mask


def make_assortment(rng: np.random.Generator) -> Assortment:
    """Draw the products: every category has some of the brands, every brand a price tier."""
    categories, brands = len(CATEGORIES), len(BRANDS)
    tier = rng.normal(0.0, 0.3, brands)
    category = np.repeat(np.arange(categories), ITEMS_PER_CATEGORY)
    brand = np.concatenate(
        [
            np.resize(rng.choice(brands, BRANDS_PER_CATEGORY, replace=False), ITEMS_PER_CATEGORY)
            for _ in range(categories)
        ]
    )
    median = np.asarray(MEDIAN_PRICE_MINOR, dtype=np.float64)[category]
    raw = median * np.exp(tier[brand] + rng.normal(0.0, PRICE_SPREAD, category.size))
    price_minor = (np.maximum(np.round(raw / 10), 5) * 10 - 1).astype(np.int64)
    items = tuple(
        Item(
            item_id=f"{CATEGORIES[category[i]]}-{i % ITEMS_PER_CATEGORY:02d}",
            category=CATEGORIES[category[i]],
            brand=BRANDS[brand[i]],
            price_minor=int(price_minor[i]),
        )
        for i in range(category.size)
    )
    return Assortment(
        category=category,
        brand=brand,
        price_minor=price_minor,
        price_level=np.log(price_minor / median),
        first=np.arange(categories + 1) * ITEMS_PER_CATEGORY,
        items=items,
    )

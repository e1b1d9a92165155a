"""Baskets, coupon scopes and redemption rates of the Complete Journey for the world `households`."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.worlds.world import Floats

CATEGORIES = 24
PRIOR_CAMPAIGNS, PRIOR_RATE = 2.0, 0.35  # of redemptions per campaign
NOT_GOODS = ("COUPON/MISC ITEMS", "FUEL")


class Data(NamedTuple):
    """Spend by basket and category in minor units, one row per basket in the order of time, and facts of households."""

    names: list[str]
    household: np.ndarray[Any, Any]
    at: Floats
    spend: Floats
    is_private: np.ndarray[Any, Any]
    rate: dict[int, float]
    offers: list[tuple[list[int], float]]


@lru_cache(maxsize=1)
def read() -> Data:
    """Read and aggregate the tables; takes some seconds, the first time only."""
    import pandas as pd

    from .. import completejourney_tables

    tables = completejourney_tables.read()

    goods = tables["products"][["product_id", "product_category", "brand"]]
    lines = tables["transactions"].merge(goods, on="product_id")
    lines = lines[~lines["product_category"].isin(NOT_GOODS) & lines["product_category"].notna()]
    names = sorted(lines.groupby("product_category")["basket_id"].nunique().nlargest(CATEGORIES).index)
    lines = lines[lines["product_category"].isin(names) & (lines["sales_value"] > 0)]
    at = lines["transaction_timestamp"].to_numpy("datetime64[s]").astype(np.float64)
    lines = lines.assign(at=at, category=lines["product_category"].map({name: n for n, name in enumerate(names)}))
    baskets = lines.groupby("basket_id").agg(household=("household_id", "first"), at=("at", "first")).sort_values("at")
    row, column = baskets.index.get_indexer(pd.Index(lines["basket_id"])), lines["category"].to_numpy()
    spend, private = np.zeros((2, len(baskets), CATEGORIES))
    np.add.at(spend, (row, column), lines["sales_value"].to_numpy() * 100)
    np.add.at(private, (row, column), lines["sales_value"].to_numpy() * 100 * (lines["brand"] == "Private").to_numpy())
    sent = tables["campaigns"].groupby("household_id").size()
    redeemed = tables["coupon_redemptions"].groupby("household_id").size().reindex(sent.index, fill_value=0)
    rate = (redeemed + PRIOR_CAMPAIGNS * PRIOR_RATE) / (sent + PRIOR_CAMPAIGNS)
    covered = tables["coupons"].merge(lines.drop_duplicates("product_id")[["product_id", "category"]], on="product_id")
    off = lines[lines["coupon_disc"] > 0].groupby("category")["coupon_disc"].mean() * 100
    offers = []
    for _, part in covered.groupby("coupon"):
        top = part["category"].value_counts().index[:2].tolist()
        offers.append((sorted(int(c) for c in top), float(off.reindex(top).mean())))
    keys = baskets["household"].to_numpy(), baskets["at"].to_numpy()
    rates = dict(zip(rate.index.tolist(), rate.tolist(), strict=True))
    return Data(names, *keys, np.round(spend), private * 2 > spend, rates, offers)

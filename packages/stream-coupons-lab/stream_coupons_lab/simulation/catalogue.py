"""The coupons of the simulated shop, and the discount of a coupon on an order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_coupons.core.caps import Cap
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons_lab.simulation.assortment import BRANDS, CATEGORIES, MARGIN_RATIO, Assortment

PERCENTS = (5.0, 10.0, 10.0, 15.0, 15.0, 20.0, 25.0, 30.0)
REDEEM_WITHIN_S = 2 * 86400.0
ISSUES_PER_SHOPPER_WEEK = 3.0
WHOLE_SHOP_PERCENT = 10.0
BEYOND_MARGIN = 0.1
"""Least difference of the discount of a coupon that cannot pay to its margin, both as shares of the price."""
CAMPAIGN_SHARE = 0.2
"""Budget of the campaign as a share of the maximum discounts of its coupons, if all coupons are given alike."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """Scope of a coupon whose amounts are not drawn yet."""

    kind: str
    categories: tuple[int, ...]
    brands: tuple[int, ...] = ()

    def title(self, offer: str) -> str:
        what = " and ".join(CATEGORIES[c] for c in self.categories)
        by = " and ".join(BRANDS[b] for b in self.brands)
        return f"{offer} off {' by '.join(part for part in (what, by) if part)}"


def make_coupons(
    rng: np.random.Generator, assortment: Assortment, ids: Sequence[str], domain: str, expected_issues: float
) -> list[Coupon]:
    """Draw a catalogue of coupons.

    A quarter of them have a stock, a third a budget; the rest have no limit, so that a policy never
    runs dry.

    Parameters
    ----------
    rng : np.random.Generator
        Its state moves on.
    assortment : Assortment
        Products that the coupons are for.
    ids : sequence of str
        Ids of the coupons, in order.
    domain : str
        The domain they belong to.
    expected_issues : float
        Issues of one coupon if all get the same number; limits are set around it.
    """
    return [_make_coupon(rng, assortment, number, name, domain, expected_issues) for number, name in enumerate(ids)]


def with_campaign(
    coupons: Sequence[Coupon], assortment: Assortment, campaign: Campaign, expected_issues: float
) -> tuple[Campaign, list[Coupon]]:
    """Return a campaign with its budget, and a catalogue in which not every coupon is worth giving.

    The first coupon is changed into one for the whole shop. Of the others, every third takes off more than the margin,
    so that it loses money on each order, and every third joins the campaign.

    Parameters
    ----------
    coupons : sequence of Coupon
        Drawn by `make_coupons`.
    assortment : Assortment
        Products that the coupons are for.
    campaign : Campaign
        A campaign without a budget.
    expected_issues : float
        The same as for `make_coupons`.
    """
    change, [first, *others] = msgspec.structs.replace, coupons
    whole = change(
        first,
        kind="shop-percent",
        categories=[],
        brands=[],
        typical_price_minor=int(assortment.price_minor.mean()),
        margin_ratio=_margin_ratio(assortment.category),
    )
    changed = [_percent_off(whole, WHOLE_SHOP_PERCENT, "everything")]
    discounts_minor = 0
    for number, coupon in enumerate(others):
        if number % 3 == 0:
            percent = 5.0 * math.ceil(20 * (coupon.margin_ratio + BEYOND_MARGIN))
            changed.append(_percent_off(coupon, percent, coupon.title.partition(" off ")[2]))
        elif number % 3 == 1:
            changed.append(change(coupon, campaign_id=campaign.campaign_id, budget_minor=None))
            discounts_minor += coupon.max_discount_minor
        else:
            changed.append(coupon)
    return change(campaign, budget_minor=round(CAMPAIGN_SHARE * expected_issues * discounts_minor)), changed


def offer_of(coupon: Coupon) -> str:
    """Return which kind of offer a coupon is; see `with_campaign`."""
    if (coupon.discount_percent or 0.0) > 100 * coupon.margin_ratio:
        return "takes off more than the margin"
    if coupon.campaign_id is not None:
        return f"of the campaign {coupon.campaign_id}"
    return "other" if coupon.categories or coupon.brands else "for the whole shop"


def _margin_ratio(categories: NDArray[np.intp]) -> float:
    """Return the mean margin ratio of products of these categories."""
    return round(float(np.mean(np.asarray(MARGIN_RATIO)[categories])), 3)


def _percent_off(coupon: Coupon, percent: float, what: str) -> Coupon:
    """Return a coupon of another percentage, without a limit of its own."""
    assert coupon.typical_price_minor is not None
    return msgspec.structs.replace(
        coupon,
        title=f"{percent:g}% off {what}",
        discount_percent=percent,
        discount_minor=None,
        max_discount_minor=round(coupon.typical_price_minor * percent / 100 * 2),
        budget_minor=None,
        stock=None,
        caps=[],
    )


def discount_of(coupon: Coupon, value_minor: int) -> int:
    """Return the coupon's discount on goods of this value, at most its cap and at most the value."""
    if coupon.discount_percent is not None:
        discount = round(value_minor * coupon.discount_percent / 100)
    else:
        discount = coupon.discount_minor or 0
    return min(discount, coupon.max_discount_minor, value_minor)


def _draft(rng: np.random.Generator, assortment: Assortment, number: int) -> _Draft:
    category = number % len(CATEGORIES)
    shape = rng.choice(4, p=(0.5, 0.25, 0.15, 0.1))
    if shape == 0:
        return _Draft("category", (category,))
    brand = int(rng.choice(assortment.brand[assortment.category == category]))
    if shape == 1:
        return _Draft("category-brand", (category,), (brand,))
    if shape == 2:
        return _Draft("brand", (), (brand,))
    other = (category + int(rng.integers(1, len(CATEGORIES)))) % len(CATEGORIES)
    return _Draft("bundle", (category, other))


def _make_coupon(
    rng: np.random.Generator, assortment: Assortment, number: int, coupon_id: str, domain: str, expected_issues: float
) -> Coupon:
    draft = _draft(rng, assortment, number)
    coupon = Coupon(
        coupon_id=coupon_id,
        domain=domain,
        kind=draft.kind,
        categories=[CATEGORIES[c] for c in draft.categories],
        brands=[BRANDS[b] for b in draft.brands],
        max_discount_minor=1,
        redeem_within_s=REDEEM_WITHIN_S,
    )
    scope = assortment.scope(coupon)
    typical = int(assortment.price_minor[scope].mean())
    percent = float(rng.choice(PERCENTS))
    is_percent = rng.random() < 0.6
    amount = max(50, round(typical * percent / 100 / 50) * 50)
    most = max(50, round(typical * percent / 100 * 2)) if is_percent else amount
    stock, budget, per_user = rng.random(3)
    return Coupon(
        coupon_id=coupon.coupon_id,
        domain=domain,
        title=draft.title(f"{percent:g}%" if is_percent else f"{amount / 100:.2f}"),
        kind=f"{draft.kind}-{'percent' if is_percent else 'amount'}",
        categories=coupon.categories,
        brands=coupon.brands,
        discount_percent=percent if is_percent else None,
        discount_minor=None if is_percent else amount,
        max_discount_minor=most,
        typical_price_minor=typical,
        margin_ratio=_margin_ratio(assortment.category[scope]),
        redeem_within_s=REDEEM_WITHIN_S,
        stock=max(5, round(expected_issues * rng.uniform(0.5, 2.0))) if stock < 0.25 else None,
        budget_minor=round(most * max(5.0, expected_issues * rng.uniform(0.3, 1.0))) if budget < 0.33 else None,
        caps=[Cap(per="life", n=int(rng.integers(1, 4)))] if per_user < 0.3 else [],
    )

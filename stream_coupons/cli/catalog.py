"""`catalog`: put coupons into the catalogue, list it, take coupons out, pause them."""

from __future__ import annotations

from collections.abc import Sequence

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_entries import published, span
from stream_coupons.cli.entry_verbs import EntryGroup, app_of
from stream_coupons.core.catalogue.discount import discount_of
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, overlooked, unissuable
from stream_coupons.settings import Settings


def _compare(coupons: Sequence[Coupon], settings: Settings | None) -> list[str]:
    if settings is None:
        return overlooked(coupons, ())
    others = published(settings, COUPONS).entries.values()
    return overlooked(coupons, others) + unissuable(coupons, published(settings, CAMPAIGNS).entries)


def _show(coupons: Sequence[Coupon]) -> None:
    terminal.print_table(("coupon", "title", "for", "gives", "limits", "valid"), map(_row, coupons))


def _row(coupon: Coupon) -> list[str]:
    scope = ", ".join([*coupon.categories, *coupon.brands, *coupon.items]) or "everything"
    limits = {
        "stock": coupon.stock,
        "budget": coupon.budget_minor,
        "campaign": coupon.campaign_id,
        "a shopper": ", ".join(map(str, coupon.caps)) or None,
    }
    when = [*span(coupon.valid_from, coupon.valid_until), *(["paused"] if coupon.paused else [])]
    return [
        coupon.coupon_id,
        coupon.title,
        f"{coupon.domain}: {scope if len(scope) <= 60 else scope[:59] + '…'}",
        discount_of(coupon).text,
        ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None) or "none",
        " ".join(when) or "always",
    ]


app = app_of(
    EntryGroup(
        name="catalog",
        kind=COUPONS,
        id_of_one="coffee-15-percent",
        about_list="List the coupons that the workers know. With --json, as `catalog push` reads\nthem.",
        removal="from now on they are not issued",
        pausable="coupons",
        compare=_compare,
        show=_show,
    )
)

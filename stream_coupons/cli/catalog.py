"""`catalog`: check coupons, put them into the catalogue, list it, take coupons out, pause them."""

from __future__ import annotations

from collections.abc import Sequence

from stream_coupons.cli import catalogue_checks, terminal
from stream_coupons.cli.audience import audience
from stream_coupons.cli.catalog_entries import span
from stream_coupons.cli.entry_verbs import EntryGroup, add_verbs_by_id, app_of
from stream_coupons.core.currencies import money
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.rules import ShopRules
from stream_coupons.ops.catalogue_files import COUPONS


def _show(coupons: Sequence[Coupon], shop: ShopRules) -> None:
    rows = (_row(coupon, shop.currency(coupon.domain)) for coupon in coupons)
    terminal.print_table(("coupon", "title", "for", "gives", "limits", "valid"), rows)


def _row(coupon: Coupon, currency: str | None) -> list[str]:
    from stream_coupons.core.catalogue.discount import discount_of  # it takes numpy, which no help needs

    scope = ", ".join([*coupon.categories, *coupon.brands, *coupon.items]) or "everything"
    limits = {
        "stock": coupon.stock,
        "budget": None if coupon.budget_minor is None else money(coupon.budget_minor, currency),
        "campaign": coupon.campaign_id,
        "a shopper": ", ".join(map(str, coupon.caps)) or None,
    }
    when = [*span(coupon.valid_from, coupon.valid_until), *(["paused"] if coupon.paused else [])]
    return [
        coupon.coupon_id,
        coupon.title,
        f"{coupon.domain}: {scope if len(scope) <= 60 else scope[:59] + '…'}",
        discount_of(coupon).text(lambda minor: money(minor, currency)),
        ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None) or "none",
        " ".join(when) or "always",
    ]


app = app_of(
    EntryGroup(
        name="catalog",
        kind=COUPONS,
        about_list="List the coupons that the workers know. With --json, as `catalog push` reads\nthem.",
        show=_show,
    )
)
add_verbs_by_id(app)
app.command()(audience)
app.command("lint")(catalogue_checks.lint)
app.command("diff")(catalogue_checks.diff)

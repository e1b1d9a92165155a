"""`catalog`: put coupons into the catalogue, list it, take coupons out, pause them."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.table import Table
from rich.text import Text

from stream_coupons.cli import catalog_entries, terminal
from stream_coupons.cli.catalog_entries import published
from stream_coupons.cli.entry_verbs import Words, add_verbs
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_with_topics
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS, overlooked, unissuable
from stream_coupons.settings import Settings

app = typer.Typer(
    help="Put coupons into the catalogue, list it, take coupons out, pause them.",
    no_args_is_help=True,
)


def _compare(coupons: Sequence[Coupon], settings: Settings | None) -> list[str]:
    if settings is None:
        return overlooked(coupons, ())
    others = published(settings, COUPONS).entries.values()
    return overlooked(coupons, others) + unissuable(coupons, published(settings, CAMPAIGNS).entries)


add_verbs(
    app,
    COUPONS,
    _compare,
    Words(
        group="catalog",
        id_of_one="coffee-15-percent",
        push="A coupon replaces the\none with the same coupon_id; the others of the catalogue stay.",
        remove="Take coupons out of the catalogue: from now on they are not issued.",
        pause="Stop issuing coupons until they are resumed; those that were issued stay good.",
        resume="Issue paused coupons again.",
    ),
)


@app.command("list")
def show(
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """List the coupons that the workers know. With --json, as `catalog push` reads
    them.

    Examples: stream-coupons catalog list
              stream-coupons catalog list --json > catalog.json
    """
    found = published(settings_with_topics(config, bootstrap), COUPONS)
    catalog_entries.warn_of_unreadable(found, COUPONS)
    coupons = list(found.entries.values())
    if json:
        terminal.print_json(coupons, indent=2)
        return
    table = Table("coupon", "title", "for", "gives", "limits", "valid")
    table.columns[0].overflow = "fold"
    for coupon in coupons:
        table.add_row(*(Text(terminal.printable(cell), overflow="fold") for cell in _row(coupon)))
    terminal.stdout().print(table)
    terminal.say(f"{len(coupons)} coupons; money in minor units (cents)")


def _row(coupon: Coupon) -> list[str]:
    scope = ", ".join([*coupon.categories, *coupon.brands, *coupon.items]) or "everything"
    if coupon.discount_minor is not None:
        gives = str(coupon.discount_minor)
    elif coupon.discount_percent is not None:
        gives = f"{coupon.discount_percent:g} %, at most {coupon.max_discount_minor}"
    else:
        gives = str(coupon.max_discount_minor)
    limits = {
        "stock": coupon.stock,
        "budget": coupon.budget_minor,
        "campaign": coupon.campaign_id,
        "a shopper": coupon.max_per_user,
    }
    when = [*catalog_entries.span(coupon.valid_from, coupon.valid_until), *(["paused"] if coupon.paused else [])]
    return [
        coupon.coupon_id,
        coupon.title,
        f"{coupon.domain}: {scope if len(scope) <= 60 else scope[:59] + '…'}",
        gives,
        ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None) or "none",
        " ".join(when) or "always",
    ]

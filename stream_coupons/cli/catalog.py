"""`catalog`: put coupons into the catalogue, list it, take coupons out, pause them, embed their texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from stream_coupons.cli import catalog_entries, terminal
from stream_coupons.cli.catalog_embed import embed
from stream_coupons.cli.catalog_entries import checked_settings, published
from stream_coupons.cli.catalog_file import CAMPAIGNS, COUPONS, overlooked, unissuable
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.settings import Settings

app = typer.Typer(
    help="Put coupons into the catalogue, list it, take coupons out, pause them, embed their texts.",
    no_args_is_help=True,
)
app.command("embed")(embed)

CouponIds = Annotated[list[str], typer.Argument(metavar="COUPON_ID", help="Which coupons.")]


@app.command("push")
def push(
    file: Annotated[
        Path, typer.Argument(help="Coupons as a JSON array or as JSON lines; - for standard input.", allow_dash=True)
    ],
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Publish the good ones if some are bad.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file only; needs no broker.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Check coupons and publish them; workers take them into use at once.

    Nothing is published unless every coupon is good. A coupon replaces the
    one with the same coupon_id; the others of the catalogue stay.

    Examples: stream-coupons catalog push catalog.json
              stream-coupons catalog push catalog.json --dry-run
    """
    catalog_entries.push(
        COUPONS,
        file,
        partial(checked_settings, config, bootstrap),
        _compare,
        skip_invalid=skip_invalid,
        dry_run=dry_run,
        json=json,
    )


def _compare(coupons: Sequence[Coupon], settings: Settings | None) -> list[str]:
    if settings is None:
        return overlooked(coupons, ())
    others = published(settings, COUPONS).entries.values()
    return overlooked(coupons, others) + unissuable(coupons, published(settings, CAMPAIGNS).entries)


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
    found = published(checked_settings(config, bootstrap), COUPONS)
    catalog_entries.warn_of_unreadable(found, COUPONS)
    coupons = list(found.entries.values())
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(coupons), indent=2).decode())
        return
    table = Table("coupon", "title", "for", "gives", "limits", "valid")
    table.columns[0].overflow = "fold"
    for coupon in coupons:
        table.add_row(*(Text(terminal.printable(cell), overflow="fold") for cell in _row(coupon)))
    terminal.stdout().print(table)
    terminal.stdout().print(f"{len(coupons)} coupons; money in minor units (cents)", markup=False)


@app.command("remove")
def remove(
    coupon_ids: CouponIds,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Take coupons out of the catalogue: from now on they are not issued.

    Exit code 1 says that one of them was not in the catalogue; the others
    are removed all the same.

    Example: stream-coupons catalog remove coffee-15-percent
    """
    catalog_entries.remove(COUPONS, coupon_ids, checked_settings(config, bootstrap), json=json)


@app.command("pause")
def pause(
    coupon_ids: CouponIds,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Stop issuing coupons until they are resumed; those that were issued stay good.

    It is in effect as soon as the workers have read it, within a second.
    Exit code 1 says that one of them is not in the catalogue.

    Example: stream-coupons catalog pause coffee-15-percent
    """
    catalog_entries.set_paused(COUPONS, coupon_ids, checked_settings(config, bootstrap), paused=True, json=json)


@app.command("resume")
def resume(
    coupon_ids: CouponIds,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Issue paused coupons again.

    Exit code 1 says that one of them is not in the catalogue.

    Example: stream-coupons catalog resume coffee-15-percent
    """
    catalog_entries.set_paused(COUPONS, coupon_ids, checked_settings(config, bootstrap), paused=False, json=json)


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

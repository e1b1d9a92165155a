"""`catalog`: put coupons into the catalogue, list it, take coupons out, embed their texts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from stream_coupons import topics
from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_embed import embed
from stream_coupons.cli.catalog_file import Reading, overlooked, read_catalogue
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, require_topics, settings_from
from stream_coupons.codec import Decoder
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import Coupon
from stream_coupons.settings import Settings

app = typer.Typer(
    help="Put coupons into the catalogue, list it, take coupons out, embed their texts.", no_args_is_help=True
)
app.command("embed")(embed)

FOREVER = Coupon(coupon_id="-", max_discount_minor=1).valid_until
_decode = Decoder(topics.CATALOG)


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
    from stream_coupons.clients import Publisher

    with terminal.opened(file) as source:
        reading = read_catalogue(source.read(), str(file), time.time())
    terminal.report_refusals(reading.refusals, reading.place)
    for warning in reading.warnings:
        terminal.warn(warning)
    is_good = skip_invalid or not reading.refusals.count
    pushed = 0
    settings = _checked(settings_from(config, bootstrap)) if is_good and not dry_run else None
    others = current(settings)[0].values() if settings is not None else ()
    hidden = overlooked(reading.coupons, others)
    for warning in hidden:
        terminal.warn(warning)
    reading.warnings += hidden
    if settings is not None:
        with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
            for coupon in reading.coupons:
                publisher.send(topics.CATALOG, coupon)
        pushed = publisher.appended
    if json:
        typer.echo(msgspec.json.encode(_report(reading, pushed)).decode())
    else:
        what = "good, nothing published: --dry-run" if dry_run else "published" if is_good else "good, none published"
        count = pushed if is_good and not dry_run else len(reading.coupons)
        terminal.stdout().print(f"{count} coupons {what}; {reading.refusals.count} refused", markup=False)
    raise typer.Exit(1 if reading.refusals.count else 0)


def _report(reading: Reading, pushed: int) -> dict[str, Any]:
    return {
        "good": len(reading.coupons),
        "published": pushed,
        "refused": [
            {reading.place: refusal.line, "reason": refusal.reason, "detail": refusal.detail}
            for refusal in reading.refusals.first
        ],
        "refused_count": reading.refusals.count,
        "warnings": reading.warnings,
    }


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
    settings = _checked(settings_from(config, bootstrap))
    coupons, unreadable = current(settings)
    for key, detail in unreadable.items():
        terminal.warn(f"key {key} of coupon-catalog is no coupon, workers ignore it: {detail}")
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(list(coupons.values())), indent=2).decode())
        return
    table = Table("coupon", "title", "for", "gives", "limits", "valid")
    table.columns[0].overflow = "fold"
    for coupon in coupons.values():
        table.add_row(*(Text(terminal.printable(cell), overflow="fold") for cell in _row(coupon)))
    terminal.stdout().print(table)
    terminal.stdout().print(f"{len(coupons)} coupons; money in minor units (cents)", markup=False)


@app.command("remove")
def remove(
    coupon_ids: Annotated[list[str], typer.Argument(metavar="COUPON_ID", help="Which coupons.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Take coupons out of the catalogue: from now on they are not issued.

    Exit code 1 says that one of them was not in the catalogue; the others
    are removed all the same.

    Example: stream-coupons catalog remove coffee-15-percent
    """
    from stream_coupons.clients import Publisher

    settings = _checked(settings_from(config, bootstrap))
    coupons, unreadable = current(settings)
    wanted = list(dict.fromkeys(coupon_ids))
    known = [coupon_id for coupon_id in wanted if coupon_id in coupons or coupon_id in unreadable]
    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        for coupon_id in known:
            publisher.send_bytes(topics.CATALOG, coupon_id.encode(), None)
    if json:
        unknown = [coupon_id for coupon_id in wanted if coupon_id not in known]
        typer.echo(msgspec.json.encode({"removed": known, "unknown": unknown}).decode())
    for coupon_id in () if json else wanted:
        what = "removed" if coupon_id in known else "not in the catalogue"
        terminal.stdout().print(f"{terminal.printable(coupon_id)}: {what}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if len(known) == len(wanted) else 1)


def current(settings: Settings) -> tuple[dict[str, Coupon], dict[str, str]]:
    """The catalogue as it is now, by coupon_id, and what keys hold that is no coupon."""
    from stream_coupons.clients import Reader

    coupons: dict[str, Coupon] = {}
    unreadable: dict[str, str] = {}
    with Reader(settings.kafka, [topics.CATALOG.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            key = (record.key or b"").decode(errors="replace")
            coupons.pop(key, None)
            unreadable.pop(key, None)
            if record.value is None:
                continue
            try:
                coupons[key] = _decode(record.value)
            except BadMessage as bad:
                unreadable[key] = bad.detail
    return dict(sorted(coupons.items())), unreadable


def _row(coupon: Coupon) -> list[str]:
    scope = ", ".join([*coupon.categories, *coupon.brands, *coupon.items]) or "everything"
    if coupon.discount_minor is not None:
        gives = str(coupon.discount_minor)
    elif coupon.discount_percent is not None:
        gives = f"{coupon.discount_percent:g} %, at most {coupon.max_discount_minor}"
    else:
        gives = str(coupon.max_discount_minor)
    limits = {"stock": coupon.stock, "budget": coupon.budget_minor, "a shopper": coupon.max_per_user}
    since = f"from {terminal.utc(coupon.valid_from)[:10]}" if coupon.valid_from else ""
    until = f"until {terminal.utc(coupon.valid_until)[:10]}" if coupon.valid_until < FOREVER else ""
    return [
        coupon.coupon_id,
        coupon.title,
        f"{coupon.domain}: {scope if len(scope) <= 60 else scope[:59] + '…'}",
        gives,
        ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None) or "none",
        " ".join(part for part in (since, until) if part) or "always",
    ]


def _checked(settings: Settings) -> Settings:
    require_topics(settings.kafka)
    return settings

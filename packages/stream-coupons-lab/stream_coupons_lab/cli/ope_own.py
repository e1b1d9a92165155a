"""`ope` on the engine's own decisions: from the broker, or from a recording of its topics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.own_records import take_records
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.plurals import counted
from stream_coupons.settings import Settings
from stream_coupons_lab.cli import ope_tables
from stream_coupons_lab.cli.output import replaced

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.ope.own_valuation import OwnReport

DAY_S = 86400.0


def ope_own(  # noqa: PLR0913 - the options of a command
    path: Path | None,
    settings: Settings,
    texts: Sequence[str],
    *,
    window_s: float | None,
    domain: str | None,
    report: Path | None,
    json: bool,
) -> NoReturn:
    """Read, value, print and exit."""
    from stream_coupons_lab.ope import own_valuation, policies
    from stream_coupons_lab.ope.own_log import READ, OwnLog
    from stream_coupons_lab.reports import ope_report

    with replaced(report) as page_sink:
        log = OwnLog(settings.policy)
        bad_lines = take_records(log, READ, path, settings)
        if path is not None and not log.decisions:
            raise BadConfig(
                f"{path}: no record of the topic decisions; write them with `stream-coupons tail decisions "
                f"--recording --from-beginning --timeout 5`, and so {', '.join(topic.name for topic in READ[1:])}"
            )
        asked = tuple(policies.parse(text, {NO_COUPON, *log.coupons}) for text in texts)
        found = own_valuation.report(log, asked, settings.policy, domain=domain, window_s=window_s, shop=settings.shop)
        if bad_lines:
            found.warnings.append(f"left out {counted(bad_lines, 'line')}: not a record of a topic")
        if page_sink is not None:
            name = path.name if path is not None else settings.kafka.bootstrap
            page_sink.write(ope_report.own_page(name, found).html().encode())
    terminal.show(found, _print, as_json=json)
    raise typer.Exit(1 if bad_lines or log.unreadable else 0)


def _print(found: OwnReport) -> None:
    terminal.say(
        f"margin within {found.window_s / DAY_S:g} days of {found.decisions:,} decisions about {found.shoppers:,} "
        f"shoppers of {terminal.printable(found.domain)}, {found.coupons:,} coupons, {found.sold_out:.1%} sold out"
    )
    ope_tables.print_values(found)
    ope_tables.print_notes(found)

"""`results`: what coupons and campaigns have led to, by day."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    parse_time,
    require_broker,
    settings_from,
)
from stream_coupons.cli.topic_reading import reading
from stream_coupons.core.currencies import money
from stream_coupons.core.errors import BadConfig

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.ops.results import By, ResultRow

BY = ("day", "coupon", "campaign")
FIGURES = ("given", "seen", "clicked", "used", "discount", "revenue")


def results(  # noqa: PLR0913 - options of the verb
    campaign: Annotated[str, typer.Option(metavar="ID", help="Coupons of this campaign alone.")] = "",
    coupon: Annotated[str, typer.Option(metavar="ID", help="This coupon alone.")] = "",
    by: Annotated[str, typer.Option(metavar="day|coupon|campaign", help="One row for each.")] = "coupon",
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Coupons given from this day on, such as 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Coupons given up to this day.")] = None,
    json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, money in minor units.")] = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Show what coupons and campaigns have led to, by day.

    Counts coupons given, seen, clicked and used, their discounts, and the
    revenue of the orders that they were used in. All that a coupon leads to
    counts on the day on which it was given, in shop.time_zone: so the last
    days still grow. Cancelled orders do not count, and a refund lowers a
    discount. Workers report within policy.totals_every_s.

    seen are coupons with an impression, a click or a use. revenue counts
    orders whose feedback states order_value_minor. What coupons add to the
    margin is another question: see `stream-coupons lift`.

    Reads the topic result-totals to the end that it has now, without a group.
    A day stays there for 400 days after its last change.

    Examples: stream-coupons results --since 7d
              stream-coupons results --campaign spring --by day
              stream-coupons results --by campaign --since 2026-01-01 --until 2026-01-31 --csv
    """
    from stream_coupons.core.measurement.totals import LatestReports
    from stream_coupons.core.messages.results import ResultTotals
    from stream_coupons.kafka import topics
    from stream_coupons.kafka.reports import ReportDecoder
    from stream_coupons.ops.results import ResultFilter, rows_of

    if by not in BY:
        raise BadConfig(f"--by is {by!r}, expected one of {', '.join(BY)}")
    if json and as_csv:
        raise BadConfig("--json and --csv: expected one of them")
    settings = settings_from(config, bootstrap)
    ends = (parse_time(text, settings) if text is not None else None for text in (since, until))
    begin, end = (bound if at is None else at for at, bound in zip(ends, (-math.inf, math.inf), strict=True))
    if begin > end:
        raise BadConfig(f"--since {since} is later than --until {until}")
    require_broker(settings.kafka)
    latest: LatestReports[ResultTotals] = LatestReports()
    decoder = ReportDecoder(topics.RESULT_TOTALS, settings.kafka.partitions)
    with reading(settings.kafka) as read:
        for record in read("reading", (topics.RESULT_TOTALS.name,)):
            report = decoder.read(record.key, record.value)
            if report is not None:
                latest.take(report)
    if decoder.refused:
        terminal.warn(
            f"{_counted(decoder.refused, 'record')} of {topics.RESULT_TOTALS.name} left out: no report of a partition"
        )
    reports = [one for subject in latest.of for one in latest.parts(subject)]
    rows = rows_of(reports, by, ResultFilter(campaign, coupon, begin, end), settings.shop)  # type: ignore[arg-type]
    if as_csv:
        _write_csv(rows)
        return
    terminal.show(rows, lambda found: _print(found, by), as_json=json)  # type: ignore[arg-type]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _write_csv(rows: Sequence[ResultRow]) -> None:
    from stream_coupons.ops.results import ResultRow

    with terminal.results():
        writer = csv.DictWriter(sys.stdout, [each.name for each in fields(ResultRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, rows))


def _print(rows: Sequence[ResultRow], by: By) -> None:
    from stream_coupons.ops.results import total_of

    if not rows:
        terminal.say("no coupon was given in this time; workers report to result-totals once one is")
        return
    names = {"day": ("day",), "coupon": ("coupon", "campaign"), "campaign": ("campaign",)}[by]
    domains = {row.domain: row.currency for row in rows}
    lines = [(*_names(row, by), row.domain, *_figures(row)) for row in rows]
    if len(rows) > len(domains):
        totals = [total_of(rows, *each) for each in sorted(domains.items())]
        lines += [("total", *[""] * (len(names) - 1), row.domain, *_figures(row)) for row in totals]
    terminal.print_table((*names, "domain"), lines, FIGURES)
    given = sum(row.given for row in rows)
    terminal.say(f"{_counted(given, 'coupon')} given; discount and revenue are of the orders that they were used in")


def _names(row: ResultRow, by: By) -> tuple[str, ...]:
    if by == "day":
        return (row.day,)
    campaign = row.campaign_id or "none"
    return (row.coupon_id, campaign) if by == "coupon" else (campaign,)


def _figures(row: ResultRow) -> tuple[str | Text, ...]:
    shares = (_of_given(count, row.given) for count in (row.seen, row.clicked, row.used))
    return f"{row.given:,}", *shares, money(row.discount_minor, row.currency), money(row.revenue_minor, row.currency)


def _of_given(count: int, given: int) -> str:
    return f"{count:,} ({count / given:.1%})" if given else f"{count:,}"

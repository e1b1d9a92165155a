"""`results`: what coupons and campaigns have led to, by day, and what campaigns add to the margin."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.campaign_lifts import interval
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, parse_time, settings_from
from stream_coupons.cli.reports import read_reports
from stream_coupons.core.currencies import money
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.plurals import counted

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.ops.campaign_lift import CampaignLift
    from stream_coupons.ops.results import By, ResultFilter, ResultRow
    from stream_coupons.settings import Settings

    Lifts = Mapping[tuple[str, str], CampaignLift]

NAMES = {"day": ("day",), "coupon": ("coupon", "campaign"), "campaign": ("campaign",)}
FIGURES = ("given", "seen", "clicked", "used", "discount", "revenue")
OVER_CONTROL = "margin over control"


def results(  # noqa: PLR0913 - options of the verb
    campaign: Annotated[str, typer.Option(metavar="ID", help="Coupons of this campaign alone.")] = "",
    coupon: Annotated[str, typer.Option(metavar="ID", help="This coupon alone.")] = "",
    by: Annotated[str, typer.Option(metavar="day|coupon|campaign", help="One row for each.")] = "coupon",
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Coupons given from this day on: 7d.")] = None,
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
    orders whose feedback states order_value_minor. With --by campaign, margin
    over control is what a campaign with a holdout_ratio has added so far,
    whatever --since and --until are: see `stream-coupons lift --campaign`.

    Reads the topics result-totals and lift-totals to the end that they have
    now, without a group. A day stays there for 400 days after its last change.

    Examples: stream-coupons results --since 7d
              stream-coupons results --campaign spring --by day
              stream-coupons results --by campaign --since 2026-01-01 --csv
    """
    from stream_coupons.ops.campaign_lift import with_lift
    from stream_coupons.ops.results import ResultFilter

    if by not in NAMES:
        raise BadConfig(f"--by is {by!r}, expected one of {', '.join(NAMES)}")
    if json and as_csv:
        raise BadConfig("--json and --csv: expected one of them")
    settings = settings_from(config, bootstrap)
    begin = -math.inf if since is None else parse_time(since, settings)
    end = math.inf if until is None else parse_time(until, settings)
    if begin > end:
        raise BadConfig(f"--since {since} is later than --until {until}")
    rows, lifts = _read(settings, by, ResultFilter(campaign, coupon, begin, end))  # type: ignore[arg-type]
    if as_csv:
        _write_csv(rows, lifts)
    elif json:
        terminal.print_json([with_lift(row, lifts) for row in rows])
    else:
        terminal.show(rows, lambda found: _print(found, by, lifts), as_json=False)  # type: ignore[arg-type]


def _read(settings: Settings, by: By, which: ResultFilter) -> tuple[list[ResultRow], Lifts]:
    """Return the rows, and the lift of each campaign and domain if rows are of campaigns."""
    from stream_coupons.kafka import topics
    from stream_coupons.ops.campaign_lift import campaign_lifts
    from stream_coupons.ops.results import rows_of

    latest, lifts = read_reports(settings.kafka, topics.RESULT_TOTALS, topics.LIFT_TOTALS)
    reports = [one for subject in latest.of for one in latest.parts(subject)]
    rows = rows_of(reports, by, which, settings.shop)
    of_campaigns = campaign_lifts(lifts, settings.shop) if by == "campaign" else []
    return rows, {(one.campaign_id, one.domain): one for one in of_campaigns}


def _write_csv(rows: Sequence[ResultRow], lifts: Lifts) -> None:
    from stream_coupons.ops.campaign_lift import with_lift
    from stream_coupons.ops.results import ResultRow

    over_control = [f"over_control_{name}" for name in ("value", "low", "high")]
    with terminal.results():
        names = [*(each.name for each in fields(ResultRow)), *over_control]
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(with_lift(row, lifts) for row in rows)


def _print(rows: Sequence[ResultRow], by: By, lifts: Lifts) -> None:
    from stream_coupons.ops.results import total_of

    if not rows:
        terminal.say("no coupon was given in this time; workers report to result-totals once one is")
        return
    names, domains = NAMES[by], {row.domain: row.currency for row in rows}
    lines = [(*_names(row, by), row.domain, *_figures(row), *_over_control(row, by, lifts)) for row in rows]
    if len(rows) > len(domains):
        totals = [total_of(rows, *each) for each in sorted(domains.items())]
        blank = [""] * (by == "campaign")
        lines += [("total", *[""] * (len(names) - 1), row.domain, *_figures(row), *blank) for row in totals]
    terminal.print_table((*names, "domain"), lines, (*FIGURES, *[OVER_CONTROL] * (by == "campaign")))
    terminal.say(f"{counted(sum(row.given for row in rows), 'coupon')} given; their uses count on the day of the issue")


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


def _over_control(row: ResultRow, by: By, lifts: Lifts) -> tuple[str | Text, ...]:
    if by != "campaign":
        return ()
    lift = lifts.get((row.campaign_id, row.domain))
    if lift is None:
        return ("no holdout",)
    return ("wrong share",) if lift.is_mismatch else (interval(lift.total, partial(money, currency=row.currency)),)

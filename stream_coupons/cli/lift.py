"""`lift`: what coupons bring, measured against the holdout."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import asdict
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.campaign_lifts import interval, show_campaign_lift
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, parse_time, settings_from
from stream_coupons.cli.own_records import RecordingArgument, take_records
from stream_coupons.core.currencies import money, units
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.plurals import counted

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.core.rules import ShopRules
    from stream_coupons.models.metrics import Interval
    from stream_coupons.ops.measured_lift import LiftDay, LiftReport, LiftRow
    from stream_coupons.settings import Settings

LEGEND = (
    "Money in minor units unless a currency is named. lift: mean of the treated less mean of the holdout, by shopper, "
    "adjusted for what was known at the first decision. Intervals hold the effect at all looks together with 95 %. "
    "width: of the interval, and unadjusted. assumed: share of the margin that neither items nor the catalogue state"
)
FIGURES_OF_LIFT = ("treated", "holdout", "lift a shopper", "lift of all treated", "width", "unadjusted")
FIGURES_OF_SUMS = (
    "treated", "holdout", "orders", "given", "discounts", "predicted", "of it open", "measured", "assumed",
)  # fmt: skip
FIGURES_OF_DAYS = ("treated", "holdout", "orders", "lift in margin a shopper", "sample ratio p")
LEGEND_OF_DAYS = (
    "Each day counts all orders so far, as they are known at the end of the log. Intervals and p values hold on all "
    "days together, so you may stop on any of them"
)
LOST_DECISIONS = (
    "retention has dropped the beginning of the topic decisions: shoppers enrol by a later decision, which coupons may "
    "have delayed; keep a recording, and measure on it"
)
DECIMALS = {"margin": 1, "orders": 4, "money": 1}


def lift(  # noqa: PLR0913 - options of the verb
    recording: RecordingArgument = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Count orders from this time on.")] = None,
    campaign: Annotated[str, typer.Option(metavar="ID", help="Of a campaign, by its own holdout.")] = "",
    by_day: Annotated[bool, typer.Option("--by-day", help="Lift in margin so far at the end of each day.")] = False,
    json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="With --by-day, print CSV, money in minor units.")] = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Measure what coupons bring, by the shoppers who get none.

    Compares the shoppers who may get coupons with the holdout, from the first
    decision about each on: margin less discounts and sending, orders, and the
    value of orders; in all, by the domain of that decision, and by campaign. A sample-ratio check
    comes first: if the holdout has not the share of the shoppers that it
    should have, nothing else is to be believed.

    Look as often as you like: intervals and the check are valid at all looks
    together, so you may stop when an interval excludes 0. Beside the measured
    lift stands the sum of the values that the coupons were given for.

    Without RECORDING the topics decisions, coupon-issues, order-events,
    coupon-feedback and coupon-catalog are read from their
    beginning to the end that they have now, without a group. What retention
    has dropped is not counted: keep a recording to measure for longer. Takes
    about 1 kB of memory for every order and shopper.

    With --by-day, the lift in margin by all orders up to the end of each day
    of shop.time_zone. The last day has the lift of the whole log.

    With --campaign, the lift of one campaign by its own holdout_ratio: in
    margin, as workers report it in lift-totals.

    Exit code 0 says that the lift was measured, 1 that the sample ratio is
    wrong or that records could not be read.

    Examples: stream-coupons lift
              stream-coupons lift --since 2026-01-02 --json
              stream-coupons lift own.jsonl --config settings.toml
              stream-coupons lift --by-day --csv
              stream-coupons lift --campaign spring
    """
    from stream_coupons.ops.lift_log import READ, LiftLog
    from stream_coupons.ops.measured_lift import report

    if as_csv and (json or not by_day):
        raise BadConfig("--csv: expected --by-day, and not --json")
    settings = settings_from(config, bootstrap)
    if campaign:
        if recording is not None or since is not None or by_day:
            raise BadConfig("--campaign: workers measure it as a whole, expected no RECORDING, --since or --by-day")
        raise typer.Exit(0 if show_campaign_lift(campaign, settings, as_json=json) else 1)
    log = LiftLog(settings.policy)
    bad_lines = take_records(log, READ, recording, settings)
    if recording is not None and not log.first:
        raise BadConfig(
            f"{recording}: no record of the topic decisions; write them with `stream-coupons tail decisions "
            f"--recording --from-beginning --timeout 5`, and so {', '.join(topic.name for topic in READ[1:])}"
        )
    found = report(log, settings.policy, -math.inf if since is None else parse_time(since, settings), settings.shop)
    if recording is None and _has_lost_decisions(settings):
        found.warnings.append(LOST_DECISIONS)
    if bad_lines:
        found.warnings.append(f"left out {counted(bad_lines, 'line')}: not a record of a topic")
    for warning in found.warnings if by_day or not json else ():
        terminal.warn(warning)
    if by_day:
        _show_days(found, as_json=json, as_csv=as_csv)
    else:
        terminal.show(found, partial(_print, shop=settings.shop), as_json=json)
    is_wrong = any(row.sample_ratio is not None and row.sample_ratio.is_mismatch for row in found.rows)
    raise typer.Exit(1 if is_wrong or bad_lines or log.unreadable else 0)


def _has_lost_decisions(settings: Settings) -> bool:
    from kafka.admin import OffsetSpec

    from stream_coupons.kafka import admin, topics
    from stream_coupons.ops.audit.audit_topics import offsets

    with admin.admin_client(settings.kafka) as client:
        return any(offsets(client, [topics.DECISIONS], settings.kafka, OffsetSpec.EARLIEST).values())


def _print(found: LiftReport, shop: ShopRules) -> None:
    from stream_coupons.ops.measured_lift import name_of

    rows = [(terminal.printable(name_of(row)), row) for row in found.rows]
    for name, row in rows:
        _print_sample_ratio(name, row)
    lifts = [each for name, row in rows for each in _lifts(name, row, shop.currency(row.domain))]
    terminal.print_table(("lift", "outcome"), lifts, FIGURES_OF_LIFT)
    sums = [_sums(name, row, shop.currency(row.domain)) for name, row in rows]
    terminal.print_table(("predicted and measured", "from", "to"), sums, FIGURES_OF_SUMS)
    for note in (LEGEND, *found.notes):
        terminal.say(note)


def _show_days(found: LiftReport, *, as_json: bool, as_csv: bool) -> None:
    from stream_coupons.ops.measured_lift import LiftDay

    if as_csv:
        terminal.print_csv(LiftDay.__struct_fields__, map(asdict, found.days))
    else:
        terminal.show(found.days, lambda _: _print_days(found), as_json=as_json)


def _print_days(found: LiftReport) -> None:
    from stream_coupons.ops.measured_lift import name_of

    for row in found.rows:
        _print_sample_ratio(terminal.printable(name_of(row)), row)
    names = {(row.domain, row.campaign): name_of(row) for row in found.rows}
    lines = [(names[day.domain, day.campaign], day.day, *_figures_of(day)) for day in found.days]
    terminal.print_table(("lift", "to the end of"), lines, FIGURES_OF_DAYS)
    for note in (LEGEND_OF_DAYS, *found.notes):
        terminal.say(note)


def _figures_of(day: LiftDay) -> tuple[str | Text, ...]:
    from stream_coupons.models.metrics import Interval

    counts = (f"{count:,}" for count in (day.treated, day.holdout, day.orders))
    low, high = (math.nan if end is None else end for end in (day.low_minor, day.high_minor))
    write = partial(money, currency=day.currency, more=DECIMALS["margin"])
    lift = "an arm is empty" if day.lift_minor is None else interval(Interval(day.lift_minor, low, high), write)
    share = "" if day.sample_ratio_p is None else f"{day.sample_ratio_p:.3g}"
    return *counts, lift, Text(share, "bold red" if day.is_mismatch else "")


def _print_sample_ratio(name: str, row: LiftRow) -> None:
    share = row.sample_ratio
    if share is None:
        return
    verdict = "MISMATCH" if share.is_mismatch else "no sign of a mismatch"
    terminal.say(
        f"sample ratio of {name}: {share.found:.2%} of {row.treated + row.holdout:,} "
        f"shoppers in the holdout, expected {share.expected:.2%}: {verdict} (evidence {share.evidence:.3g}, limit 100)",
        "bold red" if share.is_mismatch else None,
    )


def _lifts(name: str, row: LiftRow, currency: str | None) -> Iterator[tuple[str | Text, ...]]:
    """Yield a line for each outcome, the name in the first one."""
    for outcome, effect in row.effects.items():
        unit = None if outcome == "orders" else currency
        write = partial(units, currency=unit, more=DECIMALS[outcome])
        means = (write(mean) for mean in (effect.treated_mean, effect.holdout_mean))
        intervals = interval(effect.lift, write), interval(effect.total, partial(write, more=0))
        widths = (_width(each, write) for each in (effect.lift, effect.unadjusted))
        yield name, " ".join(filter(None, (outcome, unit))), *means, *intervals, *widths
        name = ""


def _sums(name: str, row: LiftRow, currency: str | None) -> tuple[str | Text, ...]:
    times = (terminal.utc(at)[:16] for at in (row.since, row.until))
    counts = (f"{count:,}" for count in (row.treated, row.holdout, row.orders, row.given))
    write = partial(units, currency=currency)
    predicted = Text(write(row.predicted_minor, sign="+"), "bold yellow" if row.agrees is False else "")
    sums = money(row.discounts_minor, currency), predicted, write(row.open_minor, sign="+")
    return name, *times, *counts, *sums, interval(row.effects["margin"].total, write), f"{row.assumed_ratio:.1%}"


def _width(found: Interval, write: Callable[..., str]) -> str:
    return "" if math.isnan(found.low) else write(found.high - found.low)

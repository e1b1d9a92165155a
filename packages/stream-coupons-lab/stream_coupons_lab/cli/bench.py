"""`bench`: what the engine costs on this machine or on a test broker."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec.structs import replace
from rich.table import Table

from stream_coupons.cli import terminal
from stream_coupons.cli.options import ConfigOption, settings_from
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.ops.interrupts import Interruptions
from stream_coupons.settings import Settings
from stream_coupons_lab.bench import CONSENT

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.bench.live import LiveRate
    from stream_coupons_lab.bench.run import BenchPlan, BenchReport
    from stream_coupons_lab.bench.throughput import Throughput

MIB = 1024 * 1024
RATES = [100.0, 300.0, 1000.0, 3000.0]


def bench(  # noqa: PLR0913 - the options of a command
    engine: Annotated[
        str | None, typer.Option(help="Broker to start: embedded (default), or kafka (Apache Kafka; Java, Maven).")
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(
            "--bootstrap", "-b", help="Test broker to use instead, host:port[,host:port], without our topics."
        ),
    ] = None,
    consent: Annotated[
        bool, typer.Option(CONSENT, help="Needed with --bootstrap: topics are created, written to and deleted.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Worker processes, at most kafka.partitions.", min=1)] = 2,
    events: Annotated[int, typer.Option(help="Events of the backlog.", min=100)] = 100_000,
    shoppers: Annotated[int, typer.Option(help="How many shoppers they are of.", min=1)] = 20_000,
    coupons: Annotated[int, typer.Option(help="How many coupons the catalogue has.", min=1)] = 200,
    rate: Annotated[
        list[float], typer.Option(help="Events a second of a steady load; repeat it for several.", min=1)
    ] = RATES,
    seconds: Annotated[float, typer.Option(help="How long each steady load lasts.", min=1)] = 30.0,
    guarantee: Annotated[
        Guarantee | None, typer.Option(help="kafka.guarantee, if not as the settings say.", show_default=False)
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write all figures here as JSON; - for standard output.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Measure CPU per event, latency and memory with made-up events: one in
    ten leads to a coupon.

    Starts a broker and workers, works off a backlog, takes in new shoppers to
    see how memory grows, then sends at each steady rate for --seconds. A live
    event costs more than one of a backlog: batches are small, and each has a
    fixed price. CPU is that of all workers; batches are those of all agents.

    Latency runs from when an event was due to be sent until its coupon is
    read, so that no stall is hidden; percentiles are exact. Its parts between
    topics are told from the records' headers and times afterwards. The floor
    is the same rate through a plain topic, without the engine. A rate at which
    lag grows is saturated: it has no latency. The first tenth of each part
    warms up. Some five minutes; leave the machine alone meanwhile.

    Ends with exit code 1 if an event that should lead to a coupon led to
    none. Ctrl-C ends it early and reports the parts that are complete; nothing
    that was started or created is left behind.

    Examples: stream-coupons bench
              stream-coupons bench --engine kafka --json bench.json
              stream-coupons bench --rate 300 --rate 1000 --seconds 60
    """
    from stream_coupons_lab.bench.run import BenchPlan, check
    from stream_coupons_lab.bench.workload import Workload

    plan = BenchPlan(
        settings=_settings(config, bootstrap, engine, consent, guarantee),
        workload=Workload(events=events, shoppers=shoppers, coupons=coupons),
        engine="" if bootstrap is not None else engine or "embedded",
        workers=workers,
        rates=tuple(rate),
        seconds=seconds,
    )
    plan = replace(plan, settings=plan.workload.settings(plan.settings))
    check(plan)
    _require_writable(json)
    report = _measured(plan)
    _write(report, json)
    if report.interrupted:
        terminal.stop_interrupted(": only what is reported was measured to its end")
    raise typer.Exit(1 if report.missing else 0)


def _settings(
    config: Path | None, bootstrap: str | None, engine: str | None, consent: bool, guarantee: Guarantee | None
) -> Settings:
    """Settings for a group that nobody else has."""
    if bootstrap is not None and engine is not None:
        raise BadConfig("--engine starts a broker and --bootstrap uses one that runs: expected one of them")
    if bootstrap is not None and not consent:
        raise BadConfig(
            f"bench creates the engine's topics at {bootstrap}, fills them with made-up events and deletes them: never "
            f"do that to a production system. If it is a test broker, add {CONSENT}"
        )
    settings = settings_from(config, bootstrap)
    kafka = replace(settings.kafka, group_id=f"bench-{uuid.uuid4().hex[:12]}")
    if bootstrap is None:
        kafka = replace(kafka, replication=1)  # a broker of our own is one node
    if guarantee is not None:
        kafka = replace(kafka, guarantee=guarantee)
    return replace(settings, kafka=kafka)


def _measured(plan: BenchPlan) -> BenchReport:
    from stream_coupons_lab.bench.run import run

    warnings: list[str] = []
    with terminal.fraction_progress("starting the broker", 1.0) as progress, Interruptions(at_once=True):

        def show(what: str, share: float) -> None:
            progress.update(progress.task_ids[0], description=what, completed=share)

        try:
            return run(plan, show, warnings.append)
        except KeyboardInterrupt:
            progress.stop()
            gone = "workers, broker and files" if plan.engine else "workers, topics, group and files"
            left = "see the warning for what is left" if warnings else f"nothing left behind: {gone} are gone"
            terminal.stop_interrupted(f": nothing is reported, {left}")
        finally:
            progress.stop()
            for warning in warnings:
                terminal.warn(warning)


def _require_writable(path: Path | None) -> None:
    """Half an hour of measuring must not end in a folder that is not there."""
    if path is not None and str(path) != "-" and (path.is_dir() or not path.resolve().parent.is_dir()):
        raise BadConfig(f"--json {path}: expected a file in a folder that exists")


def _write(report: BenchReport, path: Path | None) -> None:
    """Print the report, or write it as JSON to a file and print it, or print it as JSON."""
    if str(path) == "-":
        terminal.print_json(report, indent=2)
        return
    if path is not None:
        with terminal.written(path) as file:
            assert file is not None
            file.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    _print(report)


def _print(report: BenchReport) -> None:
    speed, memory = report.throughput, report.memory
    options, machine = report.options, report.machine
    per_shopper = "not known" if memory.bytes_per_shopper is None else f"{memory.bytes_per_shopper:,.0f} bytes"
    terminal.stdout().print(_cost_table(report))
    if any(each.hops for each in report.rates):
        terminal.stdout().print(_hop_table(report.rates))
    terminal.say(
        f"backlog: {speed.events:,} events in {speed.seconds} s after the warm-up, {speed.events_per_s:,.0f} events/s"
    )
    terminal.say(
        f"memory: {speed.peak_rss_bytes / MIB:,.0f} MiB resident at the peak, all workers; "
        f"{per_shopper} a shopper, growth by {memory.shoppers:,} new ones"
    )
    terminal.say(
        f"{options['engine']} broker, {options['guarantee']}, {options['workers']} workers, {options['shoppers']:,} "
        f"shoppers, {options['coupons']:,} coupons; {machine.cores} cores, {machine.processor or machine.system}, "
        f"Python {machine.python}"
    )
    for each in report.rates:
        if each.is_saturated:
            terminal.say(f"saturated: {_behind(each)}", "bold yellow")
    for note in report.notes:
        terminal.say(f"note: {note}", "yellow")
    asked = speed.triggers + sum(each.latency.awaited for each in report.rates)
    pending = speed.pending + sum(each.latency.pending for each in report.rates)
    if pending:
        text = f"{pending:,} triggers came while an earlier proposal for their shopper was on its way, which is allowed"
        terminal.say(f"note: {text}")
    if report.missing:
        terminal.say(f"{report.missing:,} of {asked:,} triggers led to no coupon", "bold red")
    else:
        terminal.say(f"each of {asked - pending:,} triggers led to its coupon", "bold green")


def _behind(found: LiveRate) -> str:
    """Return how far the agents that decide fell behind, and in which topic most."""
    from stream_coupons_lab.bench.live import DECIDING

    before = sum(count for topic, count in found.lag_before.items() if topic in DECIDING)
    after = {topic: count for topic, count in found.lag_after.items() if topic in DECIDING}
    most = max(after, key=after.__getitem__)
    return (
        f"at {found.rate:,g} events/s lag grew from {before:,} to {sum(after.values()):,} records in "
        f"{found.seconds:.0f} s, {after[most]:,} of them in {most}: the workers cannot keep up, so there is no latency"
    )


def _cost_table(report: BenchReport) -> Table:
    """Return what an event costs in the backlog and at each rate."""
    figures = ("events/s", "CPU us\n/event", "cores\nused", "batches\n/s", "events\n/batch", "p50", "p99", "p99.9")
    table = terminal.new_table(
        figures=(*figures, "floor\np50/p99", "broker\nus/event"),
        no_wrap=True,
        title="CPU of the workers, and ms from when an event was due until its coupon was read",
    )
    table.add_row(
        "backlog", *_costs(report.throughput), "", "", "", "", _number(report.throughput.broker_cpu_us_per_event)
    )
    table.add_section()
    for each in report.rates:
        found, floor = each.latency, each.floor
        text = ("saturated", "", "")
        if not each.is_saturated:
            text = (_number(found.p50_ms), _number(found.p99_ms), _number(found.p999_ms))
        floors = f"{_number(floor.p50_ms)}/{_number(floor.p99_ms)}"
        table.add_row(f"{each.rate:,g}", *_costs(each), *text, floors, _number(each.broker_cpu_us_per_event))
    return table


def _costs(found: Throughput | LiveRate) -> tuple[str, ...]:
    return (
        f"{found.worker_cpu_us_per_event:,.0f}",
        f"{found.cores_used:.2f}",
        f"{found.batches_per_s:,.0f}",
        f"{found.events_per_batch:,.1f}",
    )


def _hop_table(rates: list[LiveRate]) -> Table:
    """Return the parts of the latency at each rate."""
    table = Table("from, to", title="The way to a coupon: p50/p99 in ms")
    shown = [each for each in rates if each.hops]
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for number, each in enumerate(shown):
        table.add_column(f"{each.rate:,g}/s", justify="right", no_wrap=True)
        for hop in each.hops:
            text = f"{_number(hop.p50_ms)}/{_number(hop.p99_ms)}"
            cells.setdefault((hop.source, hop.target), {})[number] = text
    for (source, target), texts in cells.items():
        table.add_row(f"{source}, {target}", *(texts.get(number, "") for number in range(len(shown))))
    return table


def _number(value: float | None) -> str:
    """Return a figure with a decimal where it is small; a dash if there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:,.1f}"

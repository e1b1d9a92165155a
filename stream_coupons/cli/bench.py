"""`bench`: what the engine costs on this machine or on a test broker."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec.structs import replace
from rich.progress import Progress
from rich.table import Table

from stream_coupons.bench import CONSENT
from stream_coupons.cli import terminal
from stream_coupons.cli.options import ConfigOption, settings_from
from stream_coupons.core.errors import BadConfig
from stream_coupons.settings import Guarantee, Settings

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.bench.latency import Latency
    from stream_coupons.bench.run import Plan, Report, Show

MIB = 1024 * 1024


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
    rate: Annotated[float, typer.Option(help="Events a second of the steady load.", min=1)] = 200.0,
    seconds: Annotated[float, typer.Option(help="How long the steady load lasts.", min=1)] = 30.0,
    guarantee: Annotated[
        Guarantee | None, typer.Option(help="kafka.guarantee, if not as the settings say.", show_default=False)
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write all figures here as JSON; - for standard output.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Measure throughput, latency and memory with made-up events: one in ten
    leads to a coupon.

    Starts a broker and workers, works off a backlog, takes in new shoppers to
    see how memory grows, then sends at a steady rate. Latency runs from when
    an event was due to be sent until its coupon is read, so that no stall is
    hidden; percentiles are exact. The floor is the same rate through a plain
    topic, without the engine. The first tenth of each part warms up. CPU is
    that of the workers. Leave the machine alone meanwhile.

    Ends with exit code 1 if an event that should lead to a coupon led to
    none. Ctrl-C ends it early; nothing is left behind.

    Examples: stream-coupons bench
              stream-coupons bench --engine kafka --json bench.json
              stream-coupons bench --events 1000000 --shoppers 100000 --rate 500
    """
    from stream_coupons.bench.run import Plan, check
    from stream_coupons.bench.workload import Workload

    plan = Plan(
        settings=_settings(config, bootstrap, engine, consent, guarantee),
        workload=Workload(events=events, shoppers=shoppers, coupons=coupons),
        engine="" if bootstrap is not None else engine or "embedded",
        workers=workers,
        rate=rate,
        seconds=seconds,
    )
    plan = replace(plan, settings=plan.workload.settings(plan.settings))
    check(plan)
    _require_writable(json)
    report = _measured(plan)
    if json is not None:
        _write(report, json)
    if json is None or str(json) != "-":
        _print(report)
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


def _measured(plan: Plan) -> Report:
    from stream_coupons.bench.interruption import Interruption
    from stream_coupons.bench.run import run

    warnings: list[str] = []
    with terminal.fraction_progress("starting the broker", 1.0) as progress, Interruption() as interruption:
        try:
            return run(plan, _shown_on(progress), warnings.append, interruption)
        except KeyboardInterrupt:
            progress.stop()
            gone = "workers, broker and files" if plan.engine else "workers, topics, group and files"
            left = "see the warning for what is left" if warnings else f"nothing left behind: {gone} are gone"
            terminal.stderr().print(f"interrupted: nothing is reported, {left}", markup=False, soft_wrap=True)
            raise typer.Exit(terminal.INTERRUPTED) from None
        finally:
            progress.stop()
            for warning in warnings:
                terminal.stderr().print(f"warning: {warning}", markup=False, soft_wrap=True)


def _shown_on(progress: Progress) -> Show:
    def show(what: str, share: float) -> None:
        progress.update(progress.task_ids[0], description=what, completed=share)

    return show


def _require_writable(path: Path | None) -> None:
    """Half an hour of measuring must not end in a folder that is not there."""
    if path is not None and str(path) != "-" and (path.is_dir() or not path.resolve().parent.is_dir()):
        raise BadConfig(f"--json {path}: expected a file in a folder that exists")


def _write(report: Report, path: Path) -> None:
    text = msgspec.json.format(msgspec.json.encode(report), indent=2)
    if str(path) == "-":
        typer.echo(text.decode())
        return
    with terminal.written(path) as file:
        assert file is not None
        file.write(text + b"\n")


def _print(report: Report) -> None:
    speed, memory = report.throughput, report.memory
    options, machine = report.options, report.machine
    table = Table("", "", "what it is")
    table.columns[1].justify = "right"
    table.add_row("throughput", f"{speed.events_per_s:,.0f} events/s", f"{speed.events:,} events in {speed.seconds} s")
    table.add_row("CPU, workers", f"{speed.worker_cpu_us_per_event:,.0f} us/event", "user and system time, all workers")
    if speed.broker_cpu_us_per_event is not None:
        table.add_row("CPU, broker", f"{speed.broker_cpu_us_per_event:,.0f} us/event", "")
    table.add_row("memory, peak", f"{speed.peak_rss_bytes / MIB:,.0f} MiB", "resident, all workers")
    per_shopper = "not known" if memory.bytes_per_shopper is None else f"{memory.bytes_per_shopper:,.0f} bytes"
    table.add_row("memory, shopper", per_shopper, f"growth by {memory.shoppers:,} new shoppers")
    table.add_section()
    for name, each in (("latency", report.latency), ("floor", report.floor)):
        for row in _latency_rows(name, each):
            table.add_row(*row)
    console = terminal.stdout()
    console.print(table)
    console.print(
        f"{options['engine']} broker, {options['guarantee']}, {options['workers']} workers, {options['shoppers']:,} "
        f"shoppers, {options['coupons']:,} coupons; {machine.cores} cores, {machine.processor or machine.system}, "
        f"Python {machine.python}",
        markup=False,
        soft_wrap=True,
    )
    for note in report.notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    asked = speed.triggers + report.latency.awaited
    pending = speed.pending + report.latency.pending
    if pending:
        text = f"{pending:,} triggers came while an earlier proposal for their shopper was on its way, which is allowed"
        console.print(f"note: {text}", markup=False, soft_wrap=True)
    if report.missing:
        console.print(f"{report.missing:,} of {asked:,} triggers led to no coupon", style="bold red")
    else:
        console.print(f"each of {asked - pending:,} triggers led to its coupon", style="bold green")


def _latency_rows(name: str, found: Latency) -> list[tuple[str, str, str]]:
    what = "event due to coupon read" if name == "latency" else "through a plain topic, no engine"
    rows: list[tuple[str, str, str]] = []
    for label, value in (("p50", found.p50_ms), ("p90", found.p90_ms), ("p99", found.p99_ms), ("max", found.max_ms)):
        text = "none came" if value is None else f"{value:,.1f} ms"
        rows.append((f"{name}, {label}", text, f"{what}; {found.measured:,} at {found.rate:g}/s" if not rows else ""))
    return rows

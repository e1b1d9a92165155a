"""Tables of the load benchmark for the terminal."""

from rich.table import Table

from benchmarks.load.live import DECIDING, LiveRate
from benchmarks.load.run import BenchReport
from benchmarks.load.throughput import Throughput
from stream_coupons.cli import terminal

MIB = 1024 * 1024


def print_report(report: BenchReport) -> None:
    """Print the tables, and what makes a figure doubtful."""
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
        text = f"{pending:,} triggers came while an earlier decision for their shopper was on its way, which is allowed"
        terminal.say(f"note: {text}")
    if report.missing:
        terminal.say(f"{report.missing:,} of {asked:,} triggers led to no coupon", "bold red")
    else:
        terminal.say(f"each of {asked - pending:,} triggers led to its coupon", "bold green")


def _behind(found: LiveRate) -> str:
    """Return how far the agents that decide fell behind, and in which topic most."""
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

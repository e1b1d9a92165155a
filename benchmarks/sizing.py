"""Measure what a cluster is sized by: CPU, memory, recovery and bytes by shopper, event, decision and worker.

    python -m benchmarks.sizing
    python -m benchmarks.sizing --rate 300 --seconds 60 --recover 10000 100000 1000000 --write
    python -m benchmarks.sizing --engine embedded --workers 1 --seconds 10 --recover 1000 --histories 10

A shop of `benchmarks.live_shop` sends browse, cart and order events, and feedback on its coupons, at a steady rate; one
run for each number of workers, learners included in their CPU. Bytes are those by which the logs of the one broker grow
meanwhile, compressed as they are, before replication. For recovery, states of shoppers with ten events are appended to
the users' changelog, and a worker starts: time until it is ready, less that of a start without states. Memory by the
length of a shopper's history is that of the states as bytes, played without a broker.

Ctrl-C ends it, and leaves nothing behind. With `--write` the tables go into docs/how-to/size-a-cluster.md.
"""

import argparse
import datetime
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from benchmarks.checkout import ROOT, commit
from benchmarks.command import number
from benchmarks.decision_cost import scored
from benchmarks.live_shop import CAMPAIGNS, COUPONS, open_shop
from benchmarks.load import processes
from benchmarks.load.run import machine_now
from benchmarks.load.throughput import OwnSystem
from benchmarks.load.workload import BEGIN_AT, BETWEEN_SESSIONS_S, SESSION, Workload
from benchmarks.pages import begin_of, markdown_table, with_figures
from benchmarks.profile import drive, pipeline
from loopback_kafka import BrokerProcess
from stream_coupons.cli.terminal import stderr
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.codec import encode
from stream_coupons.runtime.cells import Cell, CellCodec
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.settings import Settings
from stream_coupons_lab.brokers import running_broker
from stream_coupons_lab.demo.system import LocalSystem

PAGE = ROOT / "docs" / "how-to" / "size-a-cluster.md"
BEGIN = begin_of("python -m benchmarks.sizing --write")
USERS = topics.changelog("users")
EVENTS = frozenset(topic.name for topic in topics.INPUTS)
PLAYED = 20_000
"""Events that are played for one length of history, or 20 shoppers' if these are more."""
BATCH = 50
DUE_IN_S = 86400.0
"""Time from the start until a recovered state is due."""
LIVE = ("Workers", "Events per second", "CPU s per million events", "Cores", "Decisions per event", "Lag, events")
DECISIONS = ("Coupons of a domain", "CPU s per million decisions")
HISTORIES = ("Events of a shopper", "Bytes of the state")
RECOVERY = ("Shoppers recovered", "Changelog, MB", "Seconds", "CPU s", "Memory per shopper, bytes")


def settings_of(plan: argparse.Namespace) -> Settings:
    """Return settings under which shoppers are considered often."""
    settings = Settings()
    policy, kafka = replace(settings.policy, cooldown_s=5.0), replace(settings.kafka, partitions=plan.partitions)
    return replace(settings, policy=policy, kafka=kafka)


@contextmanager
def prepared(plan: argparse.Namespace, folder: Path) -> Iterator[BrokerProcess]:
    """Run a broker with the topics, and with a catalogue."""
    with running_broker(plan.engine, folder / "broker") as broker:
        LocalSystem(broker, settings_of(plan), folder).prepare(COUPONS, CAMPAIGNS)
        yield broker


@contextmanager
def started(plan: argparse.Namespace, workers: int, broker: BrokerProcess, folder: Path) -> Iterator[LocalSystem]:
    """Run workers that are ready, on topics that exist."""
    with LocalSystem(broker, settings_of(plan), folder, workers) as system:
        system.wait_ready()
        yield system


def steady_load(plan: argparse.Namespace, workers: int, folder: Path) -> tuple[list[str], list[list[str]]]:
    """Return the row of a steady load on some workers and a broker of its own, and the rows of bytes by topic."""
    with (
        prepared(plan, folder) as broker,
        started(plan, workers, broker, folder) as system,
        admin.admin_client(system.connection) as client,
        open_shop(system.settings, plan.rate),
    ):
        time.sleep(plan.warm_up)
        running = OwnSystem(system, client, broker.pid)
        first, before, decided = running.mark(), log_sizes(folder), decisions_of(system)
        time.sleep(plan.seconds)
        system.check()
        sizes, decisions = log_sizes(folder) - before, decisions_of(system) - decided
        last = running.mark()
    events = max(sum(last.records.get(name, 0.0) - first.records.get(name, 0.0) for name in EVENTS), 1.0)
    seconds, cpu_s = last.at - first.at, last.worker_cpu_s - first.worker_cpu_s
    lag = sum(last.lag.get(name, 0) for name in EVENTS)
    figures = f"{events / seconds:,.0f}", f"{cpu_s / events * 1e6:,.0f}", f"{cpu_s / seconds:.2f}"
    row = [str(workers), *figures, f"{decisions / events:.2f}", f"{lag:,}"]
    shares = [[f"`{name}`", f"{size / events:,.0f}"] for name, size in sizes.most_common() if size >= events / 2]
    return row, [*shares, ["all", f"{sizes.total() / events:,.0f}"]]


def log_sizes(folder: Path) -> Counter[str]:
    """Return the bytes of the broker's logs in a folder, by topic."""
    sizes = Counter[str]()
    for log in folder.rglob("*.log"):
        sizes[log.parent.name.rpartition("-")[0]] += log.stat().st_size
    return Counter({name: size for name, size in sizes.items() if name in topics.BY_NAME})


def decisions_of(system: LocalSystem) -> float:
    """Return the count of decisions that the workers have made."""
    return sum(system.totals("stream_coupons_decisions_total").values())


def decision_s(coupons: int) -> float:
    """Return the CPU seconds of scoring a million decisions alone."""
    triggers, score = scored(coupons)
    began = time.process_time()
    for trigger in triggers:
        score([trigger])
    return (time.process_time() - began) / len(triggers) * 1e6


def states(shoppers: int, events: int, partitions: int) -> list[bytes]:
    """Return the states of shoppers after so many events each, a session a day, without offsets of the log."""
    workload = Workload(events=shoppers * events, shoppers=shoppers, at_a_time=min(shoppers, 1000))
    owners, records, logs = pipeline(workload, partitions)
    a_day = shoppers * SESSION
    for day, begins_at in enumerate(range(0, len(records), a_day), start=1):
        drive(owners, records[begins_at : begins_at + a_day], logs, BATCH)
        tick = encode(Tick(at=BEGIN_AT + day * BETWEEN_SESSIONS_S))
        turn = [logs.append(topics.TICKS.name, home, str(home).encode(), tick) for home in range(partitions)]
        drive(owners, turn, logs, BATCH)
    users, codec, found = owners[0].batches, CellCodec(Shopper), list[bytes]()
    for home in users.owned:
        for key, data in users.cells(home).items():
            if not key.startswith(SHARED_PREFIX):
                cell = codec.decode(data)
                found.append(codec.encode(Cell(time.time() + DUE_IN_S, cell.state)))
    return found


def recoveries(plan: argparse.Namespace, folder: Path) -> Iterator[list[str]]:
    """Yield rows of starts of a worker with ever more states, each a copy of one that was played."""
    some, appended, size = states(500, SESSION, plan.partitions), 0, 0
    with prepared(plan, folder) as broker:
        _start(plan, broker, folder / "first")  # its groups are new, those of the others are not
        base = _start(plan, broker, folder / "empty")
        for shoppers in sorted(plan.recover):
            with LocalSystem(broker, settings_of(plan), folder, workers=0).publisher() as publisher:
                for place in range(appended, shoppers):
                    key, data = f"shopper-{place}".encode(), some[place % len(some)]
                    publisher.send_bytes(USERS, key, data)
                    size += len(key) + len(data)
            appended, now = shoppers, _start(plan, broker, folder / str(shoppers))
            ready_s, cpu_s, rss_bytes = (after - before for after, before in zip(now, base, strict=True))
            memory = rss_bytes / shoppers
            yield [f"{shoppers:,}", f"{size / 1e6:,.0f}", f"{ready_s:.1f}", f"{cpu_s:.1f}", f"{memory:,.0f}"]


def _start(plan: argparse.Namespace, broker: BrokerProcess, folder: Path) -> tuple[float, float, float]:
    """Start a worker; return the seconds until it is ready, its CPU seconds and its memory by then."""
    folder.mkdir()
    began = time.monotonic()
    with started(plan, 1, broker, folder) as system:
        pids = [system.workers[0].process.pid]
        return time.monotonic() - began, processes.cpu_s(pids), processes.rss_bytes(pids)


def measure(plan: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Yield tables in Markdown, and the origin of the figures."""
    at, machine, note = commit(), machine_now(), stderr().print
    loads = []
    for workers in plan.workers:
        note(f"steady load, workers: {workers}")
        loads.append(steady_load(plan, workers, folder / f"live-{workers}"))
    yield markdown_table(LIVE, [row for row, _ in loads])
    yield markdown_table(("Topic", "Bytes per event"), loads[0][1])
    note("decisions and states, without a broker")
    seconds = [(coupons, decision_s(coupons)) for coupons in plan.coupons]
    yield markdown_table(DECISIONS, [[f"{coupons:,}", f"{cpu_s:,.0f}"] for coupons, cpu_s in seconds])
    sizes = [
        (events, statistics.mean(map(len, states(max(PLAYED // events, 20), events, plan.partitions))))
        for events in plan.histories
    ]
    yield markdown_table(HISTORIES, [[f"{events:,}", f"{size:,.0f}"] for events, size in sizes])
    note("recovery")
    yield markdown_table(RECOVERY, list(recoveries(plan, folder / "recovery")))
    yield (
        f"Measured on {datetime.date.today()} at commit {at} ({machine.cores} cores, {machine.system}, "
        f"Python {machine.python}); load average {machine.load_before} before and {os.getloadavg()[0]:.1f} after it. "
        "Above half of the cores, times and CPU are worse than they would be."
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole = number(int, 1)
    several = {"type": whole, "nargs": "+"}
    parser.add_argument("--engine", choices=("kafka", "embedded"), default="kafka", help="broker to start: kafka")
    parser.add_argument("--workers", default=[1, 2, 4], help="numbers of workers: 1 2 4", **several)
    parser.add_argument("--partitions", type=whole, default=12, help="of every topic: 12")
    parser.add_argument("--rate", type=number(float, 1), default=100.0, help="visits a second, and what follows: 100")
    parser.add_argument("--seconds", type=number(float, 1), default=30.0, help="of each steady load: 30")
    parser.add_argument("--warm-up", type=number(float, 0), default=10.0, help="seconds before each: 10")
    parser.add_argument("--coupons", default=[4, 50, 1000], help="of a domain: 4 50 1000", **several)
    parser.add_argument("--histories", default=[10, 100, 1000], help="events of a shopper: 10 100 1000", **several)
    parser.add_argument("--recover", default=[10_000, 100_000], help="shoppers: 10000 100000", **several)
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    if (most := max(options.workers)) > options.partitions:
        parser.error(f"--workers {most}: with --partitions {options.partitions}, expected at most as many")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write them if asked for. Return the exit code."""
    plan = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="sizing-") as folder:
            parts = list(measure(plan, Path(folder)))
    except StreamCouponsError as error:
        stderr().print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    print("\n\n".join(parts))
    if plan.write:
        PAGE.write_text(with_figures(PAGE.read_text(), BEGIN, parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())

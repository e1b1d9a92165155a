"""The whole measurement on one system: a backlog, then steady rates, each also without the engine."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from benchmarks.load import hops, latency, live, processes, target, throughput
from benchmarks.load.hops import Hop
from benchmarks.load.latency import Client, Latency, Timing
from benchmarks.load.live import LiveRate
from benchmarks.load.throughput import Backlog, Memory, OwnSystem, Throughput
from benchmarks.load.workload import BEGIN_AT, BETWEEN_SESSIONS_S, SESSION, Workload
from loopback_kafka import BrokerProcess
from stream_coupons import __version__
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.settings import Settings
from stream_coupons_lab.brokers import running_broker
from stream_coupons_lab.demo.system import LocalSystem

FLOOR_WITHIN_S = 10.0
"""Broker and client are measured without the engine for at most this long."""
BUSY_LOAD = 0.5
"""Load of each core, before anything was started, above which the figures are doubtful."""
FEW_SHOPPERS = 4_000
"""Number of new shoppers below which the growth of memory is within its usual variation."""
LATE_MS = 20.0
"""99th percentile of the publisher's delay above which the measured latencies contain it."""

Show = Callable[[str, float], None]
"""Callback with the current step and the share of it that is done."""


class BenchPlan(Struct, frozen=True, kw_only=True):
    """Settings of one benchmark run.

    Attributes
    ----------
    engine : str
        Engine of the broker that is started; empty to use the broker at `settings.kafka.bootstrap`.
    rates : tuple of float
        Events a second of each steady load, in the order in which they are measured.
    seconds : float
        Duration of each steady load.
    """

    settings: Settings
    workload: Workload
    engine: str
    workers: int
    rates: tuple[float, ...]
    seconds: float

    @property
    def more_events(self) -> int:
        """Events of a second backlog, whose new shoppers make the workers grow."""
        return self.workload.events // 2

    def steady_events(self, rate: float) -> int:
        """Return the number of events of the steady load at a rate."""
        return int(rate * self.seconds)

    def options(self) -> dict[str, object]:
        """Return the options that determine the measurement, for the report."""
        kafka, worker = self.settings.kafka, self.settings.worker
        return {
            "engine": self.engine or "bootstrap",
            "guarantee": kafka.guarantee.value,
            "workers": self.workers,
            "partitions": kafka.partitions,
            "replication": kafka.replication,
            **msgspec.to_builtins(self.workload),
            "rates": self.rates,
            "seconds": self.seconds,
            "commit_interval_s": kafka.commit_interval_s,
            "batch_records": worker.batch_records,
            "tick_every_s": worker.tick_every_s,
            "store": worker.store.value,
        }


class Machine(Struct, frozen=True, kw_only=True):
    """Machine of the measurement, without names."""

    cores: int
    processor: str
    system: str
    python: str
    version: str
    load_before: float


class BenchReport(Struct, frozen=True, kw_only=True):
    """Results of a measurement.

    Attributes
    ----------
    rates : list of LiveRate
        One for each steady load that was measured to its end.
    missing : int
        Triggers, of the backlog and of the steady loads, that led to no issue. There must be none.
    interrupted : bool
        True if a signal ended the measurement before the plan was complete.
    notes : list of str
        Reasons to doubt a figure.
    """

    options: dict[str, object]
    machine: Machine
    throughput: Throughput
    memory: Memory
    rates: list[LiveRate]
    missing: int
    interrupted: bool
    notes: list[str]


class Measured(Struct):
    """Figures of the parts that are complete."""

    backlog: tuple[Throughput, Memory] | None = None
    rates: list[LiveRate] = field(default_factory=list)


def check(plan: BenchPlan) -> None:
    """See that a plan can be carried out, before anything is started.

    Raises
    ------
    BadConfig
    """
    processes.require_proc()
    partitions = plan.settings.kafka.partitions
    if plan.workers > partitions:
        raise BadConfig(
            f"--workers {plan.workers}: with kafka.partitions = {partitions}, expected at most {partitions}"
        )
    steady = [plan.steady_events(rate) for rate in plan.rates]
    if min(steady) < 100:
        raise BadConfig(f"--rates times --seconds is {min(steady)} events, expected at least 100")
    events = plan.workload.events + plan.more_events + sum(steady)
    days = events / SESSION / plan.workload.shoppers * BETWEEN_SESSIONS_S / 86400.0
    if BEGIN_AT + days * 86400.0 > time.time():
        raise BadConfig(
            f"--shoppers {plan.workload.shoppers}: each would come on {days:,.0f} days, the last ones in the future; "
            "expected more shoppers or fewer events"
        )


def run(plan: BenchPlan, show: Show, warn: Callable[[str], None]) -> BenchReport:
    """Measure. Whatever happens, nothing that was started or created is there afterwards.

    Raises
    ------
    StreamCouponsError
    KeyboardInterrupt
        If a signal came before anything was measured. Later ones end it with a report of what there is.
    """
    machine = machine_now()
    found = Measured()
    try:
        _measure(plan, found, show, warn)
    except KeyboardInterrupt:
        if found.backlog is None:
            raise
    assert found.backlog is not None
    speed, grown = found.backlog
    rates = found.rates
    return BenchReport(
        options=plan.options(),
        machine=machine,
        throughput=speed,
        memory=grown,
        rates=rates,
        missing=speed.missing + sum(each.latency.missing for each in rates),
        interrupted=len(rates) < len(plan.rates),
        notes=_notes(plan, machine, speed, grown, rates),
    )


def _measure(plan: BenchPlan, found: Measured, show: Show, warn: Callable[[str], None]) -> None:
    """Carry out the plan; `found` has each figure as soon as it is measured."""
    with tempfile.TemporaryDirectory(prefix="stream-coupons-bench-") as folder, ExitStack() as stack:
        show("starting the broker", 0.0)
        broker = stack.enter_context(_broker(plan, Path(folder), warn))
        # Time passes by our own ticks.
        worker = msgspec.structs.replace(plan.settings.worker, tick_every_s=0.0)
        settings = msgspec.structs.replace(plan.settings, worker=worker)
        system = LocalSystem(broker, settings, Path(folder) / "workers", plan.workers)
        client = stack.enter_context(admin.admin_client(system.connection))
        admin.check_guarantee(client, system.settings.kafka)
        running = OwnSystem(system, client, broker.pid)
        system.prepare(plan.workload.catalogue())
        backlog = _publish(system, plan, 0, plan.workload.events, show)
        # Pushed before it is entered: what was started is stopped also if a start fails or a signal comes between.
        stack.push(system)
        system.__enter__()
        tick_every_s = plan.settings.worker.tick_every_s
        stack.enter_context(throughput.ticking(system, tick_every_s))
        samples = throughput.drain(running, lambda share: show("working off the backlog", share))
        before = throughput.settle(system, tick_every_s, lambda share: show("letting it settle", share))
        more = _publish(system, plan, plan.workload.events, plan.more_events, show)
        throughput.drain(running, lambda share: show("working off more shoppers", share))
        after = throughput.settle(system, tick_every_s, lambda share: show("letting it settle", share))
        speed = throughput.throughput(system, samples, backlog.events, backlog.triggers | more.triggers)
        found.backlog = speed, throughput.memory(len(more.shoppers - backlog.shoppers), before, after)
        target.create_floor(system.settings.kafka)
        begins_at = plan.workload.events + plan.more_events
        for rate in plan.rates:
            found.rates.append(_steady(running, plan, rate, begins_at, show))
            begins_at += plan.steady_events(rate)


@contextmanager
def _broker(plan: BenchPlan, folder: Path, warn: Callable[[str], None]) -> Iterator[BrokerProcess]:
    if not plan.engine:
        with target.borrowed(plan.settings.kafka, warn) as borrowed:
            yield borrowed
        return
    with running_broker(plan.engine, folder / "broker") as own:  # type: ignore[arg-type]
        yield own


def _publish(system: LocalSystem, plan: BenchPlan, begins_at: int, count: int, show: Show) -> Backlog:
    sends = plan.workload.sends(begins_at, count, system.settings.kafka.partitions)
    with system.publisher() as publisher:
        return throughput.publish(publisher, sends, count, lambda share: show("publishing a backlog", share))


def _steady(running: OwnSystem, plan: BenchPlan, rate: float, begins_at: int, show: Show) -> LiveRate:
    """Go on with the workload where it ended, at a steady rate; then send at that rate through a plain topic."""
    system = running.system
    kafka = system.settings.kafka
    sends = list(plan.workload.sends(begins_at, plan.steady_events(rate), kafka.partitions))
    # What a rate before it left behind, and ticks, are no part of it.
    system.wait_idle(throughput.STALLED_AFTER_S)
    before = throughput.pending(system)
    with Reader(system.connection, [topics.ISSUES.name], from_beginning=False) as issues:
        first, last, timing = live.under_load(
            running, kafka, sends, rate, lambda share: show(f"steady load, {rate:,g} events/s", share)
        )
        behind = live.who_fell_behind(first, last, kafka.commit_interval_s, plan.settings.worker.tick_every_s)
        parts = [] if behind.deciding else _hops(system, timing, issues.read_to_end())
    pending = throughput.pending(system) - before
    steady = latency.summary(timing, rate, len(sends), pending, is_saturated=behind.deciding)
    return live.live_rate(first, last, steady, parts, _floor(system, plan, rate, show), behind)


def _hops(system: LocalSystem, timing: Timing, issues: Iterable[Any]) -> list[Hop]:
    """Return the parts of the latencies that were measured, between when an event was due and its coupon was read."""
    ways = hops.ways(system.connection, issues, live.trigger_of)
    return hops.summary(
        [
            (hops.DUE, (timing.due[name] + timing.epoch_s) * 1000.0),
            *ways[name],
            (hops.READ, (timing.came[name] + timing.epoch_s) * 1000.0),
        ]
        for name in timing.measured()
        if name in ways and name in timing.came
    )


def _floor(system: LocalSystem, plan: BenchPlan, rate: float, show: Show) -> Latency:
    """Send events at a rate through a plain topic, once the workers have nothing left to do."""
    kafka = system.settings.kafka
    system.wait_idle(throughput.STALLED_AFTER_S)
    count = max(int(rate * min(plan.seconds, FLOOR_WITHIN_S)), 1)
    sends = [
        msgspec.structs.replace(send, topic=target.FLOOR, waits_for=_event_of(send.value))
        for send in plan.workload.sends(0, count, kafka.partitions)
    ]
    client = Client(system.connection, target.FLOOR, kafka.partitions, _event_of)
    timing = client.measure(sends, rate, lambda share: show("the same without the engine", share))
    return latency.summary(timing, rate, len(sends))


def _event_of(event: bytes) -> str:
    return str(msgspec.json.decode(event)["event_id"])


def machine_now() -> Machine:
    """Return the machine and its load."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=processes.cpu_model(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        version=__version__,
        load_before=round(os.getloadavg()[0], 2),
    )


def _notes(plan: BenchPlan, machine: Machine, speed: Throughput, grown: Memory, rates: list[LiveRate]) -> list[str]:
    notes = []
    if machine.load_before > BUSY_LOAD * machine.cores:
        load = f"load {machine.load_before} on {machine.cores} cores"
        notes.append(f"the machine was busy before anything was started ({load}): figures are worse than they would be")
    if speed.events > plan.workload.events * (1.0 - throughput.WARM_UP_RATIO):
        notes.append("the backlog was gone too soon: the time contains the start of the workers; raise --events")
    if grown.shoppers < FEW_SHOPPERS:
        text = f"only {grown.shoppers} shoppers were new when memory was looked at: too few to say what each takes"
        notes.append(f"{text}; raise --events, and --shoppers to at least a fifth of it")
    for each in rates:
        if each.is_learner_behind:
            notes.append(f"{each.rate:,g} events/s: the learner fell behind, which no decision waits for")
        if max(each.latency.sent_late_p99_ms, each.floor.sent_late_p99_ms) > LATE_MS:
            late = f"{each.rate:,g} events/s: the publisher itself was behind its schedule"
            notes.append(f"{late}: the latencies contain that; lower the rate or free the machine")
    repeated = sum(each.latency.repeated for each in rates)
    if repeated:
        notes.append(f"{repeated} issues came twice: a worker was started anew or could not write meanwhile")
    return notes

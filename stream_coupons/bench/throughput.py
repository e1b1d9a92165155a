"""A backlog: how fast workers work it off, what it costs them, and how much memory each shopper takes.

The backlog is appended before the workers start, so that whoever publishes takes no CPU from them.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable

import msgspec
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from msgspec import Struct

from stream_coupons import admin, topics
from stream_coupons.bench import processes
from stream_coupons.bench.workload import Workload
from stream_coupons.clients import Reader
from stream_coupons.core.events import CartEvent
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.demo.system import LocalSystem, SystemFailed
from stream_coupons.demo.watch import total

WARM_UP_RATIO = 0.1
"""Of the events, at the beginning: they are worked off, but not counted."""
SAMPLE_EVERY_S = 0.25
STALLED_AFTER_S = 120.0
SOURCES = (topics.BROWSE.name, topics.CART.name, topics.ORDER.name)
COUNTED = ("records_total", "duplicates_total", "replays_total")

Show = Callable[[float], None]
"""Told the share that is done."""


class Backlog(Struct):
    """What was appended.

    Attributes
    ----------
    triggers : set of str
        Ids of the events that must lead to a coupon each.
    first_seen : list of int
        How many events had gone before each shopper's first, ascending.
    """

    events: int
    triggers: set[str]
    first_seen: list[int]

    def shoppers_within(self, events: int) -> int:
        """Shoppers among the first events."""
        return bisect_right(self.first_seen, events - 1)


class Sample(Struct, frozen=True, kw_only=True):
    """A system at one moment: source events applied, CPU seconds used, memory held."""

    at: float
    applied: int
    worker_cpu_s: float
    broker_cpu_s: float
    rss_bytes: int


class Throughput(Struct, frozen=True, kw_only=True):
    """How fast a backlog was worked off after the warm-up, and at what cost.

    The time runs until everything that the events led to is committed, which itself happens only every
    `kafka.commit_interval_s`.

    Attributes
    ----------
    broker_cpu_us_per_event : float or None
        None for a broker that somebody else runs.
    peak_rss_bytes : int
        Of all workers.
    pending : int
        Triggers that led to no coupon because an earlier proposal for the same shopper was still on its way: the engine
        allows one at a time. A backlog of few shoppers has many of those.
    missing : int
        Triggers that led to no coupon for no reason.
    """

    events: int
    seconds: float
    events_per_s: float
    worker_cpu_us_per_event: float
    broker_cpu_us_per_event: float | None
    peak_rss_bytes: int
    triggers: int
    pending: int
    missing: int


class Memory(Struct, frozen=True, kw_only=True):
    """By how much workers grew from the end of the warm-up to the end of the backlog, and shoppers who came in it."""

    shoppers: int
    growth_bytes: int
    bytes_per_shopper: float | None


def publish(system: LocalSystem, workload: Workload, show: Show) -> Backlog:
    """Append all events of a workload."""
    backlog = Backlog(0, set(), [])
    seen: set[str] = set()
    with system.publisher() as publisher:
        for number, (topic, event) in enumerate(workload.stream()):
            publisher.send(topic, event)
            if isinstance(event, CartEvent):
                backlog.triggers.add(event.event_id)
            if event.user_id not in seen:
                seen.add(event.user_id)
                backlog.first_seen.append(number)
            backlog.events += 1
            if number % 1000 == 0:
                show(number / workload.events)
    return backlog


def drain(system: LocalSystem, backlog: Backlog, broker_pid: int | None, show: Show) -> list[Sample]:
    """Watch workers that have just started until nothing is left to do.

    Raises
    ------
    SystemFailed
        If a worker ends, or nothing happens for two minutes.
    """
    samples: list[Sample] = []
    moved_at = time.monotonic()
    with admin.admin_client(system.bootstrap) as client:
        while True:
            # Asked before the sample, so that the sample is of a moment when all was done.
            left = _left(client, system)
            system.check()
            samples.append(_sample(system, broker_pid))
            if len(samples) < 2 or samples[-1].applied > samples[-2].applied:
                moved_at = time.monotonic()
            show(samples[-1].applied / backlog.events)
            if not left:
                return samples
            if time.monotonic() - moved_at > STALLED_AFTER_S:
                done = f"{samples[-1].applied} of {backlog.events}"
                raise SystemFailed(f"nothing happened for {STALLED_AFTER_S:.0f} s, {done} events were applied")
            time.sleep(SAMPLE_EVERY_S)


def _left(client: KafkaAdminClient, system: LocalSystem) -> int:
    """Records that are not committed; something where that is not known yet."""
    try:
        return sum(admin.lag(client, system.settings.kafka).values())
    except KafkaError as error:
        if not error.retriable:
            raise
        return 1


def _sample(system: LocalSystem, broker_pid: int | None) -> Sample:
    totals = system.totals()
    pids = [worker.process.pid for worker in system.workers]
    return Sample(
        at=time.monotonic(),
        applied=int(sum(total(totals, name, topic=source) for name in COUNTED for source in SOURCES)),
        worker_cpu_s=processes.cpu_s(pids),
        broker_cpu_s=0.0 if broker_pid is None else processes.cpu_s([broker_pid]),
        rss_bytes=processes.rss_bytes(pids),
    )


def warmed_up(samples: list[Sample], events: int) -> Sample:
    """The first sample after the warm-up; of a backlog that was gone too soon for that, the last before it began."""
    first = next(sample for sample in samples if sample.applied >= events * WARM_UP_RATIO)
    if first.applied <= events / 2:
        return first
    return max((sample for sample in samples if not sample.applied), key=lambda sample: sample.at, default=first)


def pending(system: LocalSystem) -> int:
    """Triggers until now that came while an earlier proposal for their shopper was on its way."""
    return int(total(system.totals(), "decisions_total", outcome=NoCoupon.PENDING))


def without_issue(system: LocalSystem, triggers: Iterable[str]) -> int:
    """Triggers that led to no issue."""
    left = set(triggers)
    with Reader(system.bootstrap, [topics.ISSUES.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            left.discard(msgspec.json.decode(record.value)["trigger_id"])
    return len(left)


def throughput(system: LocalSystem, samples: list[Sample], backlog: Backlog, *, has_broker: bool) -> Throughput:
    """What a system that has just worked off its backlog did, at what speed and cost."""
    first, last = warmed_up(samples, backlog.events), samples[-1]
    events = max(last.applied - first.applied, 1)
    seconds = last.at - first.at
    excused = pending(system)
    broker_us = (last.broker_cpu_s - first.broker_cpu_s) * 1e6 / events
    return Throughput(
        events=events,
        seconds=round(seconds, 2),
        events_per_s=round(events / max(seconds, 1e-3), 1),
        worker_cpu_us_per_event=round((last.worker_cpu_s - first.worker_cpu_s) * 1e6 / events, 1),
        broker_cpu_us_per_event=round(broker_us, 1) if has_broker else None,
        peak_rss_bytes=processes.peak_rss_bytes(worker.process.pid for worker in system.workers),
        triggers=len(backlog.triggers),
        pending=excused,
        missing=max(without_issue(system, backlog.triggers) - excused, 0),
    )


def memory(samples: list[Sample], backlog: Backlog) -> Memory:
    """What the samples say of memory."""
    first, last = warmed_up(samples, backlog.events), samples[-1]
    shoppers = backlog.shoppers_within(last.applied) - backlog.shoppers_within(first.applied)
    growth = last.rss_bytes - first.rss_bytes
    return Memory(
        shoppers=shoppers,
        growth_bytes=growth,
        bytes_per_shopper=round(growth / shoppers, 1) if shoppers and first.applied else None,
    )

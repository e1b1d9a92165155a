"""A backlog: how fast workers work it off, what it costs them, and how much memory each shopper takes.

The backlog is appended before the workers start, so that whoever publishes takes no CPU from them.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

import msgspec
from kafka import KafkaAdminClient
from msgspec import Struct, field

from benchmarks.background import in_background
from benchmarks.load import processes
from benchmarks.load.workload import Send
from stream_coupons.agents import clock
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import encode
from stream_coupons_lab.demo.system import LocalSystem, SystemFailed, lag_now
from stream_coupons_lab.demo.watch import PREFIX, by_label, total

WARM_UP_RATIO = 0.1
"""Share of the work, at the beginning, that is done but not counted."""
SAMPLE_EVERY_S = 0.25
STALLED_AFTER_S = 120.0
COUNTED = ("records_total", "duplicates_total", "replays_total")
"""Metrics whose sum is the number of records that agents are done with."""
BATCHES, BATCH_SECONDS = "batch_seconds_count", "batch_seconds_sum"
SCRAPED = tuple(PREFIX + name for name in (*COUNTED, BATCHES, BATCH_SECONDS))

Show = Callable[[float], None]
"""Told the share that is done."""


class Backlog(Struct):
    """Events that were appended.

    Attributes
    ----------
    triggers : set of str
        Ids of the events that must each lead to a coupon.
    shoppers : set of bytes
        Keys of these events: ids of shoppers.
    """

    events: int = 0
    triggers: set[str] = field(default_factory=set)
    shoppers: set[bytes] = field(default_factory=set)


class Mark(Struct, frozen=True, kw_only=True):
    """Counters of a system at one moment.

    Attributes
    ----------
    at : float
        Monotonic seconds.
    batches, batch_s : dict
        Batches and the seconds that they took, by agent.
    records : dict
        Records that agents are done with, by topic.
    lag : dict
        Records that are not committed, by topic.
    """

    at: float
    worker_cpu_s: float
    broker_cpu_s: float
    batches: dict[str, float]
    batch_s: dict[str, float]
    records: dict[str, float]
    lag: dict[str, int]

    @property
    def done(self) -> float:
        """Records that agents are done with, but for ticks."""
        return sum(self.records.values()) - self.records.get(topics.TICKS.name, 0.0)


class Throughput(Struct, frozen=True, kw_only=True):
    """Speed and cost of processing a backlog after the warm-up.

    The time runs until all results of the events are committed. A commit happens only every
    `kafka.commit_interval_s`.

    Attributes
    ----------
    broker_cpu_us_per_event : float or None
        None for a broker that somebody else runs.
    events : int
        Events of the backlog, without the warm-up.
    cores_used : float
        CPU seconds of all workers per second.
    batches_per_s, events_per_batch : float
        Batches of all agents; events of the shop over them.
    peak_rss_bytes : int
        Peak memory of all workers.
    triggers : int
        Triggers of this backlog and of the backlog for memory.
    pending : int
        Triggers without a coupon because an earlier decision for the same shopper was pending: the engine allows one
        at a time. A backlog of few shoppers has many of them.
    missing : int
        Triggers without a coupon for no reason.
    """

    events: int
    seconds: float
    events_per_s: float
    worker_cpu_us_per_event: float
    broker_cpu_us_per_event: float | None
    cores_used: float
    batches_per_s: float
    events_per_batch: float
    peak_rss_bytes: int
    triggers: int
    pending: int
    missing: int


class Memory(Struct, frozen=True, kw_only=True):
    """Growth of idle workers' memory by new shoppers."""

    shoppers: int
    growth_bytes: int
    bytes_per_shopper: float | None


class Running(Protocol):
    """A runtime that processes events."""

    def check(self) -> None:
        """Raise if a process of it has ended."""

    def mark(self) -> Mark:
        """Read the counters, the lag first: without any, they are of a moment when all was done."""


@dataclass(frozen=True, slots=True)
class OwnSystem:
    """Workers of ours, whose metrics tell the batches and the records that they are done with."""

    system: LocalSystem
    client: KafkaAdminClient
    broker_pid: int | None

    def check(self) -> None:
        """Raise if a worker has ended."""
        self.system.check()

    def mark(self) -> Mark:
        """Read the counters, the lag first."""
        lag = lag_now(self.client, self.system.settings)
        at = time.monotonic()
        worker_cpu_s = processes.cpu_s(worker.process.pid for worker in self.system.workers)
        broker_cpu_s = 0.0 if self.broker_pid is None else processes.cpu_s([self.broker_pid])
        totals = self.system.totals(*SCRAPED)
        records: dict[str, float] = {}
        for name in COUNTED:
            for topic, count in by_label(totals, name, "topic").items():
                records[topic] = records.get(topic, 0.0) + count
        return Mark(
            at=at,
            worker_cpu_s=worker_cpu_s,
            broker_cpu_s=broker_cpu_s,
            batches=by_label(totals, BATCHES, "agent"),
            batch_s=by_label(totals, BATCH_SECONDS, "agent"),
            records=records,
            lag={topic: count for topic, count in lag.items() if count},
        )


def publish(publisher: Publisher, sends: Iterable[Send], count: int, show: Show) -> Backlog:
    """Append events."""
    backlog = Backlog()
    for send in sends:
        publisher.send_bytes(topics.BY_NAME[send.topic], send.key, send.value, send.partition)
        if send.waits_for:
            backlog.triggers.add(send.waits_for)
        backlog.shoppers.add(send.key)
        backlog.events += 1
        if backlog.events % 1000 == 0:
            show(backlog.events / count)
    publisher.flush()
    return backlog


def drain(running: Running, show: Show, settled_s: float = 0.0) -> list[Mark]:
    """Watch a runtime until nothing is left to do, and return the marks up to that moment.

    Parameters
    ----------
    settled_s : float
        Seconds for which nothing must be left: records in the buffers of a runtime raise its lag again.

    Raises
    ------
    SystemFailed
        If nothing happens for two minutes.
    """
    samples: list[Mark] = []
    until, moved_at = 0, time.monotonic()
    while True:
        running.check()
        samples.append(now := running.mark())
        left = sum(now.lag.values())
        if len(samples) < 2 or now.done > samples[-2].done:
            moved_at = now.at
        until = 0 if left else until or len(samples)
        if until and now.at - samples[until - 1].at >= settled_s:
            return samples[:until]
        show(now.done / max(now.done + left, 1.0))
        if now.at - moved_at > STALLED_AFTER_S:
            raise SystemFailed(f"nothing happened for {STALLED_AFTER_S:.0f} s; {left} records are not committed")
        time.sleep(SAMPLE_EVERY_S)


def ticking(system: LocalSystem, every_s: float) -> AbstractContextManager[object]:
    """Tell the workers that it is now, again and again, as their own clock would; never with 0.

    The events lie in the past, where coupons would be over before they are given if workers went by the broker's clock.
    So that is off, and each tick closes the windows of all that was given before it.
    """
    if not every_s:
        return nullcontext()

    def tick(is_over: threading.Event) -> None:
        turns = clock.turns(system.settings.kafka.partitions)
        with suppress(StreamCouponsError), system.publisher() as publisher:  # without a broker there is nothing to tell
            for turn in cycle(turns):
                if is_over.wait(every_s / len(turns)):
                    return
                for partition in turn:
                    said = encode(Tick(at=time.time()))
                    publisher.send_bytes(topics.TICKS, str(partition).encode(), said, partition)
                publisher.flush()

    return in_background(tick, "ticks")


def settle(system: LocalSystem, tick_every_s: float, show: Show) -> int:
    """Let the windows of the backlog's coupons close and be learnt from; the memory that workers hold then.

    The next tick closes them all at once. What follows must not burden whoever is measured next.
    """
    began = time.monotonic()
    while tick_every_s and (passed := time.monotonic() - began) < tick_every_s + 1.0:
        show(passed / (tick_every_s + 1.0))
        time.sleep(SAMPLE_EVERY_S)
    system.wait_idle(STALLED_AFTER_S)
    return processes.rss_bytes(worker.process.pid for worker in system.workers)


def warmed_up(samples: list[Mark]) -> Mark:
    """The first sample after the warm-up; of a backlog that was gone too soon for that, the last before it began."""
    records = samples[-1].done
    first = next(sample for sample in samples if sample.done >= records * WARM_UP_RATIO)
    if first.done <= records / 2:
        return first
    return max((sample for sample in samples if not sample.done), key=lambda sample: sample.at, default=first)


def pending(system: LocalSystem) -> int:
    """Triggers until now that came while an earlier decision for their shopper was on its way."""
    return int(total(system.totals(), "decisions_total", outcome=NoCoupon.SOLD_OUT))


def without_issue(system: LocalSystem, triggers: Iterable[str]) -> int:
    """Triggers that led to no issue."""
    left = set(triggers)
    with Reader(system.connection, [topics.ISSUES.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            left.discard(msgspec.json.decode(record.value)["trigger_id"])
    return len(left)


def throughput(system: LocalSystem, samples: list[Mark], events: int, triggers: set[str]) -> Throughput:
    """Return the speed and cost of workers that have processed a backlog.

    Records that events cause are applied after them. So the events after the warm-up are not counted: they are the
    share of all records after it, times the events.
    """
    first, last = warmed_up(samples), samples[-1]
    counted = max(events * (1.0 - first.done / max(last.done, 1)), 1.0)
    seconds = last.at - first.at
    worker_cpu_s = last.worker_cpu_s - first.worker_cpu_s
    batches = sum(last.batches.values()) - sum(first.batches.values())
    broker_us = (last.broker_cpu_s - first.broker_cpu_s) * 1e6 / counted
    excused = pending(system)
    return Throughput(
        events=round(counted),
        seconds=round(seconds, 2),
        events_per_s=round(counted / max(seconds, 1e-3), 1),
        worker_cpu_us_per_event=round(worker_cpu_s * 1e6 / counted, 1),
        broker_cpu_us_per_event=round(broker_us, 1) if last.broker_cpu_s else None,
        cores_used=round(worker_cpu_s / max(seconds, 1e-3), 3),
        batches_per_s=round(batches / max(seconds, 1e-3), 1),
        events_per_batch=round(counted / max(batches, 1), 1),
        peak_rss_bytes=processes.peak_rss_bytes(worker.process.pid for worker in system.workers),
        triggers=len(triggers),
        pending=excused,
        missing=max(without_issue(system, triggers) - excused, 0),
    )


def memory(shoppers: int, before_bytes: int, after_bytes: int) -> Memory:
    """Growth by new shoppers."""
    growth = after_bytes - before_bytes
    per_shopper = round(growth / shoppers, 1) if shoppers else None
    return Memory(shoppers=shoppers, growth_bytes=growth, bytes_per_shopper=per_shopper)

"""The cost of a live event: what workers spend at a steady rate, and whether they keep up with it.

A batch costs some fixed time whatever is in it. At a low rate there are few events in each, so an event costs several
times what one of a backlog does.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from benchmarks.load.hops import Hop
from benchmarks.load.latency import Client, Latency, Timing
from benchmarks.load.throughput import Mark, Running, Show
from benchmarks.load.workload import Send
from stream_coupons.kafka import topics
from stream_coupons.kafka.settings import KafkaSettings

GRACE_S = 1.0
"""Seconds of records by which lag may differ between two moments, besides the effect of commits and bursts."""
LEARNING = frozenset(topic.name for topic in topics.READ_BY_AGENTS if "learner" in topic.read_by)
"""Topics that no decision waits for. Labels come in bursts, one a tick."""
DECIDING = frozenset(topic.name for topic in topics.READ_BY_AGENTS) - LEARNING


class AgentBatches(Struct, frozen=True, kw_only=True):
    """The batches of one agent: how many a second, records in each, and milliseconds from taking to acknowledging."""

    batches_per_s: float
    records_per_batch: float
    mean_ms: float


class LiveRate(Struct, frozen=True, kw_only=True):
    """CPU, batches, lag and latency of one steady rate.

    Attributes
    ----------
    rate : float
        Events a second that were sent.
    events, seconds : int, float
        Events that the workers were done with after the warm-up, and the time until the last was sent.
    is_saturated : bool
        True if the deciding agents fell behind. Then there is no latency.
    is_learner_behind : bool
        True if the learner fell behind, which no decision waits for.
    worker_cpu_us_per_event, worker_cpu_us_per_batch : float
        CPU time of all workers, user and system, over events of the shop or over batches.
    batches_per_s : float
        Batches of all agents together; the learner has none.
    broker_cpu_us_per_event : float or None
        None for a broker that somebody else runs.
    cores_used : float
        CPU seconds of all workers in a second.
    events_per_batch : float
        Events of the shop over batches: below 1 where one event leads to several batches.
    agents : dict
        The batches of each agent.
    lag_before, lag_after : dict
        Records that were not committed after the warm-up and when the last event had been sent, by topic.
    hops : list of Hop
        The parts of the latency; empty where the rate is saturated.
    floor : Latency
        Latency of a plain topic at the same rate: broker and client without the engine.
    """

    rate: float
    events: int
    seconds: float
    is_saturated: bool
    is_learner_behind: bool
    worker_cpu_us_per_event: float
    worker_cpu_us_per_batch: float
    broker_cpu_us_per_event: float | None
    cores_used: float
    batches_per_s: float
    events_per_batch: float
    agents: dict[str, AgentBatches]
    lag_before: dict[str, int]
    lag_after: dict[str, int]
    latency: Latency
    hops: list[Hop]
    floor: Latency


def under_load(
    running: Running, kafka: KafkaSettings, sends: Sequence[Send], rate: float, show: Show
) -> tuple[Mark, Mark, Timing]:
    """Send events at a rate to a runtime; return its counters after the warm-up and at the end, and the coupons' times.

    Raises
    ------
    NotAppended
    """
    marks: list[Mark] = []
    client = Client(kafka, topics.ISSUES.name, kafka.partitions, trigger_of)
    timing = client.measure(sends, rate, show, lambda: marks.append(running.mark()))
    running.check()
    first, last = marks
    return first, last, timing


def trigger_of(issue: bytes) -> str:
    """Return the id of the event that led to a coupon."""
    return str(msgspec.json.decode(issue)["trigger_id"])


def fell_behind(first: Mark, last: Mark, names: Collection[str], usual_s: float) -> bool:
    """Return whether the lag of some topics grew between two moments by more than it varies anyway.

    Parameters
    ----------
    names : collection of str
        Topics.
    usual_s : float
        The time between two commits, which lag is counted from, or between two bursts of records. So even of workers
        that keep up, lag differs by all that comes in such a time.
    """
    seconds = max(last.at - first.at, 1e-3)

    lag = sum(last.lag.get(name, 0) - first.lag.get(name, 0) for name in names)
    done = sum(last.records.get(name, 0.0) - first.records.get(name, 0.0) for name in names)
    return lag > (done + max(lag, 0)) / seconds * (usual_s + GRACE_S)


class Behind(NamedTuple):
    """Flags that the deciding agents, and the learner, fell behind under a load."""

    deciding: bool
    learning: bool


def who_fell_behind(first: Mark, last: Mark, commit_interval_s: float, tick_every_s: float) -> Behind:
    """Return whether the agents that decide, and whether the learner fell behind between two moments."""
    return Behind(
        fell_behind(first, last, DECIDING, commit_interval_s),
        fell_behind(first, last, LEARNING, commit_interval_s + tick_every_s),
    )


def live_rate(first: Mark, last: Mark, latency: Latency, hops: list[Hop], floor: Latency, behind: Behind) -> LiveRate:
    """Return what happened between two moments of a steady load."""
    seconds = max(last.at - first.at, 1e-3)
    done = {topic: count - first.records.get(topic, 0.0) for topic, count in last.records.items()}
    events = max(sum(done.get(topic.name, 0.0) for topic in topics.INPUTS), 1.0)
    agents = {}
    for agent, count in last.batches.items():
        batches = count - first.batches.get(agent, 0.0)
        if batches:
            read = sum(done.get(topic.name, 0.0) for topic in topics.READ_BY_AGENTS if agent in topic.read_by)
            took_s = last.batch_s.get(agent, 0.0) - first.batch_s.get(agent, 0.0)
            agents[agent] = AgentBatches(
                batches_per_s=round(batches / seconds, 1),
                records_per_batch=round(read / batches, 2),
                mean_ms=round(took_s / batches * 1000.0, 2),
            )
    batches = max(sum(last.batches.values()) - sum(first.batches.values()), 1.0)
    cpu_s = last.worker_cpu_s - first.worker_cpu_s
    broker_us = (last.broker_cpu_s - first.broker_cpu_s) * 1e6 / events
    return LiveRate(
        rate=latency.rate,
        events=round(events),
        seconds=round(seconds, 2),
        is_saturated=behind.deciding,
        is_learner_behind=behind.learning,
        worker_cpu_us_per_event=round(cpu_s * 1e6 / events, 1),
        worker_cpu_us_per_batch=round(cpu_s * 1e6 / batches, 1),
        broker_cpu_us_per_event=round(broker_us, 1) if last.broker_cpu_s else None,
        cores_used=round(cpu_s / seconds, 3),
        batches_per_s=round(batches / seconds, 1),
        events_per_batch=round(events / batches, 2),
        agents=agents,
        lag_before=first.lag,
        lag_after=last.lag,
        latency=latency,
        hops=hops,
        floor=floor,
    )

"""How the cost of the steps grows with shoppers, coupons and partitions: in process, without a broker.

`python -m benchmarks.growth`. Drives the batches of users, budgets and neighbours over the workload of
`stream_coupons.lab.bench`; what an agent sends goes to the agent that reads it, as through Kafka. Every point runs in a
process of its own, so that none finds the memory of another. Prints tables in Markdown and all of it as JSON, and for
every curve its exponent: cost ~ x^exponent, by least squares over the logarithms. 0 is constant, 1 is linear.

Every shopper comes for twelve events, whatever the size: ten fill the states, the last two are timed. So states differ
in number between points, not in size. A thousand shoppers are there at a time at every point: a batch meets each about
twice. RSS is what the process grew by: cells as bytes and all that is derived from them or remembered besides. Clients,
Faust, broker, delivery and learning are left out: `stream-coupons bench` measures those.
"""

import argparse
import gc
import json
import math
import multiprocessing
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import Progress

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Output, Record
from stream_coupons.lab.bench import processes
from stream_coupons.lab.bench.workload import Workload
from stream_coupons.models.linear import prior
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import NewStore, Stores
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.settings import Settings, Store, WorkerSettings
from stream_coupons.worker.app import open_stores

NO_CLOCK_MS = int(END_OF_TIME * 1000)
"""Time of arrival of every record: nothing is from the future."""
FILLING, TIMED = 10, 2
"""Events for each shopper."""

CURVES = {
    "shoppers": ("cpu_us_per_event", "rss_bytes", "cell_bytes"),
    "coupons": ("cpu_us_per_event", "rss_bytes", "cell_bytes"),
    "partitions": ("cpu_us_per_event", "rss_bytes", "cell_bytes"),
}
"""What is fitted over what."""


class Point(Struct, frozen=True, kw_only=True):
    """One size to measure at; `curve` names the size that differs from the others of its curve."""

    curve: str
    shoppers: int
    coupons: int
    partitions: int
    chunk: int
    store: Store

    @property
    def events(self) -> int:
        """Of all shoppers."""
        return self.shoppers * (FILLING + TIMED)


class Owner:
    """An agent and its batches; it owns every partition."""

    def __init__(self, agent: KeyedAgent[Any], partitions: int, new_store: NewStore) -> None:
        self.topics = agent.topics
        self.name = agent.name
        # As with exactly_once: nothing is delivered twice here, so nothing is kept to be sent again.
        self.batches: BatchProcessor[Any] = BatchProcessor(
            agent, topics.TICKS.name, topics.partition_for, partitions, keeps_outputs=False
        )
        for partition in range(partitions):
            self.batches.adopt(partition, new_store(partition))


class System:
    """The agents over logs in memory; a batch for each agent and partition, as workers have them."""

    def __init__(self, workload: Workload, partitions: int, stores: Stores) -> None:
        rules = workload.settings(Settings()).rules(PUBLIC_KEY)
        catalogue = Catalogue(workload.catalogue(), rules.policy.typical_price_minor)
        known = Knowledge(rules, catalogue, {}, prior())
        agents = [agent(lambda: known, partitions) for agent in (Users, Budgets, Neighbours)]
        self.owners = [Owner(agent, partitions, stores.of(agent.name)) for agent in agents]
        self._partitions = partitions
        self._readers = {topic: owner for owner in self.owners for topic in owner.topics}
        self._ends: Counter[tuple[str, int]] = Counter()
        self._waiting: defaultdict[str, defaultdict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        self.records: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    def append(self, output: Output) -> None:
        """Append a record to its topic."""
        place = (output.topic, output.partition)
        owner = self._readers.get(output.topic)
        self.sent[output.topic] += 1
        if owner is not None:
            record = Record(*place, self._ends[place], NO_CLOCK_MS, output.key, output.value, tuple(output.headers))
            self._waiting[owner.name][output.partition].append(record)
        self._ends[place] += 1

    def round(self) -> bool:
        """Let every agent apply what waits for it; whether there was anything."""
        worked = False
        for owner in self.owners:
            waiting = self._waiting.pop(owner.name, {})
            worked = worked or bool(waiting)
            committed = {
                partition: {topic: self._ends[topic, partition] for topic in owner.topics} for partition in waiting
            }
            began = time.process_time()
            results = owner.batches.apply_all(
                {partition: (records, committed[partition]) for partition, records in waiting.items()}
            )
            for result in results:
                owner.batches.save(result)
            self.cpu_s[owner.name] += time.process_time() - began
            self.records[owner.name] += sum(map(len, waiting.values()))
            for result in results:
                for output in result.outputs:
                    self.append(output)
        return worked

    def cells(self) -> dict[str, tuple[int, int]]:
        """(how many, bytes) of the cells of every agent, without what a partition's keys share."""
        found = {}
        for owner in self.owners:
            sizes = [
                len(key) + len(data)
                for partition in owner.batches.owned
                for key, data in owner.batches.cells(partition).items()
                if not key.startswith(SHARED_PREFIX)
            ]
            found[owner.name] = (len(sizes), sum(sizes))
        return found


def events(workload: Workload, partitions: int) -> Iterator[Output]:
    """The workload as records; making them is not timed."""
    for topic, event in workload.stream():
        key = topic.key_of(event)
        yield Output(topic.name, topics.partition_for(key, partitions), key, encode(event))


def measure(point: Point, on_done: Callable[[int], None]) -> dict[str, Any]:
    """One point; `on_done` is told how many events are done."""
    workload = Workload(events=point.events, shoppers=point.shoppers, coupons=point.coupons)
    with closing(open_stores(WorkerSettings(store=point.store))) as stores:
        return _measured(point, workload, System(workload, point.partitions, stores), on_done)


def _measured(point: Point, workload: Workload, system: System, on_done: Callable[[int], None]) -> dict[str, Any]:
    gc.collect()
    rss_before = processes.rss_bytes([os.getpid()])
    stream = events(workload, point.partitions)
    _drive(system, islice(stream, point.shoppers * FILLING), point.chunk, on_done)
    cpu_before, triggers_before = dict(system.cpu_s), system.sent[topics.CART.name]
    timed = point.shoppers * TIMED
    _drive(system, stream, point.chunk, on_done)
    gc.collect()
    grown = processes.rss_bytes([os.getpid()]) - rss_before
    cpu_us = {name: (cpu_s - cpu_before[name]) * 1e6 / timed for name, cpu_s in system.cpu_s.items()}
    triggers = system.sent[topics.CART.name] - triggers_before
    cells = system.cells()
    cell_bytes = sum(size for _, size in cells.values())
    return {
        **msgspec.structs.asdict(point),
        "events": point.events,
        "timed_events": timed,
        "triggers": system.sent[topics.CART.name],
        "issues": system.sent[topics.ISSUES.name],
        "dead_letters": system.sent[topics.DEAD_LETTERS.name],
        "cpu_us_per_event": round(sum(cpu_us.values()), 2),
        "cpu_us_per_trigger": round(sum(cpu_us.values()) * timed / max(triggers, 1), 1),
        "cpu_us_per_event_by_agent": {name: round(value, 2) for name, value in cpu_us.items()},
        "rss_bytes": grown,
        "rss_bytes_per_shopper": round(grown / point.shoppers, 1),
        "cell_bytes": cell_bytes,
        "cell_bytes_per_shopper": round(cell_bytes / point.shoppers, 1),
        "cells": {name: count for name, (count, _) in cells.items()},
    }


def _drive(system: System, stream: Iterator[Output], chunk: int, on_done: Callable[[int], None]) -> None:
    """Events in chunks until everything has come to rest."""
    while some := list(islice(stream, chunk)):
        for output in some:
            system.append(output)
        system.round()
        on_done(len(some))
    while system.round():
        pass


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope of the line through the logarithms that has the least squared error; None if there is no such line."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return float(above / sum((x - mean_x) ** 2 for x, _ in logs))


def plan(scale: float, chunk: int, store: Store, *, large: bool) -> list[Point]:
    """All points, curve by curve."""

    def point(curve: str, shoppers: int = 10_000, coupons: int = 200, partitions: int = 4) -> Point:
        shoppers = max(int(shoppers * scale), 10)
        return Point(curve=curve, shoppers=shoppers, coupons=coupons, partitions=partitions, chunk=chunk, store=store)

    return [
        *(point("shoppers", shoppers=count) for count in (10_000, 30_000, 100_000)),
        *(point("shoppers", shoppers=count) for count in (300_000, 1_000_000) if large),
        *(point("coupons", coupons=count) for count in (50, 200, 1000, 5000)),
        *(point("partitions", partitions=count) for count in (1, 2, 4, 8, 16)),
    ]


def in_child(point: Point, on_done: Callable[[int], None]) -> dict[str, Any]:
    """Measure a point in a new process."""
    spawn = multiprocessing.get_context("spawn")
    reads, writes = spawn.Pipe(duplex=False)
    child = spawn.Process(target=_report, args=(point, writes), daemon=True)
    child.start()
    writes.close()
    try:
        while isinstance(told := reads.recv(), int):
            on_done(told)
    except EOFError:
        child.join()
        raise SystemExit(f"the process that measured {point} ended with exit code {child.exitcode}") from None
    child.join()
    return dict(told)


def _report(point: Point, writes: Connection) -> None:
    writes.send(measure(point, writes.send))


def exponents(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The fitted exponents, by curve and figure."""
    fitted: dict[str, dict[str, float | None]] = {}
    for curve, figures in CURVES.items():
        rows = [row for row in found if row["curve"] == curve]
        for figure in figures:
            value = exponent([(row[curve], row[figure]) for row in rows])
            fitted.setdefault(curve, {})[figure] = None if value is None else round(value, 3)
    return fitted


def bytes_per_new_shopper(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Between the smallest and the largest number of shoppers, where what is always needed cancels out."""
    rows = sorted((row for row in found if row["curve"] == "shoppers"), key=lambda row: int(row["shoppers"]))
    if not rows or rows[0]["shoppers"] == rows[-1]["shoppers"]:
        return {}
    more = rows[-1]["shoppers"] - rows[0]["shoppers"]
    return {name: round((rows[-1][name] - rows[0][name]) / more, 1) for name in ("rss_bytes", "cell_bytes")}


def markdown(found: Sequence[Mapping[str, Any]], fitted: Mapping[str, Mapping[str, float | None]]) -> str:
    """The same as tables."""
    lines = []
    for curve, figures in CURVES.items():
        rows = [row for row in found if row["curve"] == curve]
        if not rows:
            continue
        head = [curve, "CPU us/event", "users", "budgets", "neighbours", "RSS bytes/shopper", "cell bytes/shopper"]
        lines += [f"| {' | '.join(head)} |", "|" + "---:|" * len(head)]
        for row in rows:
            agents = row["cpu_us_per_event_by_agent"]
            cells = (
                f"{row[curve]:,}",
                f"{row['cpu_us_per_event']:,.1f}",
                *(f"{agents[name]:,.1f}" for name in ("users", "budgets", "neighbours")),
                f"{row['rss_bytes_per_shopper']:,.0f}",
                f"{row['cell_bytes_per_shopper']:,.0f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
        said = ", ".join(f"{figure} ~ {curve}^{fitted[curve][figure]}" for figure in figures)
        lines += ["", f"Fitted: {said}.", ""]
    for name, each in bytes_per_new_shopper(found).items():
        lines.append(f"{name} for each more shopper: {each:,.0f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="up to a million shoppers: several GiB, about an hour")
    parser.add_argument("--curve", choices=sorted(CURVES), action="append", help="only this one; may be repeated")
    parser.add_argument("--chunk", type=int, default=2000, help="events that are appended at a time")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of shoppers: below 1 to try it out")
    parser.add_argument("--store", type=Store, choices=list(Store), default=Store.MEMORY, help="worker.store")
    options = parser.parse_args()
    points = plan(options.scale, options.chunk, options.store, large=options.large)
    points = [point for point in points if not options.curve or point.curve in options.curve]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("growth", total=sum(point.events for point in points))
        found = []
        for point in points:
            size = getattr(point, point.curve)
            progress.update(task, description=f"{size:,} {point.curve}")
            found.append(in_child(point, lambda count: progress.advance(task, count)))
    fitted = exponents(found)
    print(markdown(found, fitted))
    more = bytes_per_new_shopper(found)
    print(json.dumps({"options": vars(options), "exponents": fitted, "bytes_per_new_shopper": more, "points": found}))
    if any(row["dead_letters"] for row in found):
        raise SystemExit("some events were refused: the figures are not those of the workload")


if __name__ == "__main__":
    main()

"""A system of processes, played against in lock step.

A consumer group's committed offset never passes a record whose effects are not appended. So the system is at rest when
every topic's committed offset, read first, equals its end, read afterwards: nothing is under way between two topics.
"""

import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons_lab.demo.phases import Phase
from stream_coupons_lab.demo.system import LocalSystem, SystemFailed, lag_now

FIRST_PAUSE_S, MAX_PAUSE_S = 0.01, 0.03
"""Between two looks at the offsets, longer from look to look: one costs driver and broker some two milliseconds."""
SHOW_EVERY_S = 0.1
STALLED_AFTER_S = 120.0
ASK_AGAIN_S = 1.0
LINGER_MS = 60_000
"""A phase is sent as one batch, when it is flushed and not before."""
LEARNT_FROM = frozenset({topics.EXAMPLES.name})
"""Acknowledged only by a snapshot that covers them."""
DECIDED_FROM = frozenset(topic.name for topic in topics.READ_BY_AGENTS) - LEARNT_FROM
VERSION = "stream_coupons_model_version"


class _Snapshot(Struct):
    """Fields of a snapshot that identify it."""

    domain: str
    version: int


class LiveTarget:
    """Workers and a broker; use it as a context manager.

    Parameters
    ----------
    on_wait : callable
        Called again and again while the system works.
    """

    def __init__(self, system: LocalSystem, on_wait: Callable[[], None] = lambda: None) -> None:
        self.partitions = system.settings.kafka.partitions
        self._system = system
        self._on_wait = on_wait
        self._publisher = system.publisher(LINGER_MS)
        self._admin = admin.admin_client(system.connection)
        self._client = self._admin.__enter__()
        self._issues = Reader(system.connection, [topics.ISSUES.name], from_beginning=True)
        self._snapshots = Reader(system.connection, [topics.SNAPSHOTS.name], from_beginning=True)
        self._decode = Decoder(topics.ISSUES)
        self._seen: set[str] = set()
        self._versions: dict[str, int] = {}
        self._next_pause_s = FIRST_PAUSE_S
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return  # an interrupted client may not be closed, and what it was connected to ends
        self._issues.close()
        self._snapshots.close()
        self._admin.__exit__(kind, error, trace)
        self._publisher.__exit__(kind, error, trace)

    def apply(self, phase: Phase) -> None:
        """Send a phase as one batch, and wait until all that it led to is done.

        Raises
        ------
        SystemFailed
            If a worker ends, or nothing moves for long.
        """
        for message in phase.messages:
            self._publisher.send(topics.BY_NAME[phase.topic], message)
        self._publisher.flush()
        self._wait(DECIDED_FROM)

    def tick(self, at: float, partition: int) -> None:
        """Let time pass in a partition, and wait until all that it led to is done."""
        self._publisher.send_bytes(topics.TICKS, str(partition).encode(), encode(Tick(at=at)), partition)
        self._publisher.flush()
        self._wait(DECIDED_FROM)

    def learn(self) -> None:
        """Wait until a model that covers all examples is in use in every worker."""
        if self._lag(LEARNT_FROM):
            self._wait(LEARNT_FROM, ask=self._system.publish_models)
        for record in self._snapshots.read_to_end():
            if record.value is not None:
                snapshot = msgspec.json.decode(record.value, type=_Snapshot)
                self._versions[snapshot.domain] = snapshot.version
        self._next_pause_s = FIRST_PAUSE_S
        deadline = time.monotonic() + STALLED_AFTER_S
        while not self._is_served():
            self._pause(deadline, "the latest model is not in use in every worker")

    def issues(self) -> list[CouponIssue]:
        """Return the issues since the last call, each once."""
        found = []
        for record in self._issues.read_to_end():
            issue: CouponIssue = self._decode(record.value)
            if issue.issue_id not in self._seen:
                self._seen.add(issue.issue_id)
                found.append(issue)
        return found

    def _is_served(self) -> bool:
        return all(
            worker.scrape(VERSION).get((VERSION, (("domain", domain),)), -1.0) >= version
            for worker in self._system.workers
            if worker.is_ready and not worker.is_killed
            for domain, version in self._versions.items()
        )

    def _lag(self, names: Collection[str]) -> dict[str, int]:
        return {name: count for name, count in lag_now(self._client, self._system.settings).items() if name in names}

    def _wait(self, names: Collection[str], ask: Callable[[], None] | None = None) -> None:
        self._next_pause_s = FIRST_PAUSE_S
        deadline, asked_at = time.monotonic() + STALLED_AFTER_S, -ASK_AGAIN_S
        before: dict[str, int] = {}
        while lag := self._lag(names):
            if ask is not None and time.monotonic() >= asked_at + ASK_AGAIN_S:
                ask()
                asked_at = time.monotonic()
            if lag != before:
                before, deadline = lag, time.monotonic() + STALLED_AFTER_S
            self._pause(deadline, f"records wait, and none is applied: {lag}")

    def _pause(self, deadline: float, what: str) -> None:
        self._system.check()
        if time.monotonic() > deadline:
            raise SystemFailed(f"{what}, for {STALLED_AFTER_S:.0f} s")
        now = time.monotonic()
        if now >= self._shown_at + SHOW_EVERY_S:
            self._shown_at = now
            self._on_wait()
        time.sleep(self._next_pause_s)
        self._next_pause_s = min(1.5 * self._next_pause_s, MAX_PAUSE_S)

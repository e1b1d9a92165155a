"""The closed loop: events and ticks go out, coupons come in, shoppers answer."""

import json
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter, defaultdict
from typing import Any, NamedTuple

import pytest
from msgspec import Struct

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, Tick
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.topics import Topic
from stream_coupons.testing import issue
from stream_coupons_lab.demo.shoppers import ClosedLoop
from stream_coupons_lab.simulation.shoppers import World, WorldSettings

from .conftest import DEADLINE_S, Run, records

SPEED = 8640.0


class Fake(NamedTuple):
    topic: str
    value: bytes


class Shop:
    """A system that gives every tenth browse a coupon; every poll takes a tenth of a second."""

    def __init__(self, coupons: list[Coupon]) -> None:
        self.now = 0.0
        self.sent: Counter[str] = Counter()
        self.ticks: defaultdict[int, list[float]] = defaultdict(list)
        self.tick_lags: list[float] = []
        self.inbox: list[Fake] = []
        self.at = 0.0
        self.flushed = True
        self._coupons = coupons

    def clock(self) -> float:
        return self.now

    def send(self, topic: Topic, message: Struct) -> None:
        self.sent[topic.name] += 1
        self.flushed = False
        if isinstance(message, BrowseEvent):
            self.at = message.occurred_at
            if self.sent[topic.name] % 10 == 0:
                self.inbox.append(Fake(topics.ISSUES.name, encode(self._issue(message))))

    def send_bytes(self, topic: Topic, key: bytes | None, value: bytes | None, partition: int | None = None) -> None:
        assert topic is topics.TICKS
        assert partition is not None
        assert key == str(partition).encode()
        at = json.loads(value or b"")["at"]
        self.ticks[partition].append(at)
        self.inbox.append(Fake(topics.TICKS.name, value or b""))

    def flush(self) -> None:
        self.flushed = True

    def poll(self, timeout_s: float = 0.1) -> list[Any]:  # noqa: ARG002 - the reader's signature
        assert self.flushed
        self.now += 0.1
        found, self.inbox = self.inbox, []
        return found

    def _issue(self, event: BrowseEvent) -> CouponIssue:
        terms = self._coupons[self.sent["browse-events"] % len(self._coupons)]
        return issue(event.user_id, terms, at=event.occurred_at, trigger_id=event.event_id)


def loop_of(days: int = 2) -> tuple[ClosedLoop, Shop, World]:
    world = World(WorldSettings(seed=3, shoppers=30, days=days))
    shop = Shop(world.catalogue())
    return ClosedLoop(world, shop, shop, 4, SPEED, shop.clock), shop, world


def test_coupons_reach_shoppers_and_their_answers_go_out() -> None:
    loop, shop, world = loop_of()
    loop.publish_catalogue()
    assert shop.sent == {"coupon-catalog": 40}
    assert list(loop.steps())[-1] == world.ends_at
    assert shop.sent["coupon-feedback"] == loop.events["coupon-feedback"] > 0
    assert world.statistics.issues == shop.sent["browse-events"] // 10


def test_a_day_takes_ten_seconds() -> None:
    loop, shop, world = loop_of(days=3)
    began_at = world.now
    for now in loop.steps():
        # A step is simulated after the time it is planned at, and the poll comes behind it.
        assert now - began_at <= shop.now * SPEED
        if now == world.ends_at:
            break
    assert 30.0 <= shop.now < 31.0


def test_every_partition_hears_the_same_ticks_and_the_last_is_the_end() -> None:
    loop, shop, world = loop_of()
    began_at = world.now
    for _ in loop.steps():
        assert not shop.ticks or shop.ticks[0][-1] - began_at <= max(0.0, shop.now - 2.0) * SPEED
    assert set(shop.ticks) == {0, 1, 2, 3}
    assert shop.ticks[0] == shop.ticks[1] == shop.ticks[2] == shop.ticks[3]
    assert shop.ticks[0] == sorted(set(shop.ticks[0]))
    assert shop.ticks[0][-1] == world.ends_at
    assert loop.ticks == 4 * len(shop.ticks[0])


def test_ticks_of_others_and_unreadable_records_are_noticed() -> None:
    loop, shop, world = loop_of()
    shop.inbox += [
        Fake(topics.TICKS.name, encode(Tick(at=world.ends_at))),
        Fake(topics.ISSUES.name, b"nonsense"),
    ]
    loop.hear()
    assert (loop.foreign_tick_at, loop.unreadable) == (None, 1)
    shop.inbox.append(Fake(topics.TICKS.name, encode(Tick(at=4e9))))
    loop.hear()
    assert loop.foreign_tick_at == 4e9


@pytest.mark.kafka
def test_a_running_system_gets_catalogue_events_and_ticks(run: Run, bootstrap: str) -> None:
    seed = 987
    args = ("--shoppers", 5, "--days", 1, "--coupons", 3, "--seed", seed, "--speed", 1e9, "--json", "-b", bootstrap)
    result = run("simulate", *args)
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["seed"], report["simulated_days"], report["coupons_published"]) == (seed, 1.0, 3)
    found = [record for name in report["events"] for record in records(bootstrap, name, f"simulated-{seed}-")]
    assert len(found) == sum(report["events"].values()) > 0
    ends_at = WorldSettings().start_at + 86400.0
    ticks = records(bootstrap, topics.TICKS.name, encode(Tick(at=ends_at)).decode())
    assert {(r.partition, r.key) for r in ticks} == {(i, str(i).encode()) for i in range(4)}
    assert "no coupon was issued" in result.stderr
    assert len(records(bootstrap, topics.CATALOG.name, "coupon-0")) >= 3


@pytest.mark.kafka
def test_an_interruption_says_what_was_published(bootstrap: str) -> None:
    seed = uuid.uuid4().int % 1_000_000_000
    command = [sys.executable, "-m", "stream_coupons", "simulate", "--seed", str(seed), "--no-catalog", "--json"]
    with subprocess.Popen([*command, "-b", bootstrap], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + DEADLINE_S
        while not records(bootstrap, topics.BROWSE.name, f"simulated-{seed}-"):
            assert time.monotonic() < deadline, "no event arrived"
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        report = json.loads(process.stdout.read())
        assert process.wait(DEADLINE_S) == 130
    assert (report["interrupted"], report["coupons_published"]) == (True, 0)
    found = {name: len(records(bootstrap, name, f"simulated-{seed}-")) for name in report["events"]}
    assert found == report["events"]

"""A learner whose broker goes away amid a publication says so, and goes on by itself when the broker is back.

The process that decides, which has nothing to do meanwhile, stays ready.
"""

import os
import signal
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec
import pytest
from kafka.errors import KafkaError

from loopback_kafka import BrokerProcess
from stream_coupons.core.errors import BrokerAway
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons.testing import observed
from stream_coupons_lab.demo.system import LocalSystem

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    messages,
    send_ticks,
    settings,
    total,
    wait_until,
)

pytestmark = pytest.mark.kafka

ISSUES = 20
PUBLISH_EVERY_S = 4.0
"""Long enough for the broker to go between what is learnt and what is published."""
OUTAGE_S = 12.0
"""Longer than a produce request may take, shorter than a session: who was given up by the group begins anew anyway."""
WITHIN_S = 45.0
"""Far less than nine times the outage."""


def hurried() -> Settings:
    usual = settings(learning=LearningSettings(publish_every_s=PUBLISH_EVERY_S))
    kafka = msgspec.structs.replace(usual.kafka, produce_timeout_s=3.0, session_timeout_s=60.0)
    return msgspec.structs.replace(usual, kafka=kafka)


def give(system: LocalSystem, at: float) -> None:
    """Coupons that another system gave, and the end of their windows: each is two examples."""
    with system.publisher() as publisher:
        for number in range(ISSUES):
            given = observed(f"u{number}", at=at, issue_id=f"{number}-{at}", expires_at=at + 10)
            publisher.send(topics.OBSERVED, given)
        publisher.flush()
        send_ticks(system, publisher, at + 0.5 * DAY_S)


def give_and_learn(system: LocalSystem, day: int) -> None:
    """Give the coupons of a day, counted from 1, and wait until their examples are learnt."""
    give(system, AT + (day - 1) * DAY_S)
    wait_until(lambda: total(system, "training_examples_total") == 2 * ISSUES * day, "the examples of a day")


def learnt(system: LocalSystem) -> int:
    """Examples in the snapshot that has learnt most; 0 while the broker, just back, does not answer a client yet."""
    try:
        snapshots: list[ModelSnapshot] = messages(system, topics.SNAPSHOTS)
    except (BrokerAway, KafkaError):
        return 0
    return max(snapshots, key=lambda one: one.source_offset).examples if snapshots else 0


def ready(port: int) -> tuple[int, str]:
    """Status and text of a readiness probe; 0 where it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except OSError:
        return 0, ""


def is_learning(system: LocalSystem, worker: int = 0) -> bool:
    """Return True if the learner beside a worker is ready: it learns, or stands by."""
    return ready(system.workers[worker].learner_port)[0] == 200


def test_learning_goes_on_by_itself_after_an_outage_in_which_the_learner_was_not_ready(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, hurried(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system:
        system.wait_ready()
        give_and_learn(system, 1)
        wait_until(lambda: learnt(system) == 2 * ISSUES, "the first snapshot")
        day = 1
        while learnt(system) == 2 * ISSUES * day:  # until a day is learnt, and not published yet
            day += 1
            give_and_learn(system, day)
        [worker] = system.workers
        before = len(worker.log.read_text().splitlines())
        assert empty_broker.pid is not None
        os.kill(empty_broker.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            why = "not ready: it is starved"
            wait_until(lambda: why in ready(worker.learner_port)[1], "a learner that says so", WITHIN_S)
            assert ready(worker.port.number) == (200, "ready\n")
            wait_until(lambda: time.monotonic() > began + OUTAGE_S, "the end of the outage")
        finally:
            os.kill(empty_broker.pid, signal.SIGCONT)
        assert len(worker.log.read_text().splitlines()) - before < 20
        wait_until(lambda: learnt(system) == 2 * ISSUES * day, "the snapshot that was held up", WITHIN_S)
        system.wait_ready()
        give_and_learn(system, day + 1)
        wait_until(lambda: learnt(system) == 2 * ISSUES * (day + 1), "a snapshot of what came after it", WITHIN_S)
        system.wait_idle(IDLE_WITHIN_S)
        assert ready(worker.learner_port) == ready(worker.port.number) == (200, "ready\n")
        system.check()

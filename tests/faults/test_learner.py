"""Learning goes on by itself after every fault, and no fault of a learning process stops a decision."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest

from benchmarks.background import in_background
from benchmarks.cluster_faults.supervised import SupervisedSystem
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.settings import Guarantee, KafkaSettings
from stream_coupons.settings import LearningSettings, Settings, WorkerSettings
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem, lag_now, scrape
from tests.integration.builders import AT, DAY_S, coupon, learner_of, records, settings, total, violations, wait_until
from tests.integration.test_learner_outage import ISSUES, give, is_learning, learnt, ready

from .conftest import LONG

pytestmark = pytest.mark.kafka

OUTAGES_S = (10.0, 90.0, *((600.0,) if LONG else ()))
WITHIN_S = 120.0
"""To begin again after a fault: the pause before a process is started again is at most a minute."""
STARVED_FOR_S = 600.0 if LONG else 60.0
SHOPPERS = 20
EVENTS_PER_S, SEND_EVERY_S = 300, 0.1
PERIOD_S, SHARE = 0.5, 0.1
"""A starved process runs for this share of each period."""


def as_delivered(guarantee: Guarantee = Guarantee.AT_LEAST_ONCE) -> Settings:
    """Settings of a test, but the timeouts that the program has by default. Without visits: examples are counted."""
    usual = settings(learning=LearningSettings(publish_every_s=0.5))
    worker = msgspec.structs.replace(usual.worker, stalled_after_s=WorkerSettings().stalled_after_s)
    kafka = KafkaSettings(commit_interval_s=0.3, guarantee=guarantee)
    attribution = msgspec.structs.replace(usual.attribution, visit_s=0.0)
    return msgspec.structs.replace(usual, kafka=kafka, worker=worker, attribution=attribution)


def active(system: LocalSystem) -> int:
    """Index of the worker beside which the learner learns, once it states its lag; the others stand by."""
    lag = ("stream_coupons_lag_records", (("partition", "0"), ("topic", topics.EXAMPLES.name)))

    def learning() -> list[int]:
        return [index for index, worker in enumerate(system.workers) if lag in scrape(worker.learner_port, lag[0])]

    wait_until(lambda: len(learning()) == 1, "one learner that states its lag", WITHIN_S)
    [index] = learning()
    return index


def lag(system: LocalSystem) -> dict[str, int]:
    """Records that wait, by topic."""
    with admin.admin_client(system.connection) as client:
        return lag_now(client, system.settings)


def wait(system: LocalSystem, holds: Callable[[], bool], what: str, within_s: float = WITHIN_S) -> None:
    """Wait for a condition, and meanwhile start workers that end anew, as a supervisor would."""

    def check_and_see() -> bool:
        system.check()
        return holds()

    wait_until(check_and_see, what, within_s)


def wait_learnt(system: LocalSystem, days: int) -> None:
    """Wait until a model has learnt from so many days; a failure states what there was to learn, and what waits."""
    try:
        wait(system, lambda: learnt(system) == 2 * ISSUES * days, f"a snapshot of {days} days")
    except AssertionError as failure:
        there = len(records(system, topics.EXAMPLES.name))
        failure.add_note(f"{there} examples, {learnt(system)} of them in the last snapshot; lag: {lag(system)}")
        raise


def learn_a_day(system: LocalSystem, day: int) -> None:
    """Let another system give coupons, and wait until what became of them is in a model."""
    give(system, AT + day * DAY_S)
    wait_learnt(system, day + 1)


@pytest.mark.essential
def test_no_example_is_lost_where_a_snapshot_of_a_stopped_learner_comes_late(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, as_delivered(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system, system.publisher() as publisher:
        system.wait_ready()
        learn_a_day(system, 0)
        late = [record for record in records(system, topics.SNAPSHOTS.name) if record.value is not None][-1]
        learn_a_day(system, 1)
        system.wait_idle(WITHIN_S)  # what it has learnt is committed
        publisher.send_bytes(topics.SNAPSHOTS, late.key, late.value, late.partition)
        publisher.flush()
        os.kill(learner_of(system.workers[0]), signal.SIGKILL)
        learn_a_day(system, 2)


@pytest.mark.parametrize("outage_s", OUTAGES_S)
@pytest.mark.parametrize("is_killed", [False, True], ids=["hangs", "gone"])
def test_learning_goes_on_by_itself_once_the_broker_is_back(
    empty_broker: BrokerProcess, tmp_path: Path, outage_s: float, is_killed: bool
) -> None:
    system = SupervisedSystem(empty_broker, as_delivered(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system:
        system.wait_ready()
        learn_a_day(system, 0)
        give(system, AT + DAY_S)  # some of it is learnt and not published when the broker goes
        pid = empty_broker.pid
        assert pid is not None
        if is_killed:
            empty_broker.kill()
        else:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        wait(system, lambda: not is_learning(system), "a learner that says that it does not learn")
        wait(system, lambda: time.monotonic() > began + outage_s, "the end of the outage", outage_s + WITHIN_S)
        if is_killed:
            empty_broker.start()
        else:
            os.kill(pid, signal.SIGCONT)
        began = time.monotonic()
        wait_learnt(system, 2)
        again_s = time.monotonic() - began
        learn_a_day(system, 2)
        system.wait_idle(WITHIN_S)
        wait(system, lambda: is_learning(system), "a learner that says that it learns")
        print(f"outage of {outage_s:.0f} s: published again after {again_s:.0f} s; workers ended: {system.restarts}")


@pytest.mark.essential
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_learning_process_that_ends_or_stops_holds_up_no_decision_and_another_takes_over(
    empty_broker: BrokerProcess, tmp_path: Path, guarantee: Guarantee, fault: signal.Signals
) -> None:
    system = LocalSystem(empty_broker, as_delivered(guarantee), tmp_path, workers=2)
    system.prepare([coupon("c1")])
    with system, system.publisher() as publisher:
        system.wait_ready()
        learn_a_day(system, 0)

        hit = active(system)
        pid = learner_of(system.workers[hit])
        os.kill(pid, fault)
        wait_until(lambda: not is_learning(system, hit), "a learner that is gone")
        for number in range(SHOPPERS):
            publisher.send(topics.BROWSE, browse(f"s{number}"))
        publisher.flush()
        wait_until(lambda: len(records(system, topics.ISSUES.name)) == SHOPPERS, "coupons meanwhile")
        assert ready(system.workers[hit].port.number) == (200, "ready\n")
        learn_a_day(system, 1)
        if fault == signal.SIGSTOP:
            assert active(system) != hit
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: is_learning(system, hit), "a learner that was started again", WITHIN_S)
        learn_a_day(system, 2)
        # One that was stopped amid its work ends when it wakes; one that was not stands by from then on.
        assert fault == signal.SIGSTOP or learner_of(system.workers[hit]) != pid
        assert violations(system) == []
        system.check()


def starved(system: LocalSystem) -> AbstractContextManager[object]:
    """Hold both processes of every worker to a share of a core: stopped for the rest of each period."""

    def signal_all(number: signal.Signals) -> None:
        for worker in system.workers:
            for pid in (worker.process.pid, learner_of(worker)):
                os.kill(pid, number)

    def starve(over: threading.Event) -> None:
        while not over.is_set():
            signal_all(signal.SIGSTOP)
            over.wait(PERIOD_S * (1 - SHARE))
            signal_all(signal.SIGCONT)
            over.wait(PERIOD_S * SHARE)

    return in_background(starve, "starve")


def send_steadily(system: LocalSystem, seconds: float, and_then: Callable[[], None]) -> int:
    """Send events of shoppers who browse, at a steady rate; return how many."""
    count, began = 0, time.monotonic()
    with system.publisher() as publisher:
        while (passed_s := time.monotonic() - began) < seconds:
            for _ in range(round(EVENTS_PER_S * passed_s) - count):
                publisher.send(topics.BROWSE, browse(f"u{count % 5000}", item(f"i{count % 50}"), at=AT + count))
                count += 1
            publisher.flush()
            and_then()
            time.sleep(SEND_EVERY_S)
    return count


def test_a_worker_that_gets_a_tenth_of_a_core_does_not_end_itself_and_catches_up_later(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, as_delivered(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system:
        system.wait_ready()
        learn_a_day(system, 0)
        give(system, AT + DAY_S)
        learner = learner_of(system.workers[0])
        with starved(system):
            sent = send_steadily(system, STARVED_FOR_S, system.check)
        behind, began = lag(system), time.monotonic()
        assert behind[topics.BROWSE.name] > EVENTS_PER_S, "it kept up: this test tested nothing"
        system.wait_idle(STARVED_FOR_S + WITHIN_S)
        print(f"{sent} events, of which {behind} waited; idle after {time.monotonic() - began:.0f} s")
        assert total(system, "records_total", topic=topics.BROWSE.name) == sent
        assert learnt(system) >= 4 * ISSUES
        assert learner_of(system.workers[0]) == learner
        system.check()

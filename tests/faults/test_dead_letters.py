"""Poison comes while dead letters cannot be written: nothing is passed over, and all goes on when they can be."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from loopback_kafka import BrokerProcess
from stream_coupons.kafka import admin, topics
from stream_coupons_lab.demo.system import LocalSystem
from tests.integration.builders import records, wait_until

from .trial import Trial, committed, is_ready, settings_under_faults, trial

pytestmark = pytest.mark.kafka

WATCHED_S = 5.0
USER = b"somebody"


def forbid(system: LocalSystem) -> None:
    """Let dead-letters take no record that has any size."""
    configure(system, "10")


def permit(system: LocalSystem) -> None:
    """Let dead-letters take what the registry says."""
    configure(system, str(topics.DEAD_LETTERS.max_message_bytes))


def configure(system: LocalSystem, max_bytes: str) -> None:
    """Set the largest record of dead-letters."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topics.DEAD_LETTERS.name, {"max.message.bytes": max_bytes})
    with admin.admin_client(system.connection) as client:
        client.alter_configs([resource])


def delete(system: LocalSystem) -> None:
    """Take the topic away."""
    with admin.admin_client(system.connection) as client:
        client.delete_topics([topics.DEAD_LETTERS.name])


def create(system: LocalSystem) -> None:
    """Make the topic anew."""
    with admin.admin_client(system.connection) as client:
        admin.apply(client, system.settings.kafka)


@pytest.mark.parametrize(("begin", "end"), [(forbid, permit), (delete, create)], ids=["too small", "deleted"])
def test_poison_waits_until_dead_letters_can_be_written(
    empty_broker: BrokerProcess,
    tmp_path: Path,
    seed: int,
    begin: Callable[[LocalSystem], None],
    end: Callable[[LocalSystem], None],
) -> None:
    settings = settings_under_faults()
    kafka = msgspec.structs.replace(settings.kafka, produce_timeout_s=2.0)
    with trial(empty_broker, tmp_path, seed, msgspec.structs.replace(settings, kafka=kafka), days=90) as running:
        system = running.system
        home = topics.partition_for(USER, system.settings.kafka.partitions)
        with running.load():
            wait_until(lambda: committed(system, topics.BROWSE).get(home, 0) > 0, "something committed")
            begin(system)
            running.send_bytes(topics.BROWSE, USER, b"{", refused_as="not_json")
            running.flush()
            bad = poison_at(running)
            check_that_nothing_passes(running, home, bad)
            end(system)
            healed_at = time.monotonic()
            wait_until(lambda: passed(running, home) > bad, "the poison's offset committed", within_s=90)
            print(f"passed {time.monotonic() - healed_at:.1f} s after dead letters could be written")
        running.check()


def poison_at(running: Trial) -> int:
    """The poison's offset."""
    [offset] = [record.offset for record in records(running.system, topics.BROWSE.name) if record.value == b"{"]
    return int(offset)


def passed(running: Trial, home: int) -> int:
    """The next offset of the poison's partition that is not committed; workers that gave up are started anew."""
    running.system.check()
    return committed(running.system, topics.BROWSE).get(home, 0)


def check_that_nothing_passes(running: Trial, home: int, bad: int) -> None:
    """The poison's worker is not ready as long as it tries, and its partition goes up to the poison and no further."""
    workers = running.system.workers
    wait_until(lambda: not all(map(is_ready, workers)), "a worker that is not ready", within_s=10)
    ready, watched = 0, 0
    until = time.monotonic() + WATCHED_S
    while time.monotonic() < until:
        assert passed(running, home) <= bad
        if running.system.restarts == 0:  # a new process is ready until it meets the poison itself
            watched += 1
            ready += all(map(is_ready, workers))
        time.sleep(0.2)
    assert watched > 3
    assert ready == 0, f"all workers said that they were ready, {ready} of {watched} times"
    behind = [record for record in records(running.system, topics.BROWSE.name) if record.partition == home]
    assert len(behind) > bad + 1, "nothing came behind the poison: this test tested nothing"

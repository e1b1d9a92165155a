"""Records that no agent can use: a few of every kind in every topic, and then nothing else."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loopback.clients import NoText
from loopback_kafka import BrokerProcess
from stream_coupons.core.errors import BadMessage
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.lenient.unpacking import MOST_BYTES
from stream_coupons.kafka.topics import MIB
from tests.integration.builders import DAY_S, records, total, wait_until

from .trial import Trial, committed, is_ready, refusals, settings_under_faults, trial

pytestmark = pytest.mark.kafka

FOLLOWED = (topics.CATALOG, topics.SNAPSHOTS)
"""Topics that every worker reads to itself: what is bad in them is refused there, without a dead letter."""

CHANGELOGS = tuple(topics.changelog(table) for table in ("users", "cells", "accounts"))

ENOUGH = 20
"""Issues that the load leads to before a trial is one."""

PATIENT = {"trigger_timeout_s": 10 * DAY_S}
"""An hour of the load takes a moment: the usual wait would be over before a decision has gone round."""


BAD_HEADER = "header whose name is not UTF-8"
BOMB_MIB = MOST_BYTES // MIB + 1
NO_TEXT = [(NoText("trace"), b"1")]


def poison(topic: topics.Topic, number: int) -> Iterator[tuple[str, bytes | None]]:
    """Every kind of bad value, by name; no two are the same bytes, but for the tombstone."""
    mark = b"%d" % number
    deep = b"[" * 10_000 + mark + b"]" * 10_000
    yield "truncated", b'{"event_id":"poison-' + mark
    yield "not UTF-8", b'{"event_id":"\xff\xfe' + mark + b'","user_id":"\xc3","cell":"\xff"}'
    yield "not a number", b'{"at":NaN,"occurred_at":NaN,"number":' + mark + b"}"
    yield "nested deep", deep
    yield "nested deep in a field", b'{"context":{"x":' + deep + b"}}"
    yield "tombstone", None
    yield "no object", mark
    yield "binary", bytes(range(256)) + mark
    yield BAD_HEADER, b"no more than its header " + mark
    if topic in topics.INPUTS:
        yield "unknown version", b'{"schema_version":2,"event_id":"poison-' + mark + b'"}'
    if topic in (topics.BROWSE, topics.FEEDBACK):  # that is enough, and each is read more than once
        yield "5 MB", b'{"event_id":"' + b"x" * 5_000_000 + mark + b'"}'


def reason_of(topic: topics.Topic, value: bytes | None) -> str:
    """What the decoder, which has tests of its own, says of a value."""
    with pytest.raises(BadMessage) as refused:
        Decoder(topic)(value)
    return str(refused.value.reason)


@pytest.mark.essential
def test_poison_in_every_topic_is_in_dead_letters_once_and_stops_nothing(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    with trial(empty_broker, tmp_path, seed, settings_under_faults(**PATIENT), days=30) as running:
        with running.load():
            for number in range(rounds(1, 10)):
                for topic in (*topics.READ_BY_AGENTS, *FOLLOWED):
                    send_poison(running, topic, number)
                running.flush()
            for topic in (topics.BROWSE, topics.FEEDBACK, topics.TICKS, topics.CATALOG):
                running.send_packed(topic, BOMB_MIB, None if topic in FOLLOWED else "too_large")
            refused = running.refused.total()
            wait_until(lambda: total(running.system, "dead_letters_total") == refused, "dead letters, under load")
            wait_until(lambda: len(records(running.system, "coupon-issues")) >= ENOUGH, "issues beside the poison")
        running.check()
        running.check_sums()
        assert set(running.refused) > {(topic.name, "not_json") for topic in topics.READ_BY_AGENTS}
        assert total(running.system, "catalogue_coupons") == 12 * len(running.system.workers)
        assert total(running.system, "coupons_refused_total") > 0
        assert total(running.system, "snapshots_refused_total") > 0


def send_poison(running: Trial, topic: topics.Topic, number: int) -> None:
    """Every kind of bad record, each to a key of its own."""
    for place, (kind, value) in enumerate(poison(topic, number)):
        reason = None if topic in FOLLOWED else reason_of(topic, value)
        headers = NO_TEXT if kind == BAD_HEADER else ()
        running.send_bytes(topic, f"{kind}-{number}-{place}".encode(), value, refused_as=reason, headers=headers)
    if topic not in (*FOLLOWED, topics.TICKS):
        running.send_bytes(topic, None, b'{"number":%d}' % number, 0, refused_as="no_key")


BAD = 12_000


def test_a_topic_of_little_but_poison_is_read_slowly_while_others_go_on_and_recovers_by_itself(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int
) -> None:
    with trial(empty_broker, tmp_path, seed, settings_under_faults(**PATIENT), days=60) as running:
        system = running.system
        with running.load():
            for number in range(BAD):
                value = b'{"event_id":"broken-%d' % number
                running.send_bytes(topics.BROWSE, b"user-%d" % number, value, refused_as="not_json")
            running.flush()
            wait_until(lambda: held_back(running) == len(system.workers), "browse-events held back by every worker")
            assert sum(refusals(system).values()) < BAD, "the topic was drained into dead letters"
            assert all(map(is_ready, system.workers))
            orders = total(system, "records_total", topic=topics.ORDER.name)
            wait_until(lambda: total(system, "records_total", topic=topics.ORDER.name) > orders, "orders beside it")
            check_nothing_unwritten_is_committed(running)
            wait_until(lambda: held_back(running) == 0, "good records that end it")
        check_what_was_said(running)

        for changelog in CHANGELOGS:  # which are read again now
            for partition in range(system.settings.kafka.partitions):
                running.send_bytes(changelog, b"\xff\xfe of a stranger", None, partition, headers=NO_TEXT)
        running.flush()
        for index in range(len(system.workers)):
            system.workers[index].process.terminate()
            system.workers[index].process.wait(30)
            system.restart(index)
        system.wait_ready()
        assert total(system, "changelog_skipped_total") > 0
        running.play_an_hour(running.world.ends_at)
        running.check()


def held_back(running: Trial) -> float:
    """Workers that hold browse-events back."""
    return total(running.system, "stopped", topic=topics.BROWSE.name)


def check_nothing_unwritten_is_committed(running: Trial) -> None:
    """Every bad record below what is committed has its dead letter."""
    done = committed(running.system, topics.BROWSE)
    letters = {
        (int(headers["partition"]), int(headers["offset"]))
        for headers in ({name: value.decode() for name, value in one.headers} for one in dead(running))
        if headers["topic"] == topics.BROWSE.name
    }
    acknowledged = {
        (record.partition, record.offset)
        for record in records(running.system, topics.BROWSE.name)
        if record.value.startswith(b'{"event_id":"broken-') and record.offset < done.get(record.partition, 0)
    }
    assert acknowledged <= letters


def dead(running: Trial) -> list[Any]:
    """All dead letters."""
    return records(running.system, topics.DEAD_LETTERS.name)


SAID = re.compile(r"users reads browse-events only .* (\d+) of its last (\d+) records are bad, .* because of not_json")


def check_what_was_said(running: Trial) -> None:
    """Every worker has one line of level ERROR: which topic, how many of how many, the commonest reason."""
    for worker in running.system.workers:
        lines = [line for line in worker.log.read_text().splitlines() if SAID.search(line) and "ERROR" in line]
        assert lines
        found = SAID.search(lines[0])
        assert found is not None
        bad, window = map(int, found.groups())
        assert window >= 1000
        assert window / 2 < bad <= window

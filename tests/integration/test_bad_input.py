"""Any bytes in an input topic: each bad record is in dead-letters once, with its reason, and stops nothing."""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer

from benchmarks.load import processes
from loopback.clients import NoText, send_packed
from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.inputs import CartEvent, FeedbackEvent, Item
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.topics import MIB
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import (
    AT,
    DAY_S,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    records,
    send_ticks,
    settings,
    total,
    violations,
    wait_until,
)

pytestmark = pytest.mark.kafka

EARLY_FEEDBACK_S = 60.0
USER = "u1"
COUPONS = [coupon("c1")]


def partition_of(user_id: str) -> int:
    return topics.partition_for(user_id.encode(), settings().kafka.partitions)


ELSEWHERE = next(user for user in map("v{}".format, range(100)) if partition_of(user) != partition_of(USER))


@dataclass(frozen=True)
class Bad:
    """A record that cannot be used, the reason that must be given and a word that its detail must say."""

    value: bytes | None
    reason: str
    says: str
    key: bytes | None = USER.encode()


def bad_records() -> dict[str, Bad]:
    """By what is wrong; every value is unlike the others, so that it can be found again."""
    good = msgspec.to_builtins(browse(USER, item("A"), event_id="bad"))

    def but(event_id: str, **changed: Any) -> bytes:
        return json.dumps(good | {"event_id": event_id} | changed).encode()

    no_id = {name: value for name, value in good.items() if name != "event_id"}
    return {
        "truncated": Bad(but("truncated")[:-7], "not_json", "truncated"),
        "unknown version": Bad(but("version", schema_version=2), "unknown_version", "schema_version"),
        "missing id": Bad(json.dumps(no_id).encode(), "invalid", "event_id"),
        "not a number": Bad(but("nan").replace(b"1000000000.0", b"NaN"), "not_json", "JSON"),
        "too large": Bad(but("large", context={"text": "x" * 5_000_000}), "too_large", "bytes"),
        "null key": Bad(but("null-key"), "no_key", "key", key=None),
        "not UTF-8": Bad(but("utf8", domain="shop").replace(b"shop", b"sh\xff\xfe"), "not_json", "byte"),
        "wrong key": Bad(but("wrong-key", user_id="somebody-else"), "wrong_key", "somebody-else"),
        "wrong partition": Bad(
            but("wrong-partition", user_id=ELSEWHERE), "wrong_partition", "murmur2", key=ELSEWHERE.encode()
        ),
        "tombstone": Bad(None, "not_json", "tombstone"),
        "far future": Bad(but("future", occurred_at=time.time() + 3 * 86400), "from_the_future", "occurred_at"),
    }


def publish(publisher: Publisher, topic: topics.Topic, key: bytes | None, value: bytes | None) -> None:
    publisher.send_bytes(topic, key, value, partition_of(USER))


def headers_of(letter: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in letter.headers}


def test_bad_records_are_in_dead_letters_once_and_good_ones_around_them_are_processed(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(early_feedback_s=EARLY_FEEDBACK_S), tmp_path, workers=2)
    system.prepare(COUPONS)
    bad = bad_records()
    forged = FeedbackEvent(event_id="forged", user_id=USER, occurred_at=AT, issue_id="never-issued", kind="click")
    with system, system.publisher() as publisher:
        system.wait_ready()
        publisher.send(topics.BROWSE, browse(USER, item("A"), event_id="before"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        for record in bad.values():
            publish(publisher, topics.BROWSE, record.key, record.value)
        publish(publisher, topics.FEEDBACK, USER.encode(), encode(forged))
        publisher.send(topics.BROWSE, browse(USER, item("A"), event_id="before"))
        publisher.send(topics.BROWSE, browse(USER, item("B"), at=AT + 1, event_id="after"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        assert forged_letters(system) == []
        send_ticks(system, publisher, AT + EARLY_FEEDBACK_S + 1)
        system.wait_idle(IDLE_WITHIN_S)
        wait_until(lambda: len(forged_letters(system)) == 1, "the forged click in dead-letters")

        assert sorted(issue.trigger_id for issue in distinct_issues(system).values()) == ["after", "before"]
        assert violations(system) == []
        check_letters(system, bad)
        check_forged(system, forged)
        check_counts(system, bad)


def test_records_whose_headers_have_names_that_are_not_utf8_are_applied_or_refused_like_any(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare(COUPONS)
    headers = [(NoText("trace"), b"1")]
    with system, system.publisher() as publisher:
        publisher.send_bytes(topics.CATALOG, b"c2", encode(coupon("c2")), headers=headers)
        publisher.flush()
        system.wait_ready()
        publisher.send_bytes(topics.CATALOG, b"c3", encode(coupon("c3")), headers=headers)
        publisher.send_bytes(topics.CATALOG, b"c4", b"{}", headers=headers)
        publisher.send_bytes(topics.BROWSE, USER.encode(), b"{}", headers=headers)
        publisher.send_bytes(
            topics.BROWSE, USER.encode(), encode(browse(USER, item("A"), event_id="e1")), headers=headers
        )
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        wait_until(lambda: total(system, "catalogue_coupons") == 3, "the coupons in the catalogue")
        wait_until(lambda: total(system, "coupons_refused_total") == 1, "the coupon that is none, refused")
        assert [issue.trigger_id for issue in distinct_issues(system).values()] == ["e1"]
        [letter] = records(system, "dead-letters")
        assert (letter.key, letter.value, headers_of(letter)["reason"]) == (USER.encode(), b"{}", "invalid")
        assert violations(system) == []
        assert all(worker.process.poll() is None for worker in system.workers)


def test_one_bad_sender_stops_no_decision_and_good_records_of_its_topic_are_applied_by_themselves(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare(COUPONS)
    held_back = {"topic": "cart-events", "reason": "invalid"}
    with system, system.publisher() as publisher:
        system.wait_ready()
        cart = CartEvent(event_id="x" * 500, user_id=USER, occurred_at=AT, item=Item(item_id="A"))
        client = [("client", b"basket 7.3")]
        for number in range(1200):
            bad = msgspec.structs.replace(cart, user_id=f"u{number}")
            publisher.send_bytes(topics.CART, bad.user_id.encode(), encode(bad), headers=client)
        publisher.flush()
        wait_until(lambda: total(system, "stopped", **held_back) == 1, "a topic that is held back")
        publisher.send(topics.BROWSE, browse(USER, item("A"), event_id="decided"))
        publisher.flush()
        wait_until(lambda: [issue.trigger_id for issue in distinct_issues(system).values()] == ["decided"], "a coupon")
        system.wait_ready()
        for number in range(20):
            publisher.send(topics.CART, msgspec.structs.replace(cart, event_id=f"good-{number}"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        wait_until(lambda: total(system, "stopped", **held_back) == 0, "the end of it")
        assert total(system, "records_total", topic="cart-events") == 20
        assert total(system, "dead_letters_total", topic="cart-events") == len(records(system, "dead-letters")) == 1200
        said = [line for line in system.workers[0].log.read_text().splitlines() if "reads cart-events only" in line]
        assert len(said) == 1
        assert "because of invalid, most of the latest from client 'basket 7.3'" in said[0]
        assert violations(system) == []


PACKED = [("browse-events", "gzip"), ("order-events", "zstd"), ("cart-events", "lz4"), ("ticks", "zstd")]


@pytest.mark.slow
def test_a_batch_that_unpacks_to_a_gigabyte_is_one_dead_letter_and_takes_no_memory(
    empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare(COUPONS)
    with system, system.publisher() as publisher:
        system.wait_ready()
        worker = system.workers[0].process.pid
        before = processes.peak_rss_bytes([worker])
        for topic, compression in PACKED:
            home = 0 if topic == "ticks" else partition_of(USER)
            send_packed(empty_broker.bootstrap, topic, home, compression, 1024)
        publisher.send(topics.BROWSE, browse(USER, item("A"), event_id="e1"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
        letters = [headers_of(letter) for letter in records(system, "dead-letters")]
        assert sorted((one["topic"], one["reason"]) for one in letters) == [
            ("browse-events", "too_large"),
            ("cart-events", "too_large"),
            ("order-events", "too_large"),
            ("ticks", "too_large"),
        ]
        assert all("1024 records at the offsets 0 to 1023" in one["detail"] for one in letters)
        assert [issue.trigger_id for issue in distinct_issues(system).values()] == ["e1"]
        assert violations(system) == []
        assert processes.peak_rss_bytes([worker]) - before < 512 * MIB


@pytest.mark.parametrize(
    ("ahead_s", "said_ms", "reasons"),
    [(366 * DAY_S, int((time.time() + 366 * DAY_S) * 1000), ["from_the_future"]), (0.0, 0, [])],
    ids=["a clock that is a year ahead", "no clock at all"],
)
def test_when_an_event_arrived_is_not_for_its_senders_clock_to_say(
    ahead_s: float, said_ms: int, reasons: list[str], empty_broker: BrokerProcess, tmp_path: Path
) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare(COUPONS)
    event = encode(browse(USER, item("A"), at=time.time() + ahead_s, event_id="e1"))
    with system:
        system.wait_ready()
        producer = KafkaProducer(bootstrap_servers=empty_broker.bootstrap)
        sending = producer.send("browse-events", event, USER.encode(), [], partition_of(USER), said_ms)
        sending.get(timeout=30)
        producer.close()
        system.wait_idle(IDLE_WITHIN_S)
        assert [headers_of(letter)["reason"] for letter in records(system, "dead-letters")] == reasons
        assert len(distinct_issues(system)) == 1 - len(reasons)


def forged_letters(system: LocalSystem) -> list[Any]:
    return [letter for letter in records(system, "dead-letters") if headers_of(letter)["reason"] == "unknown_issue"]


def check_letters(system: LocalSystem, bad: dict[str, Bad]) -> None:
    """Every bad record has one letter with its key and bytes, the reason, a readable detail and where it was."""
    letters = [letter for letter in records(system, "dead-letters") if headers_of(letter)["topic"] == "browse-events"]
    assert Counter(headers_of(letter)["reason"] for letter in letters) == Counter(one.reason for one in bad.values())
    log = records(system, "browse-events")
    for what, one in bad.items():
        [source] = [record for record in log if (record.key, record.value) == (one.key, one.value)]
        [letter] = [letter for letter in letters if (letter.key, letter.value) == (one.key, one.value)]
        headers = headers_of(letter)
        assert headers["reason"] == one.reason, what
        assert one.says in headers["detail"], what
        assert headers["detail"].isprintable(), what
        place = (headers["topic"], headers["partition"], headers["offset"], headers["timestamp"])
        assert place == ("browse-events", str(source.partition), str(source.offset), str(source.timestamp)), what


def check_forged(system: LocalSystem, forged: FeedbackEvent) -> None:
    """Feedback that waited in vain: its own bytes and partition; its offset is no longer known."""
    [letter] = forged_letters(system)
    headers = headers_of(letter)
    assert (letter.key, letter.value) == (USER.encode(), encode(forged))
    assert (headers["topic"], headers["partition"]) == ("coupon-feedback", str(partition_of(USER)))
    assert "never-issued" in headers["detail"]


def check_counts(system: LocalSystem, bad: dict[str, Bad]) -> None:
    """Applied, duplicates and dead letters add up to the input."""
    counted = [total(system, f"{name}_total", topic="browse-events") for name in ("records", "duplicates", "replays")]
    dead = total(system, "dead_letters_total", topic="browse-events")
    assert [*counted, dead] == [2, 1, 0, len(bad)]
    assert sum(counted) + dead == len(records(system, "browse-events"))
    for one in bad.values():
        assert total(system, "dead_letters_total", topic="browse-events", reason=one.reason) >= 1
    feedback = [
        total(system, f"{name}_total", topic="coupon-feedback") for name in ("records", "duplicates", "replays")
    ]
    assert sum(feedback) == len(records(system, "coupon-feedback")) == 1

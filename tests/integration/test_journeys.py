"""Golden journeys on the real pipeline: Faust, a broker, two workers."""

from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import (
    AT,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    messages,
    publish_journey,
    records,
    settings,
    total,
    violations,
)

pytestmark = pytest.mark.kafka

COUPONS = [coupon(item, items=[item], stock=50, margin_ratio=0.6) for item in "ABCD"]


@pytest.fixture(scope="module")
def system(module_broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    folder: Path = tmp_path_factory.mktemp("workers")
    system = LocalSystem(module_broker, settings(), folder, workers=2)
    system.prepare(COUPONS)
    with system:
        system.wait_ready()
        yield system


def test_u1_has_neighbours_that_like_d_and_is_given_what_u1_turned_to(
    system: LocalSystem,
) -> None:
    with system.publisher() as publisher:
        for user_id, items in (("u2", "BCD"), ("u3", "CDA"), ("u1", "ABC")):
            publish_journey(publisher, user_id, *items)
            system.wait_idle(IDLE_WITHIN_S)
        publisher.send(topics.BROWSE, browse("u1", at=AT + 1, event_id="later"))
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)

    update = [update for update in messages(system, topics.NEIGHBOURS) if update.user_id == "u1"][-1]
    assert {near.user_id: near.similarity for near in update.neighbours} == pytest.approx({"u2": 2 / 3, "u3": 2 / 3})
    sums = dict(zip(update.indices, update.weights, strict=True))
    assert sums[feature_index("item:D")] == pytest.approx(4 / 3, abs=1e-6)
    [issue] = [issue for issue in distinct_issues(system).values() if issue.trigger_id == "later"]
    assert issue.coupon_id in {"A", "B"}
    assert violations(system) == []


def test_the_same_event_twice_leads_to_one_issue_and_counts_as_a_duplicate(system: LocalSystem) -> None:
    before = total(system, "duplicates_total", topic="browse-events")
    with system.publisher() as publisher:
        for _ in range(2):
            publisher.send(topics.BROWSE, browse("u4", item("A"), event_id="twice"))
            publisher.flush()
            system.wait_idle(IDLE_WITHIN_S)
    issues = messages(system, topics.ISSUES)
    assert [issue.user_id for issue in issues if issue.trigger_id == "twice"] == ["u4"]
    assert total(system, "duplicates_total", topic="browse-events") - before == 1
    assert violations(system) == []


def test_events_may_be_compressed_in_any_way_that_kafka_knows(
    system: LocalSystem, module_broker: BrokerProcess
) -> None:
    codecs = ("gzip", "snappy", "lz4", "zstd")
    for codec in codecs:
        options = {"compression.type": codec, "partitioner": "murmur2_random"}
        producer = confluent_kafka.Producer({"bootstrap.servers": module_broker.bootstrap, **options})
        event = browse(f"by-{codec}", item("C"), event_id=codec, context={"long enough to be worth it": "x" * 200})
        producer.produce(topics.BROWSE.name, encode(event), event.user_id)
        assert producer.flush(30) == 0
    system.wait_idle(IDLE_WITHIN_S)
    issued = {issue.trigger_id for issue in distinct_issues(system).values()}
    assert set(codecs) <= issued
    sent = {record.key for record in records(system, topics.BROWSE.name)}
    assert {f"by-{codec}".encode() for codec in codecs} <= sent, "what reads topics reads them, too"
    assert violations(system) == []

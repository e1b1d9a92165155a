"""One trace from the producer's span to the consumer's, over a broker and a worker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.collector import Collector
from benchmarks.trace_coupon import SPANS, follow_a_coupon, in_svg, in_text, new_system, traced
from loopback_kafka import BrokerProcess
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem

from .builders import AT, IDLE_WITHIN_S, records, settings

pytestmark = pytest.mark.kafka

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def system(
    module_broker: BrokerProcess, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSystem]:
    folder: Path = tmp_path_factory.mktemp("workers")
    with new_system(module_broker, traced(settings(), collector.endpoint), folder) as system:
        system.wait_ready()
        yield system


def test_a_coupon_is_in_the_trace_of_its_event_from_producer_to_consumer(
    system: LocalSystem, collector: Collector
) -> None:
    spans = {span.name: span for span in follow_a_coupon(system, collector)}
    assert spans.keys() >= SPANS
    assert len({span.trace_id for span in spans.values()}) == 1
    producer = spans.pop("send browse-events")
    assert producer.parent_id == ""
    assert {span.parent_id for span in spans.values()} == {producer.span_id}
    batch = spans["process users"]
    assert batch.links == ((producer.trace_id, producer.span_id),)
    ours = [spans[name] for name in ("receive browse-events", "decide browse-events", "send coupon-issues")]
    assert [span.service for span in ours] == ["stream-coupons"] * 3
    assert {span.links for span in ours} == {((batch.trace_id, batch.span_id),)}
    assert [ours[0].ended, ours[1].ended] <= [ours[1].began, ours[2].began]
    assert all(producer.name in in_text([producer, *ours]) and span.name in in_svg([producer, *ours]) for span in ours)


@pytest.mark.parametrize(
    "header",
    [b"00-%s-00f067aa0ba902b7-00" % TRACE_ID.encode(), b"00-%s-00f067aa0ba902b7" % TRACE_ID.encode(), b"x" * 50_000],
)
def test_an_event_that_is_not_sampled_or_names_no_context_gets_its_coupon_without_a_span(
    system: LocalSystem, collector: Collector, header: bytes
) -> None:
    user_id, before = f"u{len(header)}", set(records_of(system, topics.DEAD_LETTERS))
    with system.publisher() as publisher:
        event = encode(browse(user_id, item("A"), at=AT))
        publisher.send_bytes(topics.BROWSE, user_id.encode(), event, headers=[("traceparent", header)])
        publisher.flush()
        system.wait_idle(IDLE_WITHIN_S)
    [issue] = [record for record in records(system, topics.ISSUES.name) if record.key == user_id.encode()]
    carried = dict(issue.headers).get("traceparent")
    assert carried == (header if len(header) == 55 else None)
    assert set(records_of(system, topics.DEAD_LETTERS)) == before
    follow_a_coupon(system, collector, f"after-{user_id}")  # its spans came, so those of before would have
    assert collector.trace(TRACE_ID) == []


def records_of(system: LocalSystem, topic: topics.Topic) -> list[Any]:
    return [(record.partition, record.offset) for record in records(system, topic.name)]

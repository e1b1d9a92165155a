"""Spans of batches: which records get them, where they belong, and what becomes of a batch that is not delivered."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.records import Record
from stream_coupons.observability.log_lines import CURRENT_SPAN, JsonLines
from stream_coupons.observability.tracing import BatchTraces, SpanSink, TracedBatches, TracedDelivery
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.runtime.delivery import Delivery
from stream_coupons.settings import TracingSettings
from stream_coupons.worker.app import open_spans
from tests.runtime.fakes import NUMBERS, PARTITIONS, TICKS, Adder, home_of, log

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


class FakeDelivery:
    """Delivers nowhere, or fails."""

    is_transactional, whole_bytes, is_able, fails = True, 1000, True, False

    async def join(self, agent: str, membership: Any) -> None:
        raise AssertionError(agent, membership)

    async def deliver(self, *_parts: object) -> None:
        if self.fails:
            raise ConnectionError("no broker")


class Traced:
    """An agent whose batches are traced."""

    def __init__(self, ratio: float = 0.0) -> None:
        self.exporter = InMemorySpanExporter()
        traces = BatchTraces(SpanSink(SimpleSpanProcessor(self.exporter)), ratio, "adder", "group")
        self.batches: TracedBatches[Any] = TracedBatches(traces, Adder(1), TICKS, home_of, PARTITIONS)
        for partition in range(PARTITIONS):
            self.batches.adopt(partition, MemoryCells())
        self.inner = FakeDelivery()
        self.delivery: Delivery = TracedDelivery(self.inner, traces)

    def apply(self, records: Sequence[Record], most: int = sys.maxsize) -> list[Any]:
        homes = sorted({record.partition for record in records})
        results = self.batches.apply_all(
            {home: ([each for each in records if each.partition == home], {}) for home in homes}, most
        )
        for result in results:
            self.batches.save(result)
        return results

    def deliver(self, results: list[Any]) -> list[ReadableSpan]:
        outputs = [output for result in results for output in result.outputs]
        asyncio.run(self.delivery.deliver("adder", [], outputs, {}))
        return self.spans

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


def sampled(record: Record, trace: int = TRACE, flags: int = 1) -> Record:
    return record._replace(headers=(("traceparent", b"00-%032x-%016x-%02x" % (trace, SPAN, flags)),))


def ids(span: ReadableSpan) -> tuple[int, int | None]:
    return span.context.trace_id, span.parent and span.parent.span_id


RECORDS = log((NUMBERS, b"b", "add 1"), (NUMBERS, b"d", "add 2"), (NUMBERS, b"c", "add 3"))


def test_only_records_with_the_sampled_flag_get_spans_below_their_producers() -> None:
    traced = Traced()
    first, second, third = RECORDS
    spans = traced.deliver(traced.apply([sampled(first), sampled(second, flags=2), third]))
    assert [span.name for span in spans] == ["receive numbers", "decide numbers", "send out", "process adder"]
    assert {ids(span) for span in spans} == {(TRACE, SPAN)}
    [send] = [span for span in spans if span.name == "send out"]
    assert dict(send.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.consumer.group.name": "group",
        "messaging.destination.name": "out",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.operation.name": "send",
    }
    assert all((span.start_time or 0) <= (span.end_time or 0) for span in spans)


def test_the_span_of_a_batch_links_to_all_producers_and_is_in_the_trace_of_none() -> None:
    traced = Traced()
    results = traced.apply([sampled(each, trace=n + 1) for n, each in enumerate(RECORDS)])
    *of_records, batch = traced.deliver(results)
    assert [link.context.trace_id for link in batch.links] == [1, 2, 3]
    assert batch.parent is None
    assert {span.context.trace_id for span in of_records} == {1, 2, 3}
    assert {link.context.span_id for span in of_records for link in span.links} == {batch.context.span_id}


def test_a_batch_without_a_traced_record_makes_no_span() -> None:
    traced = Traced()
    assert traced.deliver(traced.apply(RECORDS)) == []


def test_a_share_of_the_records_without_a_producers_context_begins_traces_of_its_own() -> None:
    traced = Traced(ratio=1.0)
    ticks = log((TICKS, b"0", "now 50"), partition=0)
    spans = traced.deliver(traced.apply([sampled(RECORDS[0], flags=0), *RECORDS[1:]])) + traced.deliver(
        traced.apply(ticks)
    )
    roots = [span for span in spans if span.name == "receive numbers" and span.parent is None]
    assert len({span.context.trace_id for span in roots}) == 2
    assert {span.parent and span.parent.span_id for span in spans if span.name == "decide numbers"} == {
        span.context.span_id for span in roots
    }


def test_records_that_are_left_for_the_next_batch_get_their_spans_there() -> None:
    traced = Traced()
    records = [sampled(each, trace=n + 1) for n, each in enumerate(log(*[(NUMBERS, b"b", "add 1")] * 3))]
    results = traced.apply(records, most=1)
    assert {span.context.trace_id for span in traced.deliver(results) if span.name == "decide numbers"} == {1}
    spans = traced.deliver(traced.apply(list(results[0].left)))
    assert sorted(span.context.trace_id for span in spans if span.name == "decide numbers") == [1, 2, 3]


def test_a_batch_that_fails_in_parts_has_one_span() -> None:
    traced = Traced()
    records = log((NUMBERS, b"b", "add 1"), (NUMBERS, b"c", "fail 1"), (NUMBERS, b"d", "add 2"))
    spans = traced.deliver(traced.apply([sampled(each) for each in records]))
    assert [span.name for span in spans].count("process adder") == 1
    assert [span.name for span in spans].count("decide numbers") == 3


def test_a_batch_that_was_not_delivered_ends_as_an_error_with_the_next_one() -> None:
    traced = Traced()
    traced.inner.fails = True
    with pytest.raises(ConnectionError):
        traced.deliver(traced.apply([sampled(RECORDS[0])]))
    assert traced.spans == []
    traced.inner.fails = False
    [failed] = traced.deliver(traced.apply(RECORDS[1:]))
    assert (failed.name, failed.status.status_code) == ("process adder", StatusCode.ERROR)


def test_a_traced_delivery_has_the_guarantee_of_its_own() -> None:
    traced = Traced()
    assert (traced.delivery.is_transactional, traced.delivery.whole_bytes, traced.delivery.is_able) == (
        True,
        1000,
        True,
    )


def test_lines_of_the_log_have_the_ids_of_a_traced_batch_until_it_is_delivered() -> None:
    traced, line = Traced(), logging.makeLogRecord({"msg": "a line", "levelname": "INFO"})

    async def process() -> list[dict[str, str]]:
        found = []
        for records in ([sampled(RECORDS[0])], RECORDS[1:]):
            results = traced.apply(records)
            found.append(json.loads(JsonLines("worker").format(line)))
            await traced.delivery.deliver("adder", [], [], {})
            found.append(json.loads(JsonLines("worker").format(line)))
            assert results
        return found

    during, *others = asyncio.run(process())
    [batch] = [span for span in traced.spans if span.name == "process adder"]
    assert (during["trace_id"], during["span_id"]) == (f"{TRACE:032x}", f"{batch.context.span_id:016x}")
    assert not any("trace_id" in each for each in others)
    assert CURRENT_SPAN.get() is None


def test_a_worker_ends_although_its_collector_does_not_answer() -> None:
    answers, ended = threading.Event(), threading.Event()

    class Waiting(SpanProcessor):
        def shutdown(self) -> None:
            answers.wait()
            ended.set()

    SpanSink(Waiting()).shutdown(within_s=0.0)
    assert not ended.is_set()
    answers.set()
    assert ended.wait(timeout=60)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://127.0.0.1:4317"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(BadConfig, match=r"tracing\.endpoint is .*, expected a URL: http"):
        open_spans(TracingSettings(endpoint=endpoint))


@pytest.mark.process
def test_a_worker_that_sends_no_spans_imports_nothing_of_opentelemetry() -> None:
    program = "import stream_coupons.worker.worker_process, sys; print([n for n in sys.modules if 'telemetry' in n])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
    assert open_spans(TracingSettings()) is None

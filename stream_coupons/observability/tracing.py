"""Spans of the events that are traced, sent by OTLP over HTTP. Imported only where `tracing.endpoint` is set.

An event is traced if its header `traceparent` has the sampled flag; of the events without that header, a share is. Each
gets three spans in the trace of its producer: receive (from its timestamp until its batch is taken), decide and
send. Its batch gets a span of its own, with a link to each producer.
"""

import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
)

from stream_coupons import __version__
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import ORIGIN_HEADER, TRACE_HEADER, Membership, Output, Record, trace_headers
from stream_coupons.observability.log_lines import CURRENT_SPAN
from stream_coupons.observability.log_throttle import throttle
from stream_coupons.runtime.batch import BatchProcessor, Work
from stream_coupons.runtime.delivery import Delivery, Offsets
from stream_coupons.runtime.steps import Result

State = TypeVar("State")

EXPORT_TIMEOUT_S = 5.0
"""Longest request to the collector, and the longest that a worker's end waits for it."""
SAMPLED_ENDS = b"13579bdf"
"""Last digits of a `traceparent` with the sampled flag."""


class SpanSink:
    """Takes spans that have ended. Building them costs a fifth of what starting and ending them by a tracer does.

    Parameters
    ----------
    processor : SpanProcessor
        Exports spans.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor
        self._ids = RandomIdGenerator()
        self._resource = Resource.create({"service.name": "stream-coupons", "service.version": __version__})
        self._scope = InstrumentationScope("stream_coupons", __version__)

    @classmethod
    def to(cls, endpoint: str) -> Self:
        """Return a sink that sends to a collector. While none answers, 2,048 spans wait, and the oldest are dropped."""
        sink = cls(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_S)))
        throttle("opentelemetry")
        return sink

    def new_context(self, parent: SpanContext | None) -> SpanContext:
        """Return the context of a new span: in the trace of its parent, or in a new one."""
        trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=flags)

    def take(self, context: SpanContext, **parts: Any) -> None:
        """Take a span; `parts` are those of `ReadableSpan`."""
        span = ReadableSpan(context=context, resource=self._resource, instrumentation_scope=self._scope, **parts)
        self._processor.on_end(span)

    def flush(self) -> None:
        """Send what waits, now."""
        self._processor.force_flush()

    def shutdown(self, within_s: float = EXPORT_TIMEOUT_S) -> None:
        """Send what waits, and take no more; give up after some seconds, for a collector that does not answer."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(within_s)


def context_of(traceparent: bytes) -> SpanContext:
    """Return the context of the span that a valid header `traceparent` names."""
    _, trace_id, span_id, flags = traceparent.decode().split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


class _Traced(NamedTuple):
    record: Record
    producer: SpanContext | None


class _OpenBatch(NamedTuple):
    """A batch with traced records, from its taking to its delivery; times in nanoseconds."""

    context: SpanContext
    parent: SpanContext | None
    began: int
    decided: int
    records: int
    traced: list[_Traced]


class BatchTraces:
    """Makes the spans of one agent's batches: applied, then delivered, one at a time.

    Parameters
    ----------
    sink : SpanSink
        Takes the spans.
    ratio : float
        Share of the events without a valid `traceparent` that are traced.
    agent, group_id : str
        Names of the agent and of its consumer group.
    """

    def __init__(self, sink: SpanSink, ratio: float, agent: str, group_id: str) -> None:
        self._sink = sink
        self._ratio = ratio
        self._agent = agent
        self._common = {"messaging.system": "kafka", "messaging.consumer.group.name": group_id}
        self._open: _OpenBatch | None = None

    def begin(self, work: Mapping[int, Work]) -> None:
        """Begin the span of a batch if it has a traced record; one that was not delivered ends as an error."""
        self._end(Status(StatusCode.ERROR, "the batch was not delivered"))
        if traced := [each for records, _ in work.values() for each in self._traced(records)]:
            parent = traced[0].producer if len(traced) == 1 else None
            context, count = self._sink.new_context(parent), sum(len(records) for records, _ in work.values())
            self._open = _OpenBatch(context, parent, time.time_ns(), 0, count, traced)
            CURRENT_SPAN.set((format_trace_id(context.trace_id), format_span_id(context.span_id)))

    def _traced(self, records: Sequence[Record]) -> list[_Traced]:
        """Return the records that are to be traced."""
        found = []
        for record in records:
            for name, value in record.headers:
                if name == TRACE_HEADER and value and value[-1] in SAMPLED_ENDS:
                    found += [_Traced(record, context_of(valid)) for _, valid in trace_headers(record)]
                    break
            else:
                if self._ratio and random.random() < self._ratio and record.topic != topics.TICKS.name:
                    found += [] if trace_headers(record) else [_Traced(record, None)]
        return found

    def applied(self, results: Sequence[Result]) -> None:
        """Note when the batch was applied, and leave out the records that are left for the next one."""
        if self._open is not None:
            left = {_place(record) for result in results for record in result.left}
            traced = [each for each in self._open.traced if _place(each.record) not in left]
            self._open = self._open._replace(decided=time.time_ns(), traced=traced)

    def delivered(self, outputs: Sequence[Output], began: int) -> None:
        """Make the spans of the traced records of the batch, whose delivery began at that time in nanoseconds."""
        if self._open is not None:
            sending, sent = (began, time.time_ns()), _topics_by_origin(outputs)
            for each in self._open.traced:
                self._report(each, self._open, sending, sent)
            self._end(Status(StatusCode.UNSET))

    def _report(
        self, traced: _Traced, batch: _OpenBatch, sending: tuple[int, int], sent: Mapping[bytes, list[str]]
    ) -> None:
        """Make the spans of one record: below its producer's, or else below the first of them."""
        record, parent = traced
        appended = record.timestamp_ms * 1_000_000 if record.timestamp_ms >= 0 else batch.began
        common = {
            **self._common,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
        }
        spans = [
            (SpanKind.CLIENT, "receive", record.topic, min(appended, batch.began), batch.began),
            (SpanKind.CONSUMER, "decide", record.topic, batch.began, batch.decided),
        ]
        if names := sent.get(b"%s:%d:%d" % (record.topic.encode(), record.partition, record.offset)):
            issue = topics.ISSUES.name
            spans.append((SpanKind.PRODUCER, "send", issue if issue in names else names[0], *sending))
        links = (Link(batch.context),)
        for kind, operation, topic, start, end in spans:
            context = self._sink.new_context(parent)
            self._sink.take(
                context,
                name=f"{operation} {topic}",
                parent=parent,
                kind=kind,
                attributes={**common, "messaging.operation.name": operation, "messaging.destination.name": topic},
                links=links,
                start_time=start,
                end_time=end,
            )
            parent = parent or context

    def _end(self, status: Status) -> None:
        """End the span of the batch, with links to the producers of its traced records."""
        if (batch := self._open) is not None:
            self._open = None
            CURRENT_SPAN.set(None)
            self._sink.take(
                batch.context,
                name=f"process {self._agent}",
                parent=batch.parent,
                kind=SpanKind.CONSUMER,
                attributes={**self._common, "messaging.batch.message_count": batch.records},
                links=[Link(each.producer) for each in batch.traced if each.producer is not None],
                start_time=batch.began,
                end_time=time.time_ns(),
                status=status,
            )


def _place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _topics_by_origin(outputs: Sequence[Output]) -> dict[bytes, list[str]]:
    """Return the topics of a batch's outputs by topic:partition:offset of their input."""
    found: dict[bytes, list[str]] = {}
    for output in outputs:
        for name, value in output.headers:
            if name == ORIGIN_HEADER:
                found.setdefault(value.rpartition(b":")[0], []).append(output.topic)
    return found


class TracedBatches(BatchProcessor[State]):
    """Applies batches as its base does, and has `traces` note them.

    Parameters
    ----------
    traces : BatchTraces
        Of the agent.
    parts
        Parameters of the base.
    """

    def __init__(self, traces: BatchTraces, *parts: Any, **named_parts: Any) -> None:
        super().__init__(*parts, **named_parts)
        self._traces = traces
        self._is_within = False

    def apply_all(self, work: Mapping[int, Work], most: int = sys.maxsize) -> list[Result]:
        """Apply records of several partitions. What is applied again in parts belongs to the same span."""
        if self._is_within:
            return super().apply_all(work, most)
        self._traces.begin(work)
        self._is_within = True
        try:
            results = super().apply_all(work, most)
        finally:
            self._is_within = False
        self._traces.applied(results)
        return results


class TracedDelivery:
    """Delivers as another delivery does, and has `traces` note it.

    Parameters
    ----------
    delivery : Delivery
        Delivers.
    traces : BatchTraces
        Of the only agent that delivers with it.
    """

    def __init__(self, delivery: Delivery, traces: BatchTraces) -> None:
        self._delivery = delivery
        self._traces = traces
        self.is_transactional = delivery.is_transactional
        self.whole_bytes = delivery.whole_bytes

    @property
    def is_able(self) -> bool:
        """True if recent deliveries have succeeded."""
        return self._delivery.is_able

    async def join(self, agent: str, membership: Membership) -> None:
        """Deliver for an agent as this member of its group from now on."""
        await self._delivery.join(agent, membership)

    async def deliver(self, agent: str, changes: Sequence[Output], outputs: Sequence[Output], offsets: Offsets) -> None:
        """Deliver, then end the spans of the batch."""
        began = time.time_ns()
        await self._delivery.deliver(agent, changes, outputs, offsets)
        self._traces.delivered(outputs, began)

"""One trace from a producer's span to a consumer's, as a collector received it: in text, and as a picture.

    python -m benchmarks.trace_coupon
    python -m benchmarks.trace_coupon --picture docs/images/trace.svg

A producer sends a browse event with the context of its span, a worker in a process of its own decides, and a consumer
that reads coupon-issues goes on with the trace. The broker is the embedded one. Of some coupons, one after the other,
the one with the median time is drawn.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from benchmarks.collector import CollectedSpan, Collector
from loopback_kafka import BrokerProcess, EmbeddedBroker
from stream_coupons import testing
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.settings import Settings, TracingSettings, WorkerSettings
from stream_coupons_lab.demo.system import LocalSystem

PROPAGATOR = TraceContextTextMapPropagator()
SPANS = {
    "send browse-events",
    "receive browse-events",
    "decide browse-events",
    "send coupon-issues",
    "deliver a coupon",
}
"""Names of the spans that a trace has at least."""
FIRST_EVENTS = 20
"""Events before the traced one: a worker's first decisions take longer."""
EXPORT_EVERY_MS = 200
WIDTH, NAMES, ROW, TOP = 900, 300, 30, 44
"""Sizes in the picture, in pixels: total width, width of the names, height of a row, space above the first row."""
COLOURS = {"shop": "#3b6fb6", "stream-coupons": "#c2571a", "notifications": "#2e7d4f"}
POLICY = PolicyRules(
    exploration_ratio=0.0,
    control_ratio=0.0,
    holdout_ratio=0.0,
    cooldown_s=0.0,
    min_value_minor=-1000.0,
    new_shopper_ratio=1.0,
    triggers=frozenset({"browse"}),
)


def traced(settings: Settings, endpoint: str) -> Settings:
    """Return settings whose workers send spans to an endpoint."""
    return msgspec.structs.replace(settings, tracing=TracingSettings(endpoint=endpoint))


def new_system(broker: BrokerProcess, settings: Settings, folder: Path) -> LocalSystem:
    """Return a system of one worker that sends its spans at once, with its catalogue published."""
    system = LocalSystem(broker, settings, folder, workers=1)
    system.environment["worker-1"] = {"OTEL_BSP_SCHEDULE_DELAY": str(EXPORT_EVERY_MS)}
    system.prepare([testing.coupon("tea", items=["A"], stock=1000, not_while_held="none")])
    return system


def tracer_of(service: str, endpoint: str) -> TracerProvider:
    """Return a provider of a service that sends each span as it ends."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider


def follow_a_coupon(system: LocalSystem, collector: Collector, user_id: str = "ann") -> list[CollectedSpan]:
    """Send an event within a span, go on with its trace where the coupon is read, and return all spans of the trace.

    Raises
    ------
    TimeoutError
        If no coupon, or not all of its spans came within a minute.
    """
    shop, consumer = tracer_of("shop", collector.endpoint), tracer_of("notifications", collector.endpoint)
    decode = Decoder(topics.ISSUES)
    with (
        system.publisher(linger_ms=0) as publisher,
        Reader(system.connection, [topics.ISSUES.name], from_beginning=False) as reader,
    ):
        for number in range(FIRST_EVENTS):
            publisher.send(topics.BROWSE, testing.browse(f"{user_id}-{number}", testing.item("A"), at=time.time()))
            publisher.flush()
        with shop.get_tracer("shop").start_as_current_span("send browse-events", kind=SpanKind.PRODUCER) as span:
            headers: dict[str, str] = {}
            PROPAGATOR.inject(headers, set_span_in_context(span))
            event = testing.browse(user_id, testing.item("A"), at=time.time())
            carried = [(name, value.encode()) for name, value in headers.items()]
            publisher.send_bytes(topics.BROWSE, user_id.encode(), encode(event), headers=carried)
            publisher.flush()
        deadline = time.monotonic() + 60.0
        while not (found := [record for record in reader.poll() if record.key == user_id.encode()]):
            if time.monotonic() > deadline:
                raise TimeoutError("no coupon came within a minute")
        read = {name: value.decode() for name, value in found[0].headers}
        with consumer.get_tracer("notifications").start_as_current_span(
            "deliver a coupon", PROPAGATOR.extract(read), SpanKind.CONSUMER
        ) as delivering:
            delivering.set_attribute("coupon", decode(found[0].value, limit=2**20).coupon_id)
    trace_id = f"{span.get_span_context().trace_id:032x}"
    collector.wait(lambda spans: {each.name for each in spans if each.trace_id == trace_id} >= SPANS)
    shop.shutdown()
    consumer.shutdown()
    return collector.trace(trace_id)


def length_ns(spans: Sequence[CollectedSpan]) -> int:
    """Return the time from the beginning of the first span of a trace to the end of the last."""
    return max(span.ended for span in spans) - spans[0].began


def in_text(spans: Sequence[CollectedSpan], columns: int = 60) -> str:
    """Return a trace as lines of text: service, name, beginning and length in milliseconds, and a bar."""
    began, per_ns = spans[0].began, columns / length_ns(spans)
    lines = []
    for span in spans:
        start, length = round((span.began - began) * per_ns), max(round((span.ended - span.began) * per_ns), 1)
        times = f"{_ms(span.began - began):7.1f} {_ms(span.ended - span.began):7.1f}"
        lines.append(f"{span.service:15} {span.name:22} {times} |{' ' * start}{'#' * length}")
    return "\n".join(lines)


def in_svg(spans: Sequence[CollectedSpan]) -> str:
    """Return a trace as a picture: a row a span, coloured by its service."""
    began = spans[0].began
    total = length_ns(spans)
    scale, height = (WIDTH - NAMES - 90) / total, TOP + ROW * len(spans) + 10
    rows = []
    for number, span in enumerate(spans):
        x, y = NAMES + (span.began - began) * scale, TOP + ROW * number
        width = max((span.ended - span.began) * scale, 2.0)
        colour = COLOURS.get(span.service, "#666")
        rows.append(
            f'<text x="12" y="{y + 14}">{escape(span.name)} <tspan fill="#666">{escape(span.service)}</tspan></text>'
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" rx="2" fill="{colour}"/>'
            f'<text x="{x + width + 6:.1f}" y="{y + 14}" fill="#666">{_ms(span.ended - span.began):.1f} ms</text>'
        )
    title = f"{_ms(total):.1f} ms from the producer's span to the end of the consumer's, trace {spans[0].trace_id}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13"><title>{title}</title>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/><text x="12" y="24" font-weight="600">{title}</text>'
        + "".join(rows)
        + "</svg>\n"
    )


def _ms(nanoseconds: int) -> float:
    return nanoseconds / 1e6


def main() -> None:
    """Follow a coupon, print its trace, and write its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="file to write, such as docs/images/trace.svg")
    parser.add_argument("--coupons", type=int, default=21, help="coupons to follow (default: %(default)s)")
    options = parser.parse_args()
    settings = Settings(worker=WorkerSettings(tick_every_s=0), policy=POLICY)
    with (
        tempfile.TemporaryDirectory() as folder,
        Collector() as collector,
        EmbeddedBroker(Path(folder)) as broker,
        new_system(broker, traced(settings, collector.endpoint), Path(folder) / "workers") as system,
    ):
        system.wait_ready()
        traces = [follow_a_coupon(system, collector, f"shopper-{number}") for number in range(options.coupons)]
    spans = sorted(traces, key=length_ns)[len(traces) // 2]
    print(in_text(spans))
    if options.picture:
        options.picture.write_text(in_svg(spans), encoding="utf-8")


if __name__ == "__main__":
    main()

"""A collector of OpenTelemetry on a free port of the loopback, which keeps the spans that it receives by OTLP."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATH = "/v1/traces"


class CollectedSpan(NamedTuple):
    """A span as it was received; ids in hexadecimal digits, times in nanoseconds since the epoch.

    Attributes
    ----------
    links : tuple of (str, str)
        Ids of trace and span.
    """

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, str]


class Collector:
    """Collects spans while it is entered."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self.spans: list[CollectedSpan] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(body)
                self.send_response(200 if self.path == PATH else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_parts: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}{PATH}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        found = [
            CollectedSpan(
                {one.key: one.value.string_value for one in of_resource.resource.attributes}["service.name"],
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes},
            )
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        with self._arrived:
            self.spans += found
            self._arrived.notify_all()

    def wait(self, holds: Callable[[list[CollectedSpan]], bool], within_s: float = 60.0) -> None:
        """Wait until the spans satisfy a condition.

        Raises
        ------
        TimeoutError
            With the names of the spans that came.
        """
        deadline = time.monotonic() + within_s
        with self._arrived:
            while not holds(self.spans):
                if not self._arrived.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"within {within_s:.0f} s only {[span.name for span in self.spans]} came")

    def trace(self, trace_id: str) -> list[CollectedSpan]:
        """Return the spans of a trace by their beginning."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.began)

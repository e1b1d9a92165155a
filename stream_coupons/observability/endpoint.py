"""The HTTP port of a process: `/metrics` for Prometheus, and paths such as `/ready` for a supervisor's probes.

It keeps one thread and a bounded number of connections, whatever clients do. A client that sends no request, sends it
slowly, or does not read the answer is disconnected after `REQUEST_WITHIN_S`, or as soon as newer clients need the room.
"""

import asyncio
import errno
import io
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException, parse_headers
from typing import Any, Final

from prometheus_client import CollectorRegistry, make_wsgi_app

from stream_coupons.core.errors import BadConfig

MAX_CONNECTIONS: Final = 64
"""Connections kept open; a further one closes the oldest, so that a scraper always gets in."""
WAITING: Final = 1024
"""Connections that wait to be accepted; a scraper beyond them would try again after a second."""
MAX_REQUEST_BYTES: Final = 8192
"""Bytes of a request line and its headers; Prometheus sends some 300."""
REQUEST_WITHIN_S: Final = 5.0
"""Seconds from a connection's acceptance until its answer has been read."""

Probe = Callable[[], Sequence[str]]
"""Returns what is wrong; nothing if all is well."""


class Endpoint:
    """An HTTP server in a thread of its own, which listens from its construction on.

    Parameters
    ----------
    port : int
        0 for a free one.
    probes : mapping
        By path, such as "/ready": 200 while the probe returns nothing, else 503 with a line for each of its reasons.

    Attributes
    ----------
    port : int
        The port it listens on.

    Raises
    ------
    BadConfig
        If it cannot listen there.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        probes: Mapping[str, Probe],
    ) -> None:
        self._metrics: Any = make_wsgi_app(registry)
        self._probes = probes
        self._open: dict[asyncio.StreamWriter, None] = {}
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._socket = socket.create_server((str(address[0]), port), family=family)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BadConfig(
                    f"worker.metrics_port: {port} is in use: each process on a machine needs its own (--metrics-port)"
                ) from None
            raise BadConfig(f"worker.metrics_host: cannot listen on {host}:{port}: {error.strerror}") from None
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="endpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        async with await asyncio.start_server(self._serve, sock=self._socket, limit=MAX_REQUEST_BYTES):
            self._socket.listen(WAITING)  # asyncio's own number is also how many it accepts before it closes any
            await self._closed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                writer.write(await self._response(reader))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass  # the client's fault, which concerns nobody else
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = io.BytesIO(await reader.readuntil(b"\r\n\r\n"))
            method, target, _ = head.readline().decode("ascii").split()
            fields = parse_headers(head)
        except asyncio.LimitOverrunError:
            return _text("431 Request Header Fields Too Large", f"at most {MAX_REQUEST_BYTES} bytes are read")
        except (ValueError, HTTPException):
            return _text("400 Bad Request", "this is no HTTP request")
        path, _, query = target.partition("?")
        if method not in ("GET", "HEAD"):
            response = _text("405 Method Not Allowed", "only GET and HEAD are answered")
        elif path == "/metrics":
            response = self._scrape(query, fields.get("Accept", ""), fields.get("Accept-Encoding", ""))
        elif path not in self._probes:
            response = _text("404 Not Found", f"the paths are {', '.join(['/metrics', *self._probes])}")
        elif reasons := self._probes[path]():
            response = _text("503 Service Unavailable", *(f"not {path[1:]}: {reason}" for reason in reasons))
        else:
            response = _text("200 OK", path[1:])
        return response if method == "GET" else response[: response.index(b"\r\n\r\n") + 4]

    def _scrape(self, query: str, accept: str, encoding: str) -> bytes:
        head: list[Any] = []
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/metrics",
            "QUERY_STRING": query,
            "HTTP_ACCEPT": accept,
            "HTTP_ACCEPT_ENCODING": encoding,
        }
        body = b"".join(self._metrics(environ, lambda *answer: head.extend(answer)))
        status, fields = head
        return _http(status, body, fields)


def _text(status: str, *lines: str) -> bytes:
    body = "".join(f"{line}\n" for line in lines).encode()
    return _http(status, body, [("Content-Type", "text/plain; charset=utf-8")])


def _http(status: str, body: bytes, fields: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode() + body

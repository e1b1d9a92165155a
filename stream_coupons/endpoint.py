"""The port of a worker: `/metrics` for Prometheus, `/ready` for whoever starts workers and watches over them."""

import errno
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from stream_coupons.core.errors import BadConfig


class Endpoint:
    """Listens from its making on, and answers each request in a thread of its own.

    Parameters
    ----------
    port : int
        0 for one that is free.
    why_not_ready : callable
        What is missing for being ready; nothing if it is.

    Raises
    ------
    BadConfig
        If it cannot listen there.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, why_not_ready: Callable[[], Sequence[str]]
    ) -> None:
        self._metrics: Any = make_wsgi_app(registry)
        self._why_not_ready = why_not_ready
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            server = type("Server", (ThreadingWSGIServer,), {"address_family": family})
            self._server: WSGIServer = make_server(str(address[0]), port, self._answer, server, _Silent)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BadConfig(
                    f"worker.metrics_port: {port} is in use: each worker on a machine needs its own (--metrics-port)"
                ) from None
            raise BadConfig(f"worker.metrics_host: cannot listen on {host}:{port}: {error.strerror}") from None
        self.port: int = self._server.server_port
        self._serving = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)
        self._serving.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        if path != "/ready":
            status, lines = "404 Not Found", ["there are /metrics and /ready"]
        elif reasons := self._why_not_ready():
            status, lines = "503 Service Unavailable", [f"not ready: {why}" for why in reasons]
        else:
            status, lines = "200 OK", ["ready"]
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return ["".join(f"{line}\n" for line in lines).encode()]


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """No line for each request."""

"""A token endpoint on loopback, for clients by OAUTHBEARER."""

import json
import threading
from base64 import b64decode, urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote_plus

CLIENT, SECRET = "engine:1", "s3cret % ß"


def unsecured_jws(subject: str, expires_at: float) -> str:
    """Return a token as Apache Kafka's handler of unsecured tokens accepts it."""
    claims = {"sub": subject, "iat": expires_at - 3600, "exp": expires_at}
    parts = (urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims))
    return ".".join(parts) + "."


class TokenEndpoint:
    """Grants tokens to one client; use it as a context manager.

    Parameters
    ----------
    grant : callable
        Returns the status and the JSON of the next answer to the client, by the number of earlier ones.
    context : ssl.SSLContext, optional
        For https.

    Attributes
    ----------
    forms : list of dict
        The forms of all requests.
    changed : threading.Condition
        Notified at each request.
    """

    def __init__(self, grant: Any, context: SSLContext | None = None) -> None:
        self.grant = grant
        self.forms: list[dict[str, list[str]]] = []
        self.changed = threading.Condition()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                login = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                is_client = [unquote_plus(part) for part in login.split(":")] == [CLIENT, SECRET]
                with endpoint.changed:
                    status, body = endpoint.grant(len(endpoint.forms)) if is_client else (401, REFUSAL)
                    endpoint.forms.append(form)
                    endpoint.changed.notify_all()
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


REFUSAL = {"error": "invalid_client", "error_description": f"{SECRET} is wrong"}

"""Protection of the console: known hosts and origins, sign-in by token, and headers that keep pages to themselves."""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_coupons_console.api.problems import PREFIX, problem

COOKIE = "stream_coupons_console"
CSRF = "csrf"
"""Name of the form field that proves that a form came from this console."""
SESSION_S = 12 * 3600.0
MAX_SESSIONS = 1000
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
OPEN = ("/static/", "/sign-in")
"""Paths that need no token where all others do."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Sessions:
    """Sessions of people who have given the token.

    Parameters
    ----------
    token : bytes or None
        What a person must know to change anything; None if nothing can be changed.
    """

    def __init__(self, token: bytes | None) -> None:
        self._token = None if token is None else token.hex()
        self._key = secrets.token_bytes(32)
        self._began: OrderedDict[str, float] = OrderedDict()

    @property
    def can_write(self) -> bool:
        """True if the console was started with a token."""
        return self._token is not None

    def begin(self, token: str) -> str | None:
        """Return the id of a new session; None if the token is wrong."""
        if not self.is_token(token):
            return None
        session = secrets.token_urlsafe(32)
        self._began[session] = time.monotonic()
        if len(self._began) > MAX_SESSIONS:
            self._began.popitem(last=False)
        return session

    def is_token(self, token: str) -> bool:
        """Return True if a text is the token."""
        return self._token is not None and hmac.compare_digest(token.strip().lower().encode(), self._token.encode())

    def end(self, session: str) -> None:
        """End a session."""
        self._began.pop(session, None)

    def is_open(self, session: str) -> bool:
        """Return True if a session was begun less than `SESSION_S` ago, and was not ended."""
        began = self._began.get(session)
        return began is not None and time.monotonic() - began < SESSION_S

    def csrf(self, session: str) -> str:
        """Return the value that the forms of a session carry."""
        return hmac.new(self._key, session.encode(), sha256).hexdigest()


def is_signed_in(request: Request) -> bool:
    """Return True if the request comes from a person or client who has given the token."""
    sessions: Sessions = request.app.state.sessions
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return sessions.is_token(token)
    return sessions.is_open(request.cookies.get(COOKIE, ""))


def require_token(request: Request, csrf: str | None = None) -> None:
    """Refuse a request that may change nothing.

    Parameters
    ----------
    csrf : str, optional
        The field `CSRF` of a form; a request with the token in its header needs none.

    Raises
    ------
    HTTPException
    """
    sessions: Sessions = request.app.state.sessions
    if not sessions.can_write:
        raise HTTPException(403, "this console is read-only: start it with --token-file to allow changes")
    if not is_signed_in(request):
        raise HTTPException(401, "this needs the console's token: sign in, or send it as Authorization: Bearer TOKEN")
    if "authorization" in request.headers:
        return
    expected = sessions.csrf(request.cookies.get(COOKIE, ""))
    if not hmac.compare_digest((csrf or "").encode(), expected.encode()):
        raise HTTPException(403, "the form does not come from this session of the console: open the page anew")


class Guard:
    """Middleware that refuses foreign hosts and origins, and adds headers that keep pages to themselves.

    A page of another site may let a browser send requests here: its Origin gives it away. A name of another site may
    resolve to this address: its Host does.

    Parameters
    ----------
    hosts : collection of str
        Values of Host that are this console's, such as "127.0.0.1:9470".
    sessions : Sessions
        Sessions.
    needs_token : bool
        True if reading needs the token, too.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], sessions: Sessions, *, needs_token: bool) -> None:
        self._app, self._hosts, self._sessions, self._needs_token = app, hosts, sessions, needs_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        app = self._app if refusal is None else refusal
        await app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            known = ", ".join(sorted(self._hosts))
            return _refused(scope, 421, f"unknown host: this console is {known}; see --allow-host")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            return _refused(scope, 403, "foreign origin: requests of other sites are refused")
        if scope["method"] not in SAFE and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _refused(scope, 403, "foreign site: requests of other sites are refused")
        if self._needs_token and not scope["path"].startswith(OPEN):
            request = Request(scope)
            if not is_signed_in(request):
                if "text/html" in headers.get("accept", ""):
                    return RedirectResponse(f"/sign-in?then={scope['path']}", 303)
                return _refused(scope, 401, "this needs the console's token: Authorization: Bearer TOKEN")
        return None


def _refused(scope: Scope, status: int, detail: str) -> ASGIApp:
    is_of_api = scope["path"].startswith(f"{PREFIX}/")
    return problem(status, detail) if is_of_api else PlainTextResponse(detail, status)

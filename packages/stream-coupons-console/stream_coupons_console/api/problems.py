"""Errors of the HTTP API: problem details of RFC 9457."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stream_coupons.core.errors import BadMessage, BrokerAway, StreamCouponsError
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.clients import NotAppended
from stream_coupons.ops.explain.from_topics import Unknown

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
PREFIX = "/v1"
"""Prefix of the paths of the API."""
OF_BYTES: Mapping[str, int] = {Rejection.NOT_JSON: 400, Rejection.TOO_LARGE: 413}
"""Status of events that workers refuse, by reason; 422 for all other reasons."""


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    """Kind of the problem: that of its status."""
    title: str
    """Name of the status."""
    status: int
    """HTTP status."""
    code: str
    """Code for programs: the reason that a dead letter of the event would have, or the name of the status."""
    detail: str
    """Fault, and the expected value."""
    remedy: str | None = None
    """Remedy, if `detail` states none."""


class Conflict(StreamCouponsError):
    """The state of a campaign does not allow a verb."""


class NotTaken(StreamCouponsError):
    """Kafka did not take an event in time, or too many requests wait."""


def problem(status: int, detail: str, code: str = "", remedy: str | None = None) -> Response:
    """Return the response to a request that failed."""
    known = HTTPStatus(status)
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": str(RETRY_AFTER_S)}}.get(status)
    found = Problem(title=known.phrase, status=status, code=code or known.name.lower(), detail=detail, remedy=remedy)
    return Response(msgspec.json.encode(found), status, headers, MEDIA_TYPE)


async def refuse(_: Request, error: Exception) -> Response:
    """Return the response to an error, by its type."""
    match error:
        case HTTPException():
            found = problem(error.status_code, error.detail)
            found.headers.update(error.headers or {})
            return found
        case BadMessage():
            return problem(OF_BYTES.get(error.reason, 422), error.detail, error.reason)
        case BrokerAway() | NotAppended() | NotTaken():
            again = "send the same request again: an event counts once for its event_id"
            return problem(503, str(error), remedy=again)
        case Unknown():
            return problem(404, str(error))
        case Conflict():
            return problem(409, str(error))
    return problem(400, str(error))

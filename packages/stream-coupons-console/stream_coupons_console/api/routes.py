"""Operations of the HTTP API: each with its types, from which routes and the OpenAPI document are made."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.campaign_changes import CampaignVerb
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.fields import Id, Ratio
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.codec import MAX_EVENT_BYTES, with_fields
from stream_coupons.ops.campaign_states import CampaignState
from stream_coupons.ops.campaign_verbs import REASON_CHARACTERS
from stream_coupons.ops.explain.explanation import IssueExplanation
from stream_coupons.ops.explain.from_topics import Unknown
from stream_coupons.ops.results import By
from stream_coupons_console.api.desk import DecisionDesk, DecisionReply, identity_of
from stream_coupons_console.api.views import (
    CampaignChanged,
    CampaignDetails,
    ResultView,
    ShopperCoupons,
    SystemView,
)
from stream_coupons_console.web.security import require_token

MAX_WITHIN_MS = 10_000
T = TypeVar("T", bound=Struct)


class Decision(Struct, frozen=True, kw_only=True):
    """Result of an event."""

    decision_id: str
    """Identifies the decision: `GET /v1/decisions/{decision_id}` returns it again."""
    event_id: str
    """The event."""
    user_id: str
    """The shopper."""
    issue: CouponIssue | None
    """The coupon-issue as it was sent; null if no coupon was given."""
    result: str
    """`given`, or the reason why no coupon was given."""
    because: str
    """The result in words."""


class PendingDecision(Struct, frozen=True, kw_only=True):
    """An event whose result was not known in time: it will be at the path of the header Location."""

    decision_id: str
    """Identifies the decision."""
    event_id: str
    """The event."""
    user_id: str
    """The shopper."""


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class DecideQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a decision."""

    within_ms: Annotated[int, Meta(ge=0, le=MAX_WITHIN_MS)] = 500
    """Longest wait for the result, milliseconds."""


class CouponsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a shopper's coupons."""

    older: bool = False
    """True to read the topic coupon-issues, too, which keeps more than the console; it takes seconds."""


class ResultsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of results."""

    by: By = "coupon"
    """One row for each."""
    since: str = ""
    """Coupons given from this day on: an ISO 8601 time, UTC epoch seconds, or 7d for a week ago."""
    until: str = ""
    """Coupons given up to this day."""
    campaign: str = ""
    """Coupons of this campaign alone."""
    coupon: str = ""
    """This coupon alone."""


class VerbRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a verb."""

    reason: Annotated[str, Meta(max_length=REASON_CHARACTERS)] = ""
    """Why; it is kept in the history."""
    ratio: Ratio | None = None
    """Share of the shoppers to launch to; without it all."""


class _Kind(Struct):
    kind: Literal["browse", "cart", "order"]


class Operation(NamedTuple):
    """An operation of the API.

    Attributes
    ----------
    answers : dict of int to type
        Types of the responses by status, those of problems left out.
    problems : tuple of int
        Statuses of the problems that it may have beside those of all operations.
    query : type
        Parameters; a struct with defaults.
    body : type or None
        Body of the request. `ShopEvent` is read by the handler.
    """

    method: str
    path: str
    handler: Callable[[Request, Any], Awaitable[Any]]
    answers: Mapping[int, Any]
    problems: tuple[int, ...] = ()
    query: type[Struct] = NoQuery
    body: Any = None

    @property
    def changes(self) -> bool:
        """True if it changes something, and needs the token."""
        return self.method == "POST"


async def decide(request: Request, query: DecideQuery) -> Response:
    """Send an event of the shop, and return the coupon that it leads to, or why there is none.

    `event_id` makes it idempotent: the same event again has the same result, and nothing is given twice.
    """
    state, body = request.app.state, await body_of(request)
    if not state.follower.is_caught_up:
        raise HTTPException(503, "the console reads the topics: it does not yet know what was decided before")
    desk: DecisionDesk = state.desk
    kind = converted(body, _Kind).kind
    value = with_fields(body, {}, ("kind",))
    event = desk.decode(kind, value)
    found = await desk.decide(event, value, query.within_ms / 1000.0)
    if isinstance(found, DecisionReply):
        return _reply(found)
    identity = identity_of(event)
    pending = PendingDecision(decision_id=identity, event_id=event.event_id, user_id=event.user_id)
    path = request.url_for("decision", decision_id=identity).path
    return Response(msgspec.json.encode(pending), 202, {"location": path}, JSON)


async def decision(request: Request, _: NoQuery) -> Response:
    """Return the result of an event that was sent before."""
    decision_id = request.path_params["decision_id"]
    found = request.app.state.desk.known(decision_id)
    if found is None:
        raise Unknown(f"decision {decision_id!r} is not known: it is not made yet, or was long ago")
    return _reply(found)


def _reply(found: DecisionReply) -> Response:
    about = {
        "decision_id": found.decision_id,
        "event_id": found.trigger_id,
        "user_id": found.user_id,
        "issue": None if found.issue is None else msgspec.Raw(found.issue),
        "result": found.result,
        "because": found.because,
    }
    return Response(msgspec.json.encode(about), media_type=JSON)


async def coupons(request: Request, query: CouponsQuery) -> ShopperCoupons:
    """Return the open and recent coupons of a shopper, the newest first."""
    return await _view(request).coupons_of(request.path_params["user_id"], older=query.older)


async def explain(request: Request, _: NoQuery) -> IssueExplanation:
    """Return why a coupon was given, and why the others were not."""
    return await _view(request).explain_issue(request.path_params["issue_id"])


async def list_campaigns(request: Request, _: NoQuery) -> list[CampaignState]:
    """Return all campaigns with what they have spent, those that run first."""
    return _view(request).campaigns()


async def campaign(request: Request, _: NoQuery) -> CampaignDetails:
    """Return a campaign, what may be done with it, and its history."""
    return _view(request).campaign(request.path_params["campaign_id"])


async def change_campaign(request: Request, _: NoQuery) -> CampaignChanged:
    """Carry out a verb on a campaign, such as pause, hold, resume or end."""
    wanted = converted(await body_of(request) or b"{}", VerbRequest)
    campaign_id, verb = request.path_params["campaign_id"], request.path_params["verb"]
    return await _view(request).change_campaign(campaign_id, verb, wanted.reason, wanted.ratio)


async def results(request: Request, query: ResultsQuery) -> list[Any]:
    """Return the results of coupons by day, coupon or campaign, as `stream-coupons results --json`."""
    return _view(request).results(*msgspec.structs.astuple(query))


OPERATIONS = (
    Operation("POST", "/decide", decide, {200: Decision, 202: PendingDecision}, (413, 422, 503), DecideQuery, dict),
    Operation("GET", "/decisions/{decision_id}", decision, {200: Decision}, (404,)),
    Operation("GET", "/shoppers/{user_id}/coupons", coupons, {200: ShopperCoupons}, (404, 503), CouponsQuery),
    Operation("GET", "/explain/{issue_id}", explain, {200: IssueExplanation}, (404, 503)),
    Operation("GET", "/campaigns", list_campaigns, {200: list[CampaignState]}),
    Operation("GET", "/campaigns/{campaign_id}", campaign, {200: CampaignDetails}, (404,)),
    Operation(
        "POST", "/campaigns/{campaign_id}/{verb}", change_campaign, {200: CampaignChanged}, (404, 409, 413, 422, 503),
        body=VerbRequest,
    ),
    Operation("GET", "/results", results, {200: list[ResultView]}, query=ResultsQuery),  # type: ignore[valid-type]
)  # fmt: skip
JSON = "application/json"
PATH_TYPES: Mapping[str, Any] = {"verb": CampaignVerb}
"""Types of the variables of paths; ids if not named."""


def path_type(name: str) -> Any:
    """Return the type of a variable of a path."""
    return PATH_TYPES.get(name, Id)


def _view(request: Request) -> SystemView:
    view: SystemView = request.app.state.view
    return view


async def body_of(request: Request) -> bytes:
    """Return the body of a request.

    Raises
    ------
    BadMessage
        If it is too long.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_EVENT_BYTES:
            raise BadMessage(Rejection.TOO_LARGE, f"the body has more than {MAX_EVENT_BYTES} bytes")
    return bytes(body)


def converted(body: bytes, into: type[T]) -> T:
    """Return a body as its type.

    Raises
    ------
    BadMessage
    """
    try:
        return msgspec.json.decode(body, type=into)
    except msgspec.ValidationError as error:
        raise BadMessage(Rejection.INVALID, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(Rejection.NOT_JSON, f"{error}, expected a JSON object") from None


def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of an operation: it requires the token for a change, and checks path and query."""

    async def answer(request: Request) -> Response:
        if operation.changes:
            require_token(request)
        for name, value in request.path_params.items():
            try:
                msgspec.convert(value, path_type(name))
            except msgspec.ValidationError as error:
                raise Unknown(f"{name} {value!r:.250}: {error}") from None
        given = request.query_params.multi_items()
        if len(given) != len(dict(given)):
            raise HTTPException(400, "a query parameter is repeated, expected each at most once")
        try:
            query = msgspec.convert(dict(given), operation.query, strict=False)
        except msgspec.ValidationError as error:
            raise HTTPException(400, f"query parameters: {error}") from None
        found = await operation.handler(request, query)
        return found if isinstance(found, Response) else Response(msgspec.json.encode(found), media_type=JSON)

    return answer

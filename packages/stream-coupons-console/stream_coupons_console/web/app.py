"""The console's application: its routes, in the order of the navigation."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.settings import Settings
from stream_coupons_console.api import problems
from stream_coupons_console.api.application import create_api
from stream_coupons_console.api.desk import DecisionDesk
from stream_coupons_console.api.problems import PREFIX
from stream_coupons_console.api.views import SystemView
from stream_coupons_console.following import AWAY_AFTER_S, TopicFollower
from stream_coupons_console.index import Index
from stream_coupons_console.web import (
    campaigns,
    coupons,
    dead_letters,
    entry_forms,
    lift,
    models,
    money,
    now,
    shoppers,
    what_if,
)
from stream_coupons_console.web.forms import fields
from stream_coupons_console.web.now import StatusReader
from stream_coupons_console.web.render import environment, page
from stream_coupons_console.web.security import COOKIE, SESSION_S, Guard, Sessions

NEWS_EVERY_S = 1.0
"""Shortest time between two notices of change to one page."""
SILENCE_S = 15.0
"""A connection without changes carries a comment as often as this."""
MAX_VIEWERS = 64


def create_app(
    settings: Settings,
    sessions: Sessions,
    hosts: Collection[str],
    *,
    needs_token: bool = False,
    options: Sequence[str] = (),
) -> Starlette:
    """Return the application, which follows the topics while it runs.

    Parameters
    ----------
    settings : Settings
        Of the workers.
    sessions : Sessions
        Sessions of people who may change something.
    hosts : collection of str
        Values of Host that are this console's.
    needs_token : bool
        True if reading needs the token, too.
    options : sequence of str
        Options of the command line that name these settings.
    """
    index, api = Index(settings), create_api()
    desk = DecisionDesk(settings, index)
    follower = TopicFollower(settings.kafka, settings.kafka.partitions, desk.take)

    @asynccontextmanager
    async def following(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(each) for each in (follower.run(), follower.report())]
        try:
            yield
        finally:
            await app.state.what_if.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await desk.close()

    app = Starlette(
        routes=[
            *money.ROUTES,
            *entry_forms.ROUTES,
            *campaigns.ROUTES,
            *coupons.ROUTES,
            *what_if.ROUTES,
            *now.ROUTES,
            *shoppers.ROUTES,
            *dead_letters.ROUTES,
            *models.ROUTES,
            *lift.ROUTES,
            Route("/sign-in", sign_in, methods=["GET", "POST"]),
            Route("/sign-out", sign_out, methods=["POST"]),
            Route("/live", live),
            Mount(PREFIX, api),
            Mount("/static", StaticFiles(packages=[("stream_coupons_console.web", "static")])),
        ],
        middleware=[
            Middleware(Guard, hosts=hosts, sessions=sessions, needs_token=needs_token),
            Middleware(GZipMiddleware, minimum_size=1000),
        ],
        exception_handlers={HTTPException: refuse, StreamCouponsError: refuse},
        lifespan=following,
    )
    app.state.settings, app.state.sessions = settings, sessions
    app.state.index, app.state.follower = index, follower
    app.state.what_if = what_if.WhatIfRunner(options, index)
    app.state.lift = lift.LiftReader(settings)
    app.state.templates = environment()
    app.state.status, app.state.viewers = StatusReader(settings), 0
    app.state.is_ending = lambda: False
    app.state.desk, app.state.view = desk, SystemView(settings, index, app.state.status)
    api.state = app.state
    return app


async def refuse(request: Request, error: Exception) -> Response:
    """Return the page of an error; below the API's prefix, whose paths have no line ends, a problem."""
    if request.url.path.startswith(f"{PREFIX}/"):
        return await problems.refuse(request, error)
    status, detail = 400, str(error)
    if isinstance(error, HTTPException):
        status, detail = error.status_code, error.detail
    return page(request, "error", status=status, detail=detail, code=status)


async def sign_in(request: Request) -> Response:
    """Ask for the token, and begin a session if it is right."""
    sessions: Sessions = request.app.state.sessions
    then = request.query_params.get("then", "/")
    if not then.startswith("/") or then.startswith("//"):
        then = "/"
    if request.method == "GET":
        return page(request, "sign_in", then=then, is_wrong=False)
    values = await fields(request)
    session = sessions.begin(values.get("token", ""))
    if session is None:
        return page(request, "sign_in", status=401, then=then, is_wrong=True)
    response = RedirectResponse(then, 303)
    response.set_cookie(
        COOKIE, session, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return response


async def sign_out(request: Request) -> Response:
    """End the session."""
    request.app.state.sessions.end(request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/", 303)
    response.delete_cookie(COOKIE)
    return response


async def live(request: Request) -> Response:
    """Return server-sent events, one whenever something has changed."""
    state = request.app.state
    if state.viewers >= MAX_VIEWERS:
        raise HTTPException(503, f"{MAX_VIEWERS} pages are followed already: this one does not update itself")
    index: Index = state.index
    follower: TopicFollower = state.follower

    def shown() -> tuple[int, bool, int]:
        """Return what differs when a page does."""
        return index.revision, follower.is_caught_up, int(follower.contact.silent_s // AWAY_AFTER_S)

    async def events() -> AsyncIterator[str]:
        state.viewers += 1
        seen, silent_s = shown(), 0.0
        try:
            while not state.is_ending():
                await asyncio.sleep(NEWS_EVERY_S)
                silent_s += NEWS_EVERY_S
                if (now := shown()) != seen:
                    seen, silent_s = now, 0.0
                    yield f"data: {index.revision}\n\n"
                elif silent_s >= SILENCE_S:
                    silent_s = 0.0
                    yield ": no change\n\n"
        finally:
            state.viewers -= 1

    return StreamingResponse(events(), media_type="text/event-stream")

"""Tools for MCP clients: the questions of the HTTP API, and verbs on campaigns if they are allowed."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.settings import Settings
from stream_coupons_console.api.views import SystemView
from stream_coupons_console.following import TopicFollower
from stream_coupons_console.index import Index
from stream_coupons_console.web.now import StatusReader

ABOUT = (
    "A running coupon engine: which shopper got which coupon and why, what campaigns earn and spend, and whether the "
    "system is well. Money is in minor units (cents), times are UTC epoch seconds."
)


def create_server(view: SystemView, follower: TopicFollower, *, can_write: bool) -> MCPServer[Any]:
    """Return the server of the tools.

    Parameters
    ----------
    view : SystemView
        Answers the questions.
    follower : TopicFollower
        Fills the index; each tool waits until it has caught up.
    can_write : bool
        True to have tools that change something.
    """
    server = MCPServer[Any]("stream-coupons", instructions=ABOUT, log_level="WARNING")
    questions: dict[str, Callable[..., Any]] = {
        "list_campaigns": view.campaigns,
        "show_campaign": view.campaign,
        "results": view.results,
        "lift": view.lift,
        "explain_issue": view.explain_issue,
        "explain_shopper": view.explain_shopper,
        "coupons_of_shopper": view.coupons_of,
        "status": view.status,
        "dead_letters": view.dead_letters,
    }
    changes = {"change_campaign": view.change_campaign} if can_write else {}
    for name, ask in (questions | changes).items():
        text = (inspect.getdoc(ask) or "").partition("\n\nRaises")[0]
        hints = ToolAnnotations(read_only_hint=name in questions, open_world_hint=False)
        server.add_tool(_tool(ask, follower), name, description=text, annotations=hints, structured_output=False)
    return server


def _tool(ask: Callable[..., Any], follower: TopicFollower) -> Callable[..., Any]:
    @functools.wraps(ask)
    async def call(*args: Any, **options: Any) -> str:
        await follower.wait_caught_up()
        try:
            found = ask(*args, **options)
            return msgspec.json.encode(await found if inspect.isawaitable(found) else found).decode()
        except StreamCouponsError as error:
            raise ToolError(str(error)) from None

    return call


async def serve(settings: Settings, *, can_write: bool) -> None:
    """Follow the topics and serve the tools over standard input and output, until the client closes them."""
    index = Index(settings)
    follower = TopicFollower(settings.kafka, settings.kafka.partitions, index.take)
    view = SystemView(settings, index, StatusReader(settings))
    following = asyncio.create_task(follower.run())
    try:
        await create_server(view, follower, can_write=can_write).run_stdio_async()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

"""Tools for MCP clients: called by the SDK's own client over standard input and output, on a live system."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client import Client

from stream_coupons.core.messages.inputs import BrowseEvent
from stream_coupons.kafka import topics

from .conftest import LiveConsole

pytestmark = pytest.mark.kafka
READING = {
    "list_campaigns", "show_campaign", "results", "lift", "explain_issue", "explain_shopper", "coupons_of_shopper",
    "status", "dead_letters",
}  # fmt: skip


def with_tools(live: LiveConsole, use: Callable[[Client], Coroutine[Any, Any, Any]], *options: str) -> Any:
    """Return the result of what is done with a client."""
    config = live.keys["ann"].parent / "worker-1.toml"
    command = ["-m", "stream_coupons", "mcp", "--config", str(config), *options]
    server = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))

    async def run() -> Any:
        async with Client(server) as client:
            return await use(client)

    return asyncio.run(run())


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    """Return the JSON of a tool's result."""
    found = await client.call_tool(tool, arguments)
    [content] = found.content
    assert not found.is_error, content.text  # type: ignore[union-attr]
    return json.loads(content.text)  # type: ignore[union-attr]


def test_every_question_has_a_tool_that_only_reads(live: LiveConsole) -> None:
    async def use(client: Client) -> None:
        listed = (await client.list_tools()).tools
        assert {one.name for one in listed} == READING
        assert all(one.annotations is not None and one.annotations.read_only_hint for one in listed)
        campaigns = {one["campaign"]["campaign_id"] for one in await ask(client, "list_campaigns")}
        assert campaigns == {"spring", "clearance"}
        assert "pause" in (await ask(client, "show_campaign", campaign_id="spring"))["verbs"]
        assert {one["campaign_id"] for one in (await ask(client, "lift"))["campaigns"]} <= {"spring"}
        assert (await ask(client, "status"))["groups"]
        assert await ask(client, "dead_letters") == []
        rows = await ask(client, "results", by="campaign", since="7d")
        assert all(row["given"] > 0 for row in rows)
        with live.system.publisher() as publisher:
            publisher.send(topics.BROWSE, BrowseEvent(event_id="m", user_id="maria", occurred_at=time.time()))
        async with asyncio.timeout(60):
            while (await client.call_tool("explain_shopper", {"user_id": "maria"})).is_error:  # noqa: ASYNC110 - a worker of its own process reads the event
                await asyncio.sleep(0.1)
        shopper = await ask(client, "explain_shopper", user_id="maria")
        assert {one["coupon_id"] for one in shopper["coupons"]} == {"tea-15", "coffee-10", "cups-20", "cakes-50"}

    with_tools(live, use)


def test_a_coupon_is_explained(live: LiveConsole) -> None:
    async def use(client: Client) -> None:
        found = []
        for number in range(400):
            found += (await ask(client, "coupons_of_shopper", user_id=f"shopper-{number}", older=False))["coupons"]
            if found:
                break
        issue = found[0]["issue"]
        explained = await ask(client, "explain_issue", issue_id=issue["issue_id"])
        assert explained["issue"] == issue

    with_tools(live, use)


def test_a_wrong_question_is_refused_in_words(live: LiveConsole) -> None:
    async def use(client: Client) -> None:
        found = await client.call_tool("show_campaign", {"campaign_id": "winter"})
        assert found.is_error
        assert "no campaign 'winter' is published" in found.content[0].text  # type: ignore[union-attr]

    with_tools(live, use)


def test_with_the_token_file_a_campaign_is_held_and_resumed(live: LiveConsole) -> None:
    async def use(client: Client) -> None:
        assert {one.name for one in (await client.list_tools()).tools} == READING | {"change_campaign"}
        held = await ask(client, "change_campaign", campaign_id="clearance", verb="hold", reason="returns rise")
        assert held["state"].startswith("held")
        again = await ask(client, "change_campaign", campaign_id="clearance", verb="resume")
        assert again["state"].startswith("running")

    with_tools(live, use, "--token-file", str(live.keys["ann"].parent / "console.token"))


def test_without_the_package_the_command_names_it(live: LiveConsole) -> None:
    config = str(live.keys["ann"].parent / "worker-1.toml")
    program = "import sys; sys.modules['mcp'] = None; from stream_coupons.__main__ import main; main()"
    found = subprocess.run([sys.executable, "-c", program, "mcp", "--config", config], capture_output=True, text=True)
    assert found.returncode == 2
    assert "stream-coupons-console[mcp]" in found.stderr

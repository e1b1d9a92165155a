"""`mcp`: tools for MCP clients, such as assistants, over standard input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_with_topics
from stream_coupons.core.errors import BadConfig


def mcp(
    token_file: Annotated[
        Path | None,
        typer.Option(help="File of the console's token: with it campaigns may be changed, too."),
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Serve tools for MCP clients over standard input and output.

    An assistant that knows the Model Context Protocol starts this command and
    asks by its tools: campaigns, results, lift, why a shopper got a coupon or
    none, the state of the system, dead letters. The tools read, as the console
    does, and disturb no worker. With --token-file one more tool pauses, holds,
    resumes or ends campaigns; whoever may start the command with that file may
    do so.

    It needs the package mcp: the extra `mcp` of the console. Call
    it with the settings of the workers.

    Examples: stream-coupons mcp --config settings.toml
              stream-coupons mcp --token-file console.token
    """
    import asyncio

    from stream_coupons.secret import read_bytes

    if token_file is not None:
        read_bytes(token_file, "--token-file", "make one with `stream-coupons secret make FILE`")
    try:
        from stream_coupons_console.api.tools import serve
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("mcp"):
            raise
        raise BadConfig(
            "the package mcp is missing: pip install -e 'packages/stream-coupons-console[mcp]' in the clone"
        ) from None
    asyncio.run(serve(settings_with_topics(config, bootstrap), can_write=token_file is not None))

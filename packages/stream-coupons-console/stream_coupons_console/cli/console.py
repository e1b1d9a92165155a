"""`console`: pages and an HTTP API for campaign owners and operators."""

from __future__ import annotations

import ipaddress
import logging
import socket
from pathlib import Path
from typing import Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_with_topics
from stream_coupons.core.errors import BadConfig

PORT = 9470
ENDS_WITHIN_S = 3
"""Open pages are closed after so many seconds when the console ends."""
QUIET_AFTER_S = 2.0
"""Libraries repeat that no broker answers: after so many seconds without an answer, their lines are left out."""


def console(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any free one.", min=0, max=65535)] = PORT,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="STREAM_COUPONS_CONSOLE_TOKEN_FILE",
            help="File of the token that allows changes; `stream-coupons secret make FILE` makes one.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Further name of this console, host:port, as of a proxy; as often as needed."),
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Serve pages and an HTTP API for campaign owners and operators, until Ctrl-C.

    It follows the topics without a group, disturbs no worker and keeps nothing
    on disk. It changes nothing unless it has a token: then whoever signs in
    with it may pause campaigns, publish coupons, send dead letters again, and
    clients may do the same with Authorization: Bearer TOKEN.

    At another address than that of this machine the token is required for
    reading, too; put a proxy with TLS before it, and name it by --allow-host.
    Call it with the settings of the workers.

    Examples: stream-coupons console
              stream-coupons console --token-file console.token
              stream-coupons console --host 0.0.0.0 --token-file console.token
    """
    import uvicorn

    from stream_coupons.observability.log_lines import LogFormat, hold_back_while, write_log
    from stream_coupons.secret import read_bytes
    from stream_coupons_console.web.app import create_app
    from stream_coupons_console.web.security import Sessions

    settings = settings_with_topics(config, bootstrap)
    remedy = "make one with `stream-coupons secret make FILE`"
    token = None if token_file is None else read_bytes(token_file, "--token-file", remedy)
    is_local = _is_local(host)
    if not is_local and token is None:
        raise BadConfig(f"--host {host} can be reached from other machines, expected --token-file; {remedy}")
    listener = _listener(host, port)
    port = listener.getsockname()[1]
    names = (host, "127.0.0.1", "localhost", "[::1]") if is_local else (host,)
    hosts = {f"{name}:{port}" for name in names} | {one.lower() for one in allow_host or ()}
    named = (("--config", config), ("--bootstrap", bootstrap))
    options = [text for option, value in named if value is not None for text in (option, str(value))]
    app = create_app(settings, Sessions(token), hosts, needs_token=not is_local, options=options)
    write_log("console", "INFO", LogFormat.TEXT)
    hold_back_while(lambda: app.state.follower.contact.silent_s > QUIET_AFTER_S)
    how = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=ENDS_WITHIN_S)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = uvicorn.Server(how)
    app.state.is_ending = lambda: server.should_exit  # so that open pages do not hold up the end
    terminal.say(f"console at http://{host}:{port}" + ("" if token else ", read-only"))
    server.run([listener])


def _is_local(host: str) -> bool:
    """Return True if only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address, or say why there is none.

    Raises
    ------
    BadConfig
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise BadConfig(
            f"--host {host} --port {port}: {error.strerror}; expected a free port of this machine"
        ) from None

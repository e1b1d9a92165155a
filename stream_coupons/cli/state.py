"""`state`: what the workers hold, as their changelogs say."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, client_of_topics, settings_from
from stream_coupons.cli.topic_reading import reading
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.plurals import counted
from stream_coupons.kafka import topics

app = typer.Typer(no_args_is_help=True)


class Agent(StrEnum):
    """Agent that owns a table."""

    USERS = "users"
    BUDGETS = "budgets"
    NEIGHBOURS = "neighbours"


class NotACell(StreamCouponsError):
    """A record of a changelog that its agent could not load."""


@app.command("digest")
def digest(
    agent: Annotated[Agent | None, typer.Option(help="Only this one's states; all of them unless said.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Print one digest of all states of an agent, to compare two runs over the same
    log, or a system before and after a restart.

    Reads the changelogs to the end that they have now and takes the latest
    state of every key; no worker is disturbed, and none has to run. The
    digest is BLAKE2b over keys and states in the order of keys. How far
    each topic was applied, and what waits to be sent again, is left out: it
    depends on how a log was cut into batches. While records are on their
    way, states change: wait until nothing is.

    Examples: stream-coupons state digest
              stream-coupons state digest --agent budgets --json
    """
    from stream_coupons.kafka import admin
    from stream_coupons.ops.audit.findings import place_of
    from stream_coupons.ops.digest import StateDigest
    from stream_coupons.worker.app import TABLE_OF

    settings = settings_from(config, bootstrap)
    agents = list(Agent) if agent is None else [agent]
    states = {topics.changelog(TABLE_OF[one]).name: (one, StateDigest(one)) for one in agents}
    with client_of_topics(settings.kafka) as client:
        behind = sum(admin.lag(client, settings.kafka).values())
    if behind:
        terminal.warn(f"the workers have not committed {counted(behind, 'record')} yet: states will change")
    with reading(settings.kafka) as read:
        for record in read("reading", tuple(states)):
            owner, digest_of_owner = states[record.topic]
            try:
                digest_of_owner.take(record.key or b"", record.value, record.partition)
            except msgspec.DecodeError as error:
                raise NotACell(f"{place_of(record)}: is no state of {owner}: {error}") from None
    digests = {owner: each.result() for owner, each in states.values()}
    if json:
        terminal.print_json(digests)
        return
    rows = [(one, f"{found.keys:,}", f"{found.bytes:,}", found.blake2b) for one, found in digests.items()]
    terminal.print_table(("agent", "keys", "bytes", "blake2b"), rows)

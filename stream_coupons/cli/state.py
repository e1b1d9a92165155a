"""`state`: what the workers hold, as their changelogs say."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import Progress
from rich.table import Table

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.kafka import topics
from stream_coupons.kafka.connection import Connection
from stream_coupons.lab.interrupts import Interruptions

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.lab.offline.digest import Digest

app = typer.Typer(help="Look at what the workers hold.", no_args_is_help=True)

SHOW_EVERY = 500


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
    from kafka.admin import OffsetSpec

    from stream_coupons.kafka import admin
    from stream_coupons.lab.audit.audit_topics import offsets
    from stream_coupons.worker.app import TABLE_OF

    settings = settings_from(config, bootstrap)
    agents = list(Agent) if agent is None else [agent]
    tables = {one: topics.changelog(TABLE_OF[one]) for one in agents}
    with admin.admin_client(settings.kafka) as client:
        admin.apply(client, settings.kafka, check_only=True)
        behind = sum(admin.lag(client, settings.kafka).values())
        begins, ends = (
            sum(offsets(client, tables.values(), settings.kafka, spec).values())
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        )
    if behind:
        terminal.warn(f"the workers have not committed {behind} records yet: states will change")
    with (
        terminal.fraction_progress("reading", ends - begins) as progress,
        Interruptions() as interruptions,
    ):
        digests = {
            one: _read(settings.kafka, one, table.name, progress, interruptions) for one, table in tables.items()
        }
    if interruptions.happened:
        terminal.stderr().print("interrupted: nothing is known", markup=False)
        raise typer.Exit(terminal.INTERRUPTED)
    if json:
        typer.echo(msgspec.json.encode(digests).decode())
        return
    table_of_digests = Table("agent", "keys", "bytes", "blake2b")
    for one, found in digests.items():
        table_of_digests.add_row(one, f"{found.keys:,}", f"{found.bytes:,}", found.blake2b)
    terminal.stdout().print(table_of_digests)


def _read(connection: Connection, agent: Agent, topic: str, progress: Progress, interruptions: Interruptions) -> Digest:
    from stream_coupons.lab.audit.audit_topics import read_records
    from stream_coupons.lab.audit.findings import place_of
    from stream_coupons.lab.offline.digest import StateDigest

    states = StateDigest(agent)
    for count, record in enumerate(interruptions.each(read_records(connection, [topic])), start=1):
        try:
            states.take(record.key or b"", record.value, record.partition)
        except msgspec.DecodeError as error:
            raise NotACell(f"{place_of(record)}: is no state of {agent}: {error}") from None
        if count % SHOW_EVERY == 0:
            progress.update(progress.task_ids[0], advance=SHOW_EVERY, note=topic)
    return states.result()

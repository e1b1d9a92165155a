"""`system`: export a stopped system, and import it into new topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.core.plurals import counted

app = typer.Typer(no_args_is_help=True)


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the files.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Write a stopped system to files: all states, the catalogue, models and totals.

    The system must be drained: no worker or learner runs, and all input is
    processed. Issues, decisions, dead letters and events stay in their topics.

    Examples: stream-coupons system export /backup/coupons
              stream-coupons system export /backup/coupons --json
    """
    from stream_coupons.ops.system.exporting import export_system

    settings = settings_from(config, bootstrap)
    manifest = export_system(settings.kafka, folder)
    if json:
        terminal.print_json(manifest)
    else:
        states = sum(digest.keys for digest in manifest.states.values())
        terminal.say(f"{folder}: {counted(states, 'state')}, {counted(len(manifest.accounts), 'account')}")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of an export.")],
    partitions: Annotated[
        int | None, typer.Option(help="Partitions of the new topics; kafka.partitions unless given.", min=1)
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Write an exported system into new topics, of any number of partitions.

    Creates the topics, moves each state to the partition of its key, leases
    stock and budgets anew, and checks that digests and totals are those of the
    export. The settings need the secret of the exported system. No worker can
    start on the topics before the import has ended.

    Examples: stream-coupons system import /backup/coupons --partitions 12
              stream-coupons system import /backup/coupons --config green.toml
    """
    from stream_coupons.ops.system.importing import import_system

    kafka = settings_from(config, bootstrap).kafka
    if partitions is not None:
        kafka = replace(kafka, partitions=partitions)
    manifest = import_system(kafka, folder)
    if json:
        terminal.print_json(manifest)
        return
    terminal.say(f"{manifest.partitions} partitions became {kafka.partitions}; digests and totals are equal")
    terminal.say(f"Start workers and learners with kafka.partitions = {kafka.partitions}.")

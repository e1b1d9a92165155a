"""`schemas`: write the contracts of the topics, and check that a folder's are fresh and only ever grow."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.options import JsonOption
from stream_coupons.contracts import schema_files
from stream_coupons.core.errors import BadConfig

app = typer.Typer(no_args_is_help=True)

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the <topic>.v1.schema.json files.")]


@app.command("write")
def write(
    folder: FolderArgument = Path("schemas"),
    allow_breaking: Annotated[
        bool, typer.Option("--allow-breaking", help="Also write a schema that breaks the committed one.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write the schemas that are missing or stale; refuse a change that breaks a
    version.

    Example: stream-coupons schemas write schemas
    """
    if folder.exists() and not folder.is_dir():
        raise BadConfig(f"{folder}: is no folder")
    written = schema_files.write(folder, allow_breaking=allow_breaking)
    if json:
        terminal.print_json({"written": written})
        return
    for name in written:
        terminal.say(f"wrote {folder / name}")
    if not written:
        terminal.say("all schemas are fresh")


@app.command("check")
def check(folder: FolderArgument = Path("schemas"), json: JsonOption = False) -> None:
    """Fail if a schema is stale or its change would break a version; for
    continuous integration.

    Example: stream-coupons schemas check schemas
    """
    if not folder.is_dir():
        raise BadConfig(f"{folder}: there is no such folder; see `stream-coupons schemas write`")
    stale, breaking = schema_files.stale(folder), schema_files.breaking(folder)
    if json:
        terminal.print_json({"stale": stale, "breaking": breaking})
    else:
        for kind, problems in (("stale", stale), ("breaking", breaking)):
            for problem in problems:
                terminal.stdout().print(Text.assemble((kind, "red"), f"  {problem}"), soft_wrap=True)
        if not (stale or breaking):
            terminal.say("all schemas are fresh")
        elif not breaking:
            terminal.remark("run `stream-coupons schemas write` and commit the difference")
    raise typer.Exit(1 if stale or breaking else 0)

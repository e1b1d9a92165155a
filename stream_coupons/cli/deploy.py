"""`deploy`: write the files that a shop runs the engine with."""

from pathlib import Path
from typing import Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import JsonOption
from stream_coupons.core.plurals import counted
from stream_coupons.ops import deployment

app = typer.Typer(no_args_is_help=True)


@app.command("write")
def write(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; it is made if needed.")],
    parts: Annotated[
        list[str] | None, typer.Argument(help="Only these files or folders of it, such as prometheus; default: all.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ, as after an upgrade.")] = False,
    json: JsonOption = False,
) -> None:
    """Write settings, alerts, dashboard, systemd units, Kubernetes manifests and a
    compose file.

    A file that is there and differs is kept, and named, unless --force is
    given. Exit code 1 says that one was kept.

    Examples: stream-coupons deploy write /etc/stream-coupons
              stream-coupons deploy write deploy prometheus grafana --force
    """
    outcomes = deployment.write(folder, parts or (), overwrites=force)
    if json:
        terminal.print_json(outcomes)
    else:
        for path in outcomes["written"]:
            terminal.say(f"wrote {path}")
        if unchanged := len(outcomes["unchanged"]):
            terminal.say(f"{counted(unchanged, 'file')} unchanged")
        for path in outcomes["kept"]:
            terminal.warn(f"{path} differs and was kept; --force overwrites it")
    raise typer.Exit(1 if outcomes["kept"] else 0)

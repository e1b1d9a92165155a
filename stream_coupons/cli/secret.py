"""`secret`: make, show and change the secret that every random draw is keyed by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.core.errors import BadConfig

app = typer.Typer(no_args_is_help=True)


@app.command("make")
def make(
    file: Annotated[Path, typer.Argument(help="A new file; only its owner will be able to read it.")],
    json: JsonOption = False,
) -> None:
    """Write a new secret to a file and print its fingerprint.

    Give the same file to all workers, by the setting secret_file. Keep a copy
    where you keep passwords: whoever has it can compute who gets a coupon,
    and without it no decision can be replayed. An existing file is never
    overwritten.

    Examples: stream-coupons secret make secret.key
              STREAM_COUPONS_SECRET_FILE=secret.key stream-coupons worker
    """
    from stream_coupons import secret

    fingerprint = secret.make(file).fingerprint
    if json:
        terminal.print_json({"fingerprint": fingerprint})
    else:
        typer.echo(fingerprint)


@app.command("show")
def show(json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None) -> None:
    """Print the fingerprint of secret_file and that of the key the workers draw by.

    Exit code 1 says that they differ. The fingerprint is no secret.

    Examples: stream-coupons secret show
              stream-coupons secret show --config deploy/settings.toml --json
    """
    from stream_coupons import secret

    settings = settings_from(config, bootstrap)
    own, kept = secret.draw_key(settings).fingerprint, secret.kept_fingerprint(settings.kafka)
    if json:
        terminal.print_json({"own": own, "workers": kept})
    else:
        rows = {secret.named(settings): own, "the workers": kept or "no worker has run yet"}
        terminal.stdout().print(terminal.summary_table(rows))
    raise typer.Exit(0 if kept in (None, own) else 1)


@app.command("adopt")
def adopt(json: JsonOption = False, config: ConfigOption = None, bootstrap: BootstrapOption = None) -> None:
    """Let all workers draw by the key of secret_file from now on.

    Stop all workers first; start them with the new file afterwards. It draws
    a new holdout and other explorations: measurements begin anew, and a
    replay of what was before needs the old file.

    Example: STREAM_COUPONS_SECRET_FILE=new.key stream-coupons secret adopt
    """
    from stream_coupons import secret
    from stream_coupons.kafka import admin

    settings = settings_from(config, bootstrap)
    if not settings.secret_file:
        raise BadConfig(f"secret_file is not set; {secret.MAKE}")
    key = secret.draw_key(settings)
    with admin.admin_client(settings.kafka) as client:
        members = admin.count_members(client, settings.kafka.group_id)
    if members:
        raise BadConfig(
            f"{members} workers of the group {settings.kafka.group_id} are running, expected none: "
            "stop them, or half of them would draw by the old key"
        )
    before = secret.kept_fingerprint(settings.kafka)
    secret.adopt(settings, key)
    if json:
        terminal.print_json({"workers": key.fingerprint, "before": before})
    else:
        typer.echo(f"the workers draw by {key.fingerprint} from now on; before: {before or 'no key'}")

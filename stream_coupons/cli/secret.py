"""`secret`: make, show and change the secret that every random draw is keyed by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.core.errors import BadConfig

if TYPE_CHECKING:
    from stream_coupons.core.draws import DrawKey
    from stream_coupons.settings import Settings

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

    Exit code 1 says that secret_file is not adopted, or that a later record
    names another key. The fingerprint is no secret.

    Examples: stream-coupons secret show
              stream-coupons secret show --config settings.toml --json
    """
    from stream_coupons import secret

    settings = settings_from(config, bootstrap)
    key = secret.draw_key(settings)
    own, found = key.fingerprint, secret.adopted(settings.kafka, key)
    if json:
        terminal.print_json({"own": own, "workers": found.stated, "is_adopted": bool(found.is_own)})
    else:
        rows = {secret.named(settings): own, "the workers": found.stated or "no key was adopted yet"}
        terminal.stdout().print(terminal.summary_table(rows))
    raise typer.Exit(0 if found.stated is None or (found.is_own and found.stated == own) else 1)


@app.command("adopt")
def adopt(
    previous: Annotated[
        Path | None, typer.Option(help="File of the key that is replaced: workers that still have it will not start.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Let all workers draw by the key of secret_file from now on.

    Needed once before the first worker starts; again, it changes nothing.
    To change the key, stop all workers first; start them with the new file
    afterwards. It draws a new holdout and other explorations: measurements
    begin anew, and a replay of what was before needs the old file. Leases
    that are not read yet are lost and asked for again.

    Examples: STREAM_COUPONS_SECRET_FILE=new.key stream-coupons secret adopt
              stream-coupons secret adopt --previous old.key
    """
    from stream_coupons import secret

    settings = settings_from(config, bootstrap)
    if not settings.secret_file:
        raise BadConfig(f"secret_file is not set; {secret.MAKE}")
    key = secret.draw_key(settings)
    found = secret.adopted(settings.kafka, key)
    if not (found.is_own and found.stated == key.fingerprint):
        _adopt(settings, key, previous)
    if json:
        terminal.print_json({"workers": key.fingerprint, "before": found.stated})
    else:
        typer.echo(f"the workers draw by {key.fingerprint} from now on; before: {found.stated or 'no key'}")


def _adopt(settings: Settings, key: DrawKey, previous: Path | None) -> None:
    from stream_coupons import secret
    from stream_coupons.kafka import admin

    with admin.admin_client(settings.kafka) as client:
        members = admin.count_members(client, settings.kafka.group_id)
    if members:
        raise BadConfig(
            f"{members} workers of the group {settings.kafka.group_id} are running, expected none: "
            "stop them, or half of them would draw by the old key"
        )
    secret.adopt(settings, key, *(() if previous is None else (secret.read(previous),)))

"""`codes`: import coupon codes, verify, revoke and list them, print the key of a till."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from, settings_with_topics
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.plurals import counted
from stream_coupons.ops.catalogue_files import COUPONS
from stream_coupons.ops.published import published

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.core.catalogue.code_pools import CodePools
    from stream_coupons.ops.coupon_codes import Found
    from stream_coupons.settings import Settings

app = typer.Typer(no_args_is_help=True)


@app.command("key")
def key(
    coupon_id: Annotated[
        str | None, typer.Argument(help="The coupon; without it, the key that all are derived from.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print the key by which a till verifies the generated codes of a coupon.

    It is derived from secret_file: neither the secret nor the key of another
    coupon can be computed from it. Whoever has it can make codes of this
    coupon, so send it as you send passwords.

    Example: stream-coupons codes key coffee-15-percent
    """
    from stream_coupons import secret
    from stream_coupons.core import codes

    of_all = codes.codes_key(secret.workers_key(settings_from(config, None)))
    found = (of_all if coupon_id is None else codes.coupon_key(of_all, coupon_id)).hex()
    if json:
        terminal.print_json({"coupon_id": coupon_id, "key": found})
    else:
        typer.echo(found)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Codes, one a line; - for standard input.", allow_dash=True)],
    coupon_id: Annotated[str, typer.Option("--coupon", help="The coupon; its `codes` must be pool.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Add codes to the pool of a coupon; workers give each of them once.

    Codes that the pool has already are left out, so that a file can be
    imported again. Nothing is imported if a line is no code, or if another
    coupon has one of the codes.

    Examples: stream-coupons codes import codes.txt --coupon coffee-15-percent
    """
    from stream_coupons.ops import coupon_codes

    with terminal.opened(file) as source:
        imported = coupon_codes.parse(source)
    settings = settings_with_topics(config, bootstrap)
    coupon = published(settings, COUPONS).entries.get(coupon_id)
    if coupon is None or coupon.codes != "pool":
        found = "no coupon of the catalogue" if coupon is None else f"a coupon whose codes are {coupon.codes}"
        raise BadConfig(f'{coupon_id!r} is {found}: push it with "codes": "pool" first')
    count = coupon_codes.add(settings.kafka, coupon_id, imported)
    if json:
        terminal.print_json({"imported": count, "known": len(imported) - count})
    else:
        terminal.say(f"{counted(count, 'code')} imported for {coupon_id}; {len(imported) - count} were there already")


@app.command("verify")
def verify(
    code: Annotated[str, typer.Argument(help="The code as it was typed.")],
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Say which coupon a code belongs to, and whether it can be used.

    Exit code 1 says that it cannot: it is no code, was revoked, or expired.

    Examples: stream-coupons codes verify TEA-1KAGDSF-EDT9H4F-2H6A4VC
    """
    settings, pools = _read(config, bootstrap)
    found = _find(code, settings, pools)
    if isinstance(found, str):
        state = f"no code of this shop: {found}"
    elif found.expires_at is not None and found.expires_at < time.time():
        state = "expired"
    else:
        state = "revoked" if found.revoked else "good"
    about = {} if isinstance(found, str) else {"coupon_id": found.coupon_id, "expires_at": found.expires_at}
    if json:
        terminal.print_json({"code": code, "state": state, **about})
    else:
        terminal.stdout().print(terminal.summary_table({"code": code, "state": state, **about}))
    raise typer.Exit(0 if state == "good" else 1)


@app.command("revoke")
def revoke(
    code: Annotated[str | None, typer.Argument(help="The code.")] = None,
    issue_id: Annotated[str | None, typer.Option("--issue", help="The issue whose code it is.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Let a code be used no more.

    Workers do not give it if it was imported and is not given yet. A till
    knows from `codes export --revoked`. A purchase with it is still booked,
    since the money is spent, and counted as feedback of the kind revoked.

    Examples: stream-coupons codes revoke TEA-1KAGDSF-EDT9H4F-2H6A4VC
              stream-coupons codes revoke --issue ISSUE_ID
    """
    from stream_coupons.ops import coupon_codes

    if (code is None) == (issue_id is None):
        raise BadConfig("expected a code, or --issue")
    settings, pools = _read(config, bootstrap)
    if code is None:
        issues = coupon_codes.issues_with_code(settings.kafka)
        code = next((issue.code for issue in issues if issue.issue_id == issue_id), None)
    if code is None:
        raise BadConfig(f"issue {issue_id!r} has no code, or is not in coupon-issues any more")
    found = _find(code, settings, pools)
    if isinstance(found, str):
        raise BadConfig(f"{code!r} is no code of this shop: {found}")
    coupon_codes.revoke(found, settings.kafka)
    if json:
        terminal.print_json(found)
    else:
        terminal.say(f"{found.code} of coupon {found.coupon_id} is revoked")


@app.command("export")
def export(
    coupon_id: Annotated[str | None, typer.Option("--coupon", help="Of this coupon only.")] = None,
    revoked: Annotated[bool, typer.Option("--revoked", help="Only the codes that were revoked, for tills.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Print the codes that were given, one a line, and whether they were revoked.

    Issues are those that coupon-issues still has, each once. With --revoked
    these are the codes alone, bare and in capitals, given or not.

    Examples: stream-coupons codes export --coupon coffee-15-percent
              stream-coupons codes export --revoked --json
    """
    from stream_coupons.core.codes import canonical
    from stream_coupons.ops import coupon_codes

    settings, pools = _read(config, bootstrap)
    with terminal.results():
        for code in sorted(pools.revoked) if revoked else ():
            typer.echo(f'"{code}"' if json else code)
        for issue in () if revoked else coupon_codes.issues_with_code(settings.kafka):
            if coupon_id not in (None, issue.coupon_id):
                continue
            row = {name: getattr(issue, name) for name in ("code", "coupon_id", "issue_id", "user_id", "expires_at")}
            row["revoked"] = canonical(row["code"]) in pools.revoked
            typer.echo(msgspec.json.encode(row).decode() if json else "\t".join(map(str, row.values())))


def _read(config: Path | None, bootstrap: str | None) -> tuple[Settings, CodePools]:
    from stream_coupons.ops import coupon_codes

    settings = settings_with_topics(config, bootstrap)
    return settings, coupon_codes.read_pools(settings.kafka)


def _find(code: str, settings: Settings, pools: CodePools) -> Found | str:
    from stream_coupons import secret
    from stream_coupons.ops import coupon_codes

    coupons = published(settings, COUPONS).entries.values()
    return coupon_codes.find(code, pools, coupons, secret.require_workers_key(settings))

"""`campaigns stage`, `approve`, `launch` and the other verbs of a campaign's life, and its history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    publisher_of,
    settings_with_topics,
)
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.campaign_changes import CampaignChange, CampaignVerb
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.ops import campaign_verbs
from stream_coupons.ops.campaign_life import ChangeLog, ListedChange, history
from stream_coupons.ops.campaign_verbs import Change
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.published import published
from stream_coupons.settings import Settings

if TYPE_CHECKING:
    pass

IdsArgument = Annotated[list[str], typer.Argument(metavar="ID", help="Which campaigns, by their ids.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.")]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help="File of your private key, made by `campaigns keygen`.", show_default=False)
]
RatioOption = Annotated[
    str | None, typer.Option("--ratio", help="To this share of the shoppers only, such as 5%.", show_default=False)
]
TEXTS: Mapping[CampaignVerb, str] = {
    "stage": """Decide on the coupons of campaigns in the shadow: none are given.

Each decision records which of them it would have given, in the field
`staged`, and stream_coupons_staged_decisions_total counts them. Nothing else
of a decision changes.

Example: stream-coupons campaigns stage spring --reason "new terms"
""",
    "approve": """Approve campaigns that are a draft or staged; launch issues their coupons.

Where approval.required asks for several people, each of them signs with a
key of their own; the state changes with the last signature that is needed.
Any change of the terms of a campaign or of its coupons voids all signatures:
approve again, in whatever state it is.

Examples: stream-coupons campaigns approve spring
          stream-coupons campaigns approve spring --key ann.key
""",
    "launch": """Issue the coupons of campaigns that are approved, to all shoppers or to some.

With --ratio, a shopper is among them by a draw that stays: those of 5% are
among those of 25%. Launch again with another ratio, or with none for all.

Examples: stream-coupons campaigns launch spring --ratio 5%
          stream-coupons campaigns launch spring
""",
    "pause": """Stop issuing the coupons of campaigns until they are resumed; those that were issued stay good.

It is in effect as soon as the workers have read it, within a second. Exit
code 1 says that one of them is not known, or that its state forbids it.

Example: stream-coupons campaigns pause spring --reason "wrong picture"
""",
    "hold": """Stop issuing the coupons of campaigns because something is wrong, as a pause.

Paused or held are two reasons for the history and for `explain`; resume ends
both.

Example: stream-coupons campaigns hold spring --reason "lift below zero"
""",
    "resume": """Issue the coupons of campaigns again, to as many shoppers as before.

Exit code 1 says that one of them is not known, or neither paused nor held.

Example: stream-coupons campaigns resume spring
""",
    "end": """End campaigns: none of their coupons are issued any more; those that were issued stay good.

Nothing leads back. What is spent stays listed.

Example: stream-coupons campaigns end spring --reason "budget moved to summer"
""",
    "archive": """Archive campaigns that are ended, or drafts.

They stay readable: records, spending and history.

Example: stream-coupons campaigns archive spring
""",
    "remove": """Take campaigns out: from now on none of their coupons are issued.

Exit code 1 says that one of them was not there; the others are removed
all the same.

Example: stream-coupons campaigns remove spring
""",
}


def add_to(app: typer.Typer) -> None:
    """Add the verbs to those of `campaigns`."""
    app.command("approve", help=TEXTS["approve"])(approve)
    app.command("launch", help=TEXTS["launch"])(launch)
    plain: tuple[CampaignVerb, ...] = ("stage", "pause", "hold", "resume", "end", "archive", "remove")
    for verb in plain:
        app.command(verb, help=TEXTS[verb])(_plain(verb))
    app.command("history")(show_history)
    app.command("keygen")(keygen)


def _plain(verb: CampaignVerb) -> Callable[..., None]:
    """Return a verb without options of its own."""

    def act(
        ids: IdsArgument,
        reason: ReasonOption = "",
        json: JsonOption = False,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
    ) -> None:
        settings = settings_with_topics(config, bootstrap)
        if verb == "remove":
            _remove(ids, settings, reason, json=json)
        else:
            _change(ids, verb, campaign_verbs.plain(verb), settings, reason, json=json)

    return act


def approve(
    ids: IdsArgument,
    key: KeyOption = None,
    reason: ReasonOption = "",
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Approve campaigns."""
    settings = settings_with_topics(config, bootstrap)
    rules, signer = settings.approval, None
    if key is not None:
        from stream_coupons.ops.campaign_approval import Approver

        signer = Approver(key, rules)
    change = campaign_verbs.approval(rules, signer.sign if signer else None)
    _change(ids, "approve", change, settings, reason, json=json, key_name=signer.name if signer else "")


def launch(
    ids: IdsArgument,
    ratio: RatioOption = None,
    reason: ReasonOption = "",
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Launch campaigns."""
    share = None if ratio is None else _share(ratio)
    settings = settings_with_topics(config, bootstrap)
    change = campaign_verbs.launch(settings.approval, share)
    _change(ids, "launch", change, settings, reason, json=json)


def _share(text: str) -> float:
    """Return the share in a text such as 5% or 0.05."""
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100.0 if percent else 1.0)
    except ValueError:
        share = -1.0
    if rest or not 0.0 <= share <= 1.0:
        raise BadConfig(f"--ratio {text!r}: expected a share of the shoppers from 0% to 100%, such as 5% or 0.05")
    return share


def _change(  # noqa: PLR0913 - the options of the verbs
    ids: Sequence[str],
    verb: CampaignVerb,
    change: Change,
    settings: Settings,
    reason: str,
    *,
    json: bool,
    key_name: str = "",
) -> None:
    """Carry out a verb and print the report; exit with 1 if a state forbids it, or a campaign is not known."""
    campaign_verbs.require_short(reason)
    found = published(settings, CAMPAIGNS), published(settings, COUPONS)
    with publisher_of(settings.kafka) as publisher:
        log = ChangeLog(publisher, verb, reason, settings.approval.operator, key_name)
        report = campaign_verbs.change_campaigns(ids, change, found, settings.approval, log)
    _report(report.states, report.faults, json=json)


def _report(results: Mapping[str, str], faults: Mapping[str, str], *, json: bool) -> None:
    if json:
        terminal.print_json({"states": results, "faults": faults})
    else:
        for name, text in results.items():
            terminal.say(f"{terminal.printable(name)}: {text}")
        for name, text in faults.items():
            terminal.print_error(f"{terminal.printable(name)}: {text}")
    raise typer.Exit(1 if faults else 0)


def _remove(ids: Sequence[str], settings: Settings, reason: str, *, json: bool) -> None:
    """Remove campaigns, also those that cannot be read; exit with 1 if one is not there."""
    campaign_verbs.require_short(reason)
    found, wanted = published(settings, CAMPAIGNS), dict.fromkeys(ids)
    known = [name for name in wanted if name in found.records]
    with publisher_of(settings.kafka) as publisher:
        log = ChangeLog(publisher, "remove", reason, settings.approval.operator)
        log.write((name, found.entries.get(name), None) for name in known)
        for name in known:
            publisher.send_bytes(CAMPAIGNS.topic, name.encode(), None)
    faults = {name: f"no such campaign in {CAMPAIGNS.topic.name}" for name in wanted if name not in known}
    _report(dict.fromkeys(known, "removed"), faults, json=json)


def show_history(
    campaign_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Which campaign; all of them if left out.", show_default=False)
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """List the changes of campaigns, the oldest first: when, who, which verb, why, and what it changed.

    A change is written before the campaign's record. One that is marked as
    not in effect was interrupted between the two: repeat its verb. Somebody
    else may have changed the record since then, as `campaigns list` shows.

    Examples: stream-coupons campaigns history
              stream-coupons campaigns history spring --json
    """
    from stream_coupons.kafka.clients import Reader

    settings = settings_with_topics(config, bootstrap)
    decode, changes = Decoder(topics.CAMPAIGN_CHANGES), list[CampaignChange]()
    with Reader(settings.kafka, [topics.CAMPAIGN_CHANGES.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            if record.value is not None and campaign_id in (None, (record.key or b"").decode(errors="replace")):
                changes.append(decode(record.value, topics.CAMPAIGN_CHANGES.max_message_bytes))
    found = [*history(changes, published(settings, CAMPAIGNS).entries)]
    if json:
        terminal.print_json(found, indent=2)
        return
    terminal.print_table(("at", "campaign", "verb", "state", "changed", "by", "reason"), map(_row, found))
    terminal.say(f"{len(found)} changes")


def _row(one: ListedChange) -> list[str]:
    change, states = one.change, [each.state if each else "none" for each in (one.change.before, one.change.after)]
    texts = (
        terminal.utc(change.at),
        change.campaign_id,
        change.verb if one.in_effect else f"{change.verb} (not in effect)",
        " -> ".join(dict.fromkeys(states)),
        ", ".join(name for name in one.fields if name != "state"),
        f"{change.by} (key {change.key_name})" if change.key_name else change.by,
        change.reason,
    )
    return [terminal.printable(text) for text in texts]


def keygen(
    file: Annotated[Path, typer.Argument(help="A new file; only its owner will be able to read it.")],
    json: JsonOption = False,
) -> None:
    """Write a private key to a file and print the public one, for approval.keys.

    Each operator has a key of their own. Keep the file, and give the printed
    key to whoever runs the workers. An existing file is never overwritten.

    Example: stream-coupons campaigns keygen ann.key
    """
    from stream_coupons.ops.campaign_approval import make_key

    public = make_key(file)
    if json:
        terminal.print_json({"public_key": public})
    else:
        typer.echo(public)

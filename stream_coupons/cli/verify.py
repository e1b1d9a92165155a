"""`verify`: audit a system by its topics, whether it runs or not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, client_of_topics, parse_time, settings_from
from stream_coupons.ops.interrupts import Interruptions

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.records import Record
    from stream_coupons.ops.audit.findings import Findings, Reported
    from stream_coupons.ops.audit.offsets import AuditedOffsets
    from stream_coupons.ops.audit.promised import PromisedRules


def never_checked() -> list[str]:
    """Return what no check covers."""
    from stream_coupons.ops.audit.coverage_check import NOT_FOLLOWED

    return [
        f"records of {', '.join(NOT_FOLLOWED)}",
        "a record skipped before a later one of the same key",
        "minimum spend, minimum pieces, gifts and free pieces: no topic has the order that the till saw",
        "scopes, weekdays, hours, channels, rules, items ordered before, and coupons that exclude each other",
        "predictions, values of arms and prices, and the size of a quantile hold",
        "decisions that are not on record, and those of a domain that the brake stops",
        "the hourly bound on what new shoppers draw",
        "a hold that is never freed",
        "what neighbours and models keep of an erased shopper",
    ]


def not_judged(promised: PromisedRules) -> list[str]:
    """Return what is not checked since the rules or the secret of the workers are not known."""
    from stream_coupons.ops.audit.promise_check import when

    found = []
    if math.isinf(promised.key_since_ms):
        found.append("holdout, draws and signatures: set secret_file as the workers do")
    elif promised.key_since_ms:
        found.append(f"holdout, draws and signatures before {when(promised.key_since_ms / 1000)}: other secret")
    if promised.since_ms:
        rules = "holdout, draws, cooldown, frequency cap, and caps by day, week and month"
        found.append(f"{rules} before {when(promised.since_ms / 1000)}: --settings-since")
    return found


def verify(
    json: Annotated[bool, typer.Option("--json", help="Print all of it as one JSON object, for a script.")] = False,
    settings_since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Since when the workers have these settings."),
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Check what a system has sent against what must always hold.

    Reads the topics from their beginning to the end that they have now,
    without a group: no worker is disturbed, and none has to run. What the
    workers have not committed yet is open, not wrong. What retention has
    dropped is not checked. Limits are the widest that the topics still hold
    for a coupon or a campaign. A budget with quantile holds may be overspent
    up to its max_overspend_ratio: up to there it is reported, beyond it is a
    violation. The changelogs say how far the state of a
    shopper or a limit was applied, and what each partition has drawn, freed
    and spent: that is compared with issues, feedback and ticks. Leases and
    reports are compared with each other and with the limits.

    What shoppers and marketers were promised is checked, too: holdout,
    pauses, times, quiet hours, cooldown, frequency cap, erasures, and that
    decisions on record are what the secret draws. Call it with the settings
    and the secret of the workers: --config. Without their secret, holdout,
    draws and signatures are not checked. After a change of the settings,
    --settings-since says since when they hold: what began before is not
    judged by them.

    What no check covers is listed. What the checks mean is in
    docs/explanation/guarantees.md. Takes about 600 bytes of memory for every
    issue and every shopper.

    Exit code 0 says that no check was violated, 1 that one was, with the
    first violation.

    Examples: stream-coupons verify --config settings.toml
              stream-coupons verify --settings-since 2026-01-02T18:00
              stream-coupons verify --json --bootstrap 127.0.0.1:9092
    """
    from stream_coupons import secret
    from stream_coupons.ops.audit.audit import READ, audit
    from stream_coupons.ops.audit.audit_topics import read_records, take_marks
    from stream_coupons.ops.audit.promised import PromisedRules

    settings = settings_from(config, bootstrap)
    rules = secret.rules_of(settings)
    with client_of_topics(settings.kafka) as client:
        marks = take_marks(client, settings.kafka)
    promised = PromisedRules(
        rules,
        (0.0 if settings_since is None else parse_time(settings_since, settings)) * 1000,
        secret.known_since(settings) * 1000,
    )
    with (
        terminal.fraction_progress("reading", marks.size(READ)) as progress,
        Interruptions() as interruptions,
    ):

        def read(names: tuple[str, ...]) -> Iterable[Record]:
            return interruptions.each(terminal.tracked(read_records(settings.kafka, names), progress))

        findings = audit(read, marks, promised)
    if interruptions.happened:
        terminal.stop_interrupted(": nothing is known")
    if json:
        terminal.print_json(report(findings, marks, promised))
    else:
        _print(findings, marks, promised)
    raise typer.Exit(1 if findings.count else 0)


def report(findings: Findings, marks: AuditedOffsets, promised: PromisedRules) -> dict[str, Any]:
    """Return all findings, for a script."""
    return {
        "clean": not findings.count,
        "violations": findings.count,
        "first": [str(violation) for violation in findings.violations],
        "checks": [
            {"invariant": check.invariant, "check": check.title, "about": check.about, **msgspec.to_builtins(tally)}
            for check, tally in findings.tallies.items()
        ],
        "not_committed": marks.lag(),
        "overspent": [
            {"account": one.account_id, "beyond_minor": one.beyond_minor, "budget_minor": one.budget_minor}
            for one in findings.overspent
        ],
        "beyond_holds": {name: msgspec.to_builtins(each) for name, each, _ in _beyond_holds(findings)},
        "lost_their_beginning": findings.shortened,
        "not_judged": not_judged(promised),
        "never_checked": never_checked(),
    }


def notes(findings: Findings, marks: AuditedOffsets, promised: PromisedRules) -> list[str]:
    """Return notes on what the numbers leave out."""
    lag = marks.lag()
    count, behind = sum(lag.values()), ", ".join(f"{name} {count}" for name, count in lag.items())
    lines = [
        f"{count} record{'s are' if count > 1 else ' is'} not committed yet ({behind}); "
        f"{'their' if count > 1 else 'its'} effects were not checked"
        if lag
        else "the system was idle: nothing was on its way"
    ]
    if findings.overspent:
        lines.append(f"overspent: {', '.join(map(str, findings.overspent))}, in minor units")
    lines += [
        f"{each.reports:,} {text}: {each.minor:,} minor units"
        for _, each, text in _beyond_holds(findings)
        if each.reports
    ]
    if findings.shortened:
        lines.append(f"retention has dropped the beginning of {', '.join(findings.shortened)}: not checked is its part")
    lines += [f"not checked: {each}" for each in not_judged(promised)]
    lines.append(f"never checked: {'; '.join(never_checked())}")
    return lines


def _beyond_holds(findings: Findings) -> list[tuple[str, Reported, str]]:
    """Return name, amount and text of what tills took and no hold was for."""
    return [
        ("used_again", findings.used_again, "coupons used in a further order"),
        ("used_late", findings.used_late, "purchases reported after a coupon's end"),
        ("not_booked", findings.not_booked, "purchases reported too late: in dead-letters, booked on no budget"),
    ]


def _print(findings: Findings, marks: AuditedOffsets, promised: PromisedRules) -> None:
    figures = ("checked", "open", "not checked", "violations")
    rows: list[tuple[str | Text, ...]] = [
        (
            *(check.invariant, check.title, check.about),
            *(f"{count:,}" for count in (tally.checked, tally.open, tally.not_checked)),
            Text(f"{tally.violations:,}", style="bold red" if tally.violations else ""),
        )
        for check, tally in findings.tallies.items()
    ]
    terminal.print_table(("", "check", "what must hold"), rows, figures)
    console = terminal.stdout()
    for line in notes(findings, marks, promised):
        terminal.say(line)
    if not findings.count:
        console.print("clean", style="bold green")
        return
    first = Text.assemble(("first violation: ", "bold red"), terminal.printable(str(findings.violations[0])))
    console.print(first, soft_wrap=True)
    console.print(f"{findings.count:,} violations", style="bold red")

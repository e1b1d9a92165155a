"""`verify`: audit a system by its topics, whether it runs or not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, client_of_topics, settings_from
from stream_coupons.ops.interrupts import Interruptions

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons.kafka.records import Record
    from stream_coupons.ops.audit.findings import Findings
    from stream_coupons.ops.audit.offsets import AuditedOffsets


def never_checked() -> str:
    """Return what no check covers."""
    from stream_coupons.ops.audit.coverage_check import NOT_FOLLOWED

    return (
        f"records of {', '.join(NOT_FOLLOWED)}; a record skipped before a later one of the same key; the shop's caps; "
        "exclusion groups; weekdays, hours and channels; prices, and the size of a quantile hold; a hold that is never "
        "freed"
    )


def verify(
    json: Annotated[bool, typer.Option("--json", help="Print all of it as one JSON object, for a script.")] = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Check what a system has sent against what must always hold.

    Reads the topics from their beginning to the end that they have now,
    without a group: no worker is disturbed, and none has to run. What the
    workers have not committed yet is open, not wrong. What retention has
    dropped is not checked. Limits are the widest that the topics still hold
    for a coupon or a campaign. A budget with quantile holds may be overspent
    by 5 % and one redemption: up to there it is reported, beyond it is a
    violation. The changelogs say how far the state of a
    shopper or a limit was applied, and what each partition has drawn, freed
    and spent: that is compared with issues, feedback and ticks. Leases and
    reports are compared with each other and with the limits. What the checks
    mean is in docs/explanation/design.md. Takes about 500 bytes of memory
    for every issue and every shopper.

    Exit code 0 says that no check was violated, 1 that one was, with the
    first violation.

    Examples: stream-coupons verify
              stream-coupons verify --json --bootstrap 127.0.0.1:9092
    """
    from stream_coupons.ops.audit.audit import READ, audit
    from stream_coupons.ops.audit.audit_topics import read_records, take_marks

    settings = settings_from(config, bootstrap)
    with client_of_topics(settings.kafka) as client:
        marks = take_marks(client, settings.kafka)
    with (
        terminal.fraction_progress("reading", marks.size(READ)) as progress,
        Interruptions() as interruptions,
    ):

        def read(names: tuple[str, ...]) -> Iterable[Record]:
            return interruptions.each(terminal.tracked(read_records(settings.kafka, names), progress))

        findings = audit(read, marks, settings.policy.time_zone)
    if interruptions.happened:
        terminal.stop_interrupted(": nothing is known")
    if json:
        terminal.print_json(report(findings, marks))
    else:
        _print(findings, marks)
    raise typer.Exit(1 if findings.count else 0)


def report(findings: Findings, marks: AuditedOffsets) -> dict[str, Any]:
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
        "lost_their_beginning": findings.shortened,
        "never_checked": never_checked(),
    }


def notes(findings: Findings, marks: AuditedOffsets) -> list[str]:
    """Return notes on what the numbers leave out."""
    lag = marks.lag()
    behind = ", ".join(f"{name} {count}" for name, count in lag.items())
    lines = [
        f"the workers had not committed {sum(lag.values())} records ({behind}): what would follow from them is open"
        if lag
        else "the system was idle: nothing was on its way"
    ]
    if findings.overspent:
        lines.append(f"overspent: {', '.join(map(str, findings.overspent))}, in minor units")
    if findings.shortened:
        lines.append(f"retention has dropped the beginning of {', '.join(findings.shortened)}: not checked is its part")
    lines.append(f"never checked: {never_checked()}")
    return lines


def _print(findings: Findings, marks: AuditedOffsets) -> None:
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
    for line in notes(findings, marks):
        terminal.say(line)
    if not findings.count:
        console.print("clean", style="bold green")
        return
    first = Text.assemble(("first violation: ", "bold red"), terminal.printable(str(findings.violations[0])))
    console.print(first, soft_wrap=True)
    console.print(f"{findings.count:,} violations", style="bold red")

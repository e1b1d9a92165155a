"""`doctor`: check everything that a worker needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.cli.status import WorkerOption, asked

if TYPE_CHECKING:  # no help needs it
    from stream_coupons.ops.doctor import Finding


def doctor(
    worker: WorkerOption = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Check everything that a worker needs, and say how to mend what is wrong.

    Checks that a broker answers, which guarantees it can give, topics,
    rights to read, the secret, the places of states, the clock against the
    broker's, and versions and settings of the workers at --worker, or of
    those that the settings name if they answer. Nothing is written. Exit
    code 1 if anything is wrong, 3 if no broker answers.

    Examples: stream-coupons doctor
              stream-coupons doctor --config settings.toml --json
              stream-coupons doctor --worker 10.0.0.5:9464
    """
    from stream_coupons.ops.doctor import examine

    settings = settings_from(config, bootstrap)
    findings = []
    for finding in examine(settings, asked(settings, worker)):
        findings.append(finding)
        if not json:
            _show(finding)
    if json:
        terminal.print_json(findings)
    wrong = sum(not finding.is_well for finding in findings)
    if wrong:
        terminal.remark(f"{wrong} of {len(findings)} findings {'is' if wrong == 1 else 'are'} wrong")
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    if finding.is_well:
        terminal.say(f"ok     {finding.check}: {finding.text}", "green")
    else:
        cure = f" -> {finding.cure}" if finding.cure else ""
        terminal.say(f"WRONG  {finding.check}: {terminal.printable_lines(finding.text)}{cure}", "bold red")

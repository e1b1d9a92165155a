"""`status`: how a running system is, on one screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, client_of_topics, settings_from

if TYPE_CHECKING:  # no help needs these
    from kafka import KafkaAdminClient

    from stream_coupons.ops.status import SystemState, WorkerState
    from stream_coupons.settings import Settings

WorkerOption = Annotated[
    list[str] | None,
    typer.Option(help="Port of a worker or learner, host:port; as often as there are."),
]
WATCH_EVERY_S = 5.0
CLEAR = "\x1b[H\x1b[2J"


def status(
    worker: WorkerOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Print it again every 5 s, until Ctrl-C.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Say how a running system is, and why it is not well, if so.

    Lag, owners of partitions, rates, models, budgets and dead letters come
    from Kafka. What only a worker knows comes from its metrics: those at
    --worker, else those that the settings name if they answer. A system is
    not well if a group has no member, a partition no owner, a record waits
    for over a minute, dead letters came in the last hour, or a worker that
    was named is not ready. Exit code 1 then, 3 if no broker answers.

    Examples: stream-coupons status
              stream-coupons status --watch
              stream-coupons status --worker 10.0.0.5:9464 --json
    """
    settings = settings_from(config, bootstrap)
    with client_of_topics(settings.kafka) as client:
        found = _read(client, settings, worker)
        terminal.show(found, _show, as_json=json)
        try:
            while watch:
                time.sleep(WATCH_EVERY_S)
                found = _read(client, settings, worker)
                if not json and terminal.stdout().is_terminal:
                    typer.echo(CLEAR, nl=False)
                terminal.show(found, _show, as_json=json)
        except KeyboardInterrupt:
            terminal.stop_interrupted("")
    if found.problems:
        raise typer.Exit(1)


def _read(client: KafkaAdminClient, settings: Settings, named: list[str] | None) -> SystemState:
    from stream_coupons.ops.campaign_states import read_accounts, states_of
    from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
    from stream_coupons.ops.published import published
    from stream_coupons.ops.status import BudgetState, read_models, read_status

    campaigns, coupons = published(settings, CAMPAIGNS).entries.values(), published(settings, COUPONS).entries.values()
    states = states_of(campaigns, coupons, read_accounts(settings.kafka), time.time()) if campaigns else []
    budgets = [BudgetState(one.campaign.campaign_id, one.state, one.share_used, one.price) for one in states]
    models = read_models(settings.kafka, time.time())
    return read_status(client, settings.kafka, budgets, asked(settings, named), models)


def asked(settings: Settings, named: list[str] | None) -> list[WorkerState]:
    """Return the answers of the named workers, or of those of the settings as far as they answer."""
    from stream_coupons.ops.status import ask_worker

    ports = settings.worker.metrics_port, settings.worker.learner_metrics_port
    addresses = named or [f"{settings.worker.metrics_host}:{port}" for port in ports if port]
    workers = [ask_worker(address if "://" in address else f"http://{address}") for address in addresses]
    return [one for one in workers if named or one.answers]


def _show(found: SystemState) -> None:
    for problem in found.problems:
        terminal.warn(problem)
    terminal.say("not well" if found.problems else "well", "bold red" if found.problems else "bold green")
    terminal.say(
        f"{found.events_per_s:g} events/s, {found.coupons_per_s:g} coupons/s, "
        f"{found.dead_letters} dead letters kept, {found.dead_letters_last_hour} of the last hour"
    )
    terminal.print_table(("input", "group"), _inputs(found), ("lag",))
    owners = [
        (group.group, name, ", ".join(map(str, numbers)) or "stands by")
        for group in found.groups
        for name, numbers in group.owners.items()
    ]
    terminal.print_table(("group", "member", "partitions"), owners)
    if found.models:
        models = [(one.domain, str(one.version), f"{one.age_s:,.0f} s") for one in found.models]
        terminal.print_table(("model",), models, ("version", "age"))
    if found.budgets:
        budgets = [
            (one.campaign, one.state, "-" if one.share_used is None else f"{one.share_used:.1%}", f"{one.price:g}")
            for one in found.budgets
        ]
        terminal.print_table(("campaign", "state"), budgets, ("used", "price"))
    for one in found.workers:
        sold_out = "" if one.sold_out_ratio is None else f", {one.sold_out_ratio:.1%} sold out"
        state = "not ready" if one.reasons or not one.answers else f"ready{sold_out}"
        terminal.say(f"{one.address}: {state}" + (f", version {one.version}" if one.version else ""))


def _inputs(found: SystemState) -> list[tuple[str, str, str]]:
    return [(one.topic, one.group, f"{one.lag:,}") for one in found.inputs]

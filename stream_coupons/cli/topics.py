"""`topics`: create, check and list the topics."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.kafka import topics

app = typer.Typer(no_args_is_help=True)


@app.command("apply")
def apply(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    check: Annotated[bool, typer.Option("--check", help="Create nothing; fail if anything is missing.")] = False,
    json: JsonOption = False,
) -> None:
    """Create the topics that are missing; refuse if one is there but differs.

    Examples: stream-coupons topics apply --bootstrap 127.0.0.1:9092
              stream-coupons topics apply --check --json
    """
    from stream_coupons.kafka import admin

    settings = settings_from(config, bootstrap)
    with admin.admin_client(settings.kafka) as client:
        states = admin.apply(client, settings.kafka, check_only=check)
    names = {state: settings.kafka.broker_name(state.topic.name) for state in states}
    created = [name for state, name in names.items() if not state.exists]
    if json:
        terminal.print_json({"topics": list(names.values()), "created": created})
    else:
        terminal.say(f"{len(states)} topics ready ({len(created)} created)")


@app.command("list")
def show(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the topics of a system, as brokers name them, with their keys, partitions and retention.

    Examples: stream-coupons topics list --json
              STREAM_COUPONS_KAFKA__NAMESPACE=shop-a. stream-coupons topics list
    """
    name_of = settings_from(config, None).kafka.broker_name
    if json:
        rows = [
            {
                "name": name_of(t.name),
                "key": t.key,
                "about": t.about,
                "partitions": t.partitions,
                "configs": t.configs(),
            }
            for t in topics.ALL
        ]
        terminal.print_json(rows)
        return
    lines = [(name_of(t.name), t.key, str(t.partitions or "kafka.partitions"), _kept(t), t.about) for t in topics.ALL]
    terminal.print_table(("topic", "key", "partitions", "kept", "what it carries"), lines)


def _kept(topic: topics.Topic) -> str:
    if topic.cleanup is topics.Cleanup.COMPACT:
        return "the last of each key"
    if topic.retention_ms == topics.FOR_EVER:
        return "for ever"
    days = topic.retention_ms // topics.DAY_MS
    last = "the last of each key, for " if topic.cleanup is topics.Cleanup.COMPACT_AND_DELETE else ""
    return f"{last}{days} day{'s' * (days > 1)}"

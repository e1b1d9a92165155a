"""Options that verbs share."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings, load

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="STREAM_COUPONS_CONFIG",
        help="Settings file (TOML); deploy/settings.toml is the reference.",
    ),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap", "-b", help="Broker addresses, host:port[,host:port]; overrides the settings."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def require_topics(kafka: KafkaSettings) -> None:
    """See that a broker answers and has the topics as they must be.

    Raises
    ------
    BadConfig
    """
    from stream_coupons.kafka import admin  # it takes kafka-python, which no help needs

    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka, check_only=True)


def settings_from(config: Path | None, bootstrap: str | None) -> Settings:
    """Settings from file and environment, with the brokers' address from the command line if given.

    Raises
    ------
    BadConfig
    """
    settings = load(config)
    if bootstrap is None:
        return settings
    try:
        return msgspec.structs.replace(settings, kafka=msgspec.structs.replace(settings.kafka, bootstrap=bootstrap))
    except ValueError as error:
        raise BadConfig(f"--{error}") from None

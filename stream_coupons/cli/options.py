"""Options that verbs share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.times import EXPECTED, epoch_seconds
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import Settings, load

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

    from stream_coupons.kafka.clients import Publisher

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="STREAM_COUPONS_CONFIG",
        help="Settings file (TOML); `settings show --default` prints one.",
    ),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap", "-b", help="Broker addresses, host:port[,host:port]; overrides the settings."),
]
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Seconds by unit of a duration."""
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check the file only; needs no broker.")]


def parse_duration(text: str) -> float:
    """Return the seconds of a number and a unit, such as 90s, 45m, 12h, 7d or 2w.

    Raises
    ------
    BadConfig
    """
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS_S or not number.isascii() or not number.isdigit():
        raise BadConfig(f"{text!r} is no duration, expected a whole number and one of {', '.join(UNITS_S)}, as in 7d")
    return int(number) * UNITS_S[unit]


def parse_time(text: str, settings: Settings) -> float:
    """Return UTC epoch seconds of an ISO 8601 time, in the shop's zone without an offset, or of such a number.

    A number with `s`, `m`, `h` or `d` is so long ago: `7d`.

    Raises
    ------
    BadConfig
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS_S else (text, "")
    try:
        at = float(number)
    except ValueError:
        try:
            return epoch_seconds(text, settings.shop.zone)
        except ValueError as error:
            raise BadConfig(f"{error}, or 7d for a week ago") from None
    if unit and at >= 0:
        at = time.time() - at * UNITS_S[unit]
    if not 0 <= at <= END_OF_TIME:
        raise BadConfig(f"{text!r} is not from 1970 to 2099; {EXPECTED}, or 7d for a week ago")
    return at


def require_broker(connection: Connection) -> None:
    """See that a broker answers, within seconds: a consumer would try for ever.

    Raises
    ------
    BadConfig
    """
    from stream_coupons.kafka import admin  # it takes kafka-python, which no help needs

    with admin.admin_client(connection):
        pass


@contextmanager
def client_of_topics(kafka: KafkaSettings) -> Iterator["KafkaAdminClient"]:
    """Yield a client of a broker that answers and has the topics as they must be.

    Raises
    ------
    BadConfig
    """
    from stream_coupons.kafka import admin  # it takes kafka-python, which no help needs

    with admin.admin_client(kafka) as client:
        admin.apply(client, kafka, check_only=True)
        yield client


def publisher_of(kafka: KafkaSettings) -> "Publisher":
    """Return a publisher to the topics."""
    from stream_coupons.kafka.clients import Publisher  # it takes kafka-python, which no help needs

    return Publisher(kafka, kafka.partitions)


def settings_with_topics(config: Path | None, bootstrap: str | None) -> Settings:
    """Return settings of brokers that answer and have the topics.

    Raises
    ------
    BadConfig
    """
    settings = settings_from(config, bootstrap)
    with client_of_topics(settings.kafka):
        return settings


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

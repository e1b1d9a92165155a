"""`worker`: run the agents."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_from
from stream_coupons.core.draws import DrawKey
from stream_coupons.settings import Settings


class LogLevel(StrEnum):
    """Minimum level of a logged line."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


LogLevelOption = Annotated[LogLevel, typer.Option(help="The least that is logged.", case_sensitive=False)]


def worker(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Port of metrics and probes; 0 for none. A learner has the next one.", min=0, max=65534),
    ] = None,
    learner: Annotated[bool, typer.Option(help="Run a learner beside it.")] = True,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Run one worker until SIGTERM or Ctrl-C; start more of them to share the partitions.

    The topics must exist: see `stream-coupons topics apply`. It needs a
    secret: see `stream-coupons secret make`. A worker decides. It also
    starts a learner in a process of its own, watches it and ends it; with
    --no-learner run `stream-coupons learner` as a unit of its own. On
    SIGUSR2 the learner publishes at once what it has learnt.

    Example: stream-coupons worker --config deploy/settings.toml
    """
    # Here, so that the help and completion need not import Faust.
    from stream_coupons.worker import worker_process
    from stream_coupons.worker.homes import check_homes

    settings = settings_from(config, bootstrap)
    if metrics_port is not None:
        changed = msgspec.structs.replace(settings.worker, metrics_port=metrics_port)
        settings = msgspec.structs.replace(settings, worker=changed)
    key = checked_key(settings)
    check_homes(settings.kafka)
    command = _learner_command(config, settings, log_level) if learner else ()
    worker_process.run(settings, key, log_level.value, command)


def checked_key(settings: Settings) -> DrawKey:
    """Return the key of the secret, once settings, topics and secret are found to be in order.

    Raises
    ------
    BadConfig
        If one of them is not.
    """
    from stream_coupons import secret
    from stream_coupons.kafka import admin

    key = secret.workers_key(settings)
    if settings.learning.imported:
        from stream_coupons.models.plugins import check_plugins, check_signed

        check_signed(settings.learning, key)
        check_plugins(settings.learning)
    with admin.admin_client(settings.kafka) as client:
        admin.apply(client, settings.kafka, check_only=True)
        admin.check_guarantee(client, settings.kafka)
    secret.check(settings, key)
    return key


def _learner_command(config: Path | None, settings: Settings, log_level: LogLevel) -> tuple[str, ...]:
    """Return the command of a learner with the same settings."""
    options = {
        "--bootstrap": settings.kafka.bootstrap,
        "--metrics-port": str(settings.worker.learner_metrics_port),
        "--log-level": log_level.value,
    } | ({"--config": str(config)} if config else {})
    return (
        sys.executable,
        "-m",
        "stream_coupons",
        "learner",
        "--piped",
        *(word for pair in options.items() for word in pair),
    )

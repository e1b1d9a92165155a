"""`worker`: run the agents."""

from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_from


class LogLevel(StrEnum):
    """What a line must be at least to be logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def worker(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of the Prometheus endpoint; 0 for none.", min=0, max=65535)
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(help="The least that is logged.", case_sensitive=False)
    ] = LogLevel.INFO,
) -> None:
    """Run one worker until SIGTERM or Ctrl-C; start more of them to share the partitions.

    The topics must exist: see `stream-coupons topics apply`. It needs a
    secret: see `stream-coupons secret make`. On SIGUSR2 the worker publishes
    at once what its learner has learnt.

    Example: stream-coupons worker --config deploy/settings.toml
    """
    # Here, so that the help and completion need not import Faust.
    from stream_coupons import admin, secret
    from stream_coupons.cli.worker_process import run

    settings = settings_from(config, bootstrap)
    if metrics_port is not None:
        settings = msgspec.structs.replace(
            settings, worker=msgspec.structs.replace(settings.worker, metrics_port=metrics_port)
        )
    key = secret.workers_key(settings)
    with admin.admin_client(settings.kafka) as client:
        admin.apply(client, settings.kafka, check_only=True)
        admin.check_guarantee(client, settings.kafka)
        admin.check_homes(settings.kafka)
    secret.check(settings, key)
    run(settings, key, log_level.value)

"""`worker`: run the agents."""

from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_from
from stream_coupons.core.errors import BadConfig
from stream_coupons.settings import Role, Settings


class LogLevel(StrEnum):
    """Minimum level of a logged line."""

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
    roles: Annotated[
        str | None,
        typer.Option(help="What to run, comma-separated: decide, learn. Default: both, each in a process of its own."),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option(help="The least that is logged.", case_sensitive=False)
    ] = LogLevel.INFO,
) -> None:
    """Run one worker until SIGTERM or Ctrl-C; start more of them to share the partitions.

    The topics must exist: see `stream-coupons topics apply`. It needs a
    secret: see `stream-coupons secret make`. A worker decides in one process
    and learns in another, which it starts, watches and ends. Of all learners
    one is active; the others stand by. On SIGUSR2 the worker publishes at
    once what its learner has learnt.

    Example: stream-coupons worker --config deploy/settings.toml
    """
    # Here, so that the help and completion need not import Faust.
    from stream_coupons import secret
    from stream_coupons.kafka import admin
    from stream_coupons.worker.homes import check_homes

    settings = _with_options(settings_from(config, bootstrap), metrics_port, roles)
    key = secret.workers_key(settings)
    if settings.learning.imported:
        from stream_coupons.models.plugins import check_plugins, check_signed

        check_signed(settings.learning, key)
        check_plugins(settings.learning)
    with admin.admin_client(settings.kafka) as client:
        admin.apply(client, settings.kafka, check_only=True)
        admin.check_guarantee(client, settings.kafka)
        check_homes(settings.kafka)
    secret.check(settings, key)
    if Role.DECIDE in settings.worker.roles:
        from stream_coupons.worker import worker_process

        worker_process.run(settings, key, log_level.value)
    else:
        from stream_coupons.worker import learner_process

        learner_process.run(settings, log_level.value)


def _with_options(settings: Settings, metrics_port: int | None, roles: str | None) -> Settings:
    worker = settings.worker
    if metrics_port is not None:
        worker = msgspec.structs.replace(worker, metrics_port=metrics_port)
    if roles is not None:
        try:
            worker = msgspec.structs.replace(worker, roles=[Role(role) for role in roles.split(",")])
        except ValueError:
            raise BadConfig(f"--roles: {roles!r}, expected one or both of {', '.join(Role)}, comma-separated") from None
    return msgspec.structs.replace(settings, worker=worker)

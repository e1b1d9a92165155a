"""`worker`: run the agents."""

import asyncio
import logging
import sys
from enum import StrEnum
from typing import Annotated, Any

import faust
import msgspec
import typer
import uvloop

from stream_coupons import admin, secret
from stream_coupons.app import CouponApp
from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_from
from stream_coupons.core.draws import DrawKey
from stream_coupons.runtime.garbage import collect_rarely
from stream_coupons.runtime.repeats import say_once_a_minute
from stream_coupons.runtime.watchdog import ENDS, Watchdog
from stream_coupons.settings import Settings

log = logging.getLogger(__name__)


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
    run(settings, key, log_level)


class _Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker process, whose SIGUSR2 publishes what was learnt in place of opening a debugger."""

    def __init__(self, parts: CouponApp, **options: Any) -> None:
        super().__init__(parts.faust, **options)
        self._publish_soon = parts.learner.publish_soon

    def _on_sigusr2(self) -> None:
        self._publish_soon()


def run(settings: Settings, key: DrawKey, log_level: LogLevel) -> None:
    """Run the Faust application; exits the process."""
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    say_once_a_minute("aiokafka")
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    parts = CouponApp(settings, key)
    app = parts.faust
    try:
        parts.open_port()
        process = _Worker(parts, loglevel=log_level.value, quiet=False, loop=loop, stdout=sys.stderr, stderr=sys.stderr)
        process.spinner = None
        collect_rarely()
        Watchdog(app, parts.progress, settings.worker.stalled_after_s).start()
        process.execute_from_commandline()
    finally:
        parts.close()
        if app.crash_reason is not None:
            log.critical(ENDS, repr(app.crash_reason))

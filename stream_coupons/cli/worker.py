"""`worker`: run the agents."""

import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_from
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import BrokerAway
from stream_coupons.observability.log_lines import LogFormat, write_log
from stream_coupons.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")
RETRY_PAUSE_S = 1.0


class LogLevel(StrEnum):
    """Minimum level of a logged line."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


LogFormatOption = Annotated[
    LogFormat, typer.Option(help="Format of a logged line; json for a log collector.", case_sensitive=False)
]
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
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run one worker until SIGTERM or Ctrl-C; start more of them to share the partitions.

    The topics must exist: see `stream-coupons topics apply`. It needs a
    secret: see `stream-coupons secret make`. A worker decides. It also
    starts a learner in a process of its own, watches it and ends it; with
    --no-learner run `stream-coupons learner` as a unit of its own. On
    SIGUSR2 the learner publishes at once what it has learnt.

    While no broker answers it waits, and goes on by itself.

    Examples: stream-coupons worker --config settings.toml
              stream-coupons worker --no-learner --log-format json
    """
    # Here, so that the help and completion need not import Faust.
    from stream_coupons.worker import memory, worker_process
    from stream_coupons.worker.homes import check_homes

    memory.keep_one_heap()
    settings = settings_from(config, bootstrap)
    write_log("worker", log_level.value, log_format)
    if metrics_port is not None:
        changed = msgspec.structs.replace(settings.worker, metrics_port=metrics_port)
        settings = msgspec.structs.replace(settings, worker=changed)
    host, port = settings.worker.metrics_host, settings.worker.metrics_port
    key = when_kafka_answers(lambda: checked_key(settings), host, port)
    when_kafka_answers(lambda: check_homes(settings.kafka), host, port)
    command = _learner_command(config, settings, log_level, log_format) if learner else ()
    worker_process.run(settings, key, command)


def when_kafka_answers(check: Callable[[], T], host: str, port: int) -> T:
    """Return the result of a check, as soon as a broker answers; log at growing intervals that none does.

    Meanwhile probes are answered, as one that is not would have the process killed, and SIGTERM ends it, also as the
    first process of a container, for which the kernel has no default.

    Parameters
    ----------
    check : callable
        Asks a broker.
    host, port : str, int
        Address of the process's metrics and probes; 0 for none.

    Raises
    ------
    BadConfig
        If the check fails, or the port is taken.
    """
    from prometheus_client import CollectorRegistry

    from stream_coupons.observability.endpoint import Endpoint
    from stream_coupons.worker.state_log import GrowingIntervals

    intervals, began, is_waiting = GrowingIntervals(), time.monotonic(), False
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)))
        while True:
            try:
                found = check()
            except BrokerAway as away:
                if port and not is_waiting:
                    probes = {"/ready": lambda: ["no broker of Kafka answers"], "/live": list[str]}
                    stack.enter_context(closing(Endpoint(host, port, CollectorRegistry(), probes)))
                is_waiting = True
                waited_s = time.monotonic() - began
                if intervals.is_due(waited_s):
                    log.warning("Kafka has not answered for %.0f s; waiting (%s)", waited_s, away)
                time.sleep(RETRY_PAUSE_S)
            else:
                if intervals.has_begun:
                    log.info("Kafka answers after %.0f s", time.monotonic() - began)
                return found


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


def _learner_command(
    config: Path | None, settings: Settings, log_level: LogLevel, log_format: LogFormat
) -> tuple[str, ...]:
    """Return the command of a learner with the same settings."""
    options = {
        "--bootstrap": settings.kafka.bootstrap,
        "--metrics-port": str(settings.worker.learner_metrics_port),
        "--log-level": log_level.value,
        "--log-format": log_format.value,
    } | ({"--config": str(config)} if config else {})
    return (
        sys.executable,
        "-m",
        "stream_coupons",
        "learner",
        "--piped",
        *(word for pair in options.items() for word in pair),
    )

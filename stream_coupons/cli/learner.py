"""`learner`: run the process that learns."""

from typing import Annotated

import typer

from stream_coupons.cli.options import BootstrapOption, ConfigOption, settings_from
from stream_coupons.cli.worker import LogFormatOption, LogLevel, LogLevelOption, checked_key, when_kafka_answers
from stream_coupons.observability.log_lines import LogFormat, write_log


def learner(
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Port of metrics and probes; 0 for none. Default: behind the worker's.", min=0, max=65535),
    ] = None,
    log_level: LogLevelOption = LogLevel.INFO,
    log_format: LogFormatOption = LogFormat.TEXT,
    piped: Annotated[bool, typer.Option("--piped", help="Standard input is a worker's pipe.", hidden=True)] = False,
) -> None:
    """Run one learner until SIGTERM or Ctrl-C; of several, one learns and the others stand by.

    It learns from training examples and publishes model snapshots, for
    workers that run with --no-learner; it needs the settings and the secret
    of the workers. On SIGUSR2 it publishes at once what it has learnt.
    While no broker answers it waits, and goes on by itself.

    Examples: stream-coupons learner --config settings.toml
              stream-coupons learner --log-format json
    """
    # Here, so that the help and completion need not import Faust.
    from stream_coupons.worker import learner_process, memory

    memory.keep_one_heap()
    settings = settings_from(config, bootstrap)
    write_log("learner", log_level.value, log_format)
    port = settings.worker.learner_metrics_port if metrics_port is None else metrics_port
    key = when_kafka_answers(lambda: checked_key(settings), settings.worker.metrics_host, port)
    learner_process.run(settings, key, port, piped)

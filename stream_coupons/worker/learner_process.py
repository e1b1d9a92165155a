"""The process that learns: `worker` starts it beside the one that decides, or is it, with `--roles learn`.

As a child it reads settings, and what it is asked to do, from standard input, and writes a report every second to
standard output; see `worker/child.py`. It leaves when its standard input ends.
"""

import logging
import os
import signal
import threading
from contextlib import suppress

import msgspec
from prometheus_client import ProcessCollector

from stream_coupons.settings import Settings
from stream_coupons.worker.child import frames, send_frame
from stream_coupons.worker.learner_app import LearnerApp
from stream_coupons.worker.learner_link import PUBLISH, Greeting, LearnerStatus, families_of
from stream_coupons.worker.worker_process import execute, prepare, serve

STDIN, STDOUT, STDERR = range(3)
REPORT_EVERY_S = 1.0
NICENESS = 5
"""Niceness of the learner: on a core that deciding needs, too, it gets about a quarter (weight 335 against 1024)."""


def run(settings: Settings, log_level: str) -> None:
    """Run the process that learns in the place of one that decides; exits the process."""
    loop = prepare()
    parts = LearnerApp(settings)
    metrics = parts.metrics
    metrics.learner_ready.set_function(parts.is_ready)
    metrics.registry.unregister(metrics.ready)
    metrics.registry.unregister(metrics.learner_restarts)
    probes = {"ready": parts.why_not_ready, "live": parts.why_not_live}
    serve(settings.worker, metrics.registry, metrics.registry, **probes)
    execute(parts, loop, log_level, parts.learner.publish_soon)


def main() -> None:
    """Run the process that learns as a child of the one that decides; exits the process."""
    requests, reports = frames(STDIN), os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)  # whatever else is printed is no report
    greeting = msgspec.json.decode(next(requests), type=Greeting)
    os.nice(NICENESS)
    _sign_log_lines()
    loop = prepare()
    parts = LearnerApp(greeting.settings)
    ProcessCollector(namespace="learner", registry=parts.metrics.registry)

    def obey() -> None:
        for request in requests:
            if request == PUBLISH:
                loop.call_soon_threadsafe(parts.learner.publish_soon)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=obey, name="requests", daemon=True).start()
    threading.Thread(target=_report, args=(parts, reports), name="reports", daemon=True).start()
    execute(parts, loop, greeting.log_level, parts.learner.publish_soon)


def _report(parts: LearnerApp, descriptor: int) -> None:
    """Report every second, in a thread: a parent that is stopped reads nothing, and must not stop the event loop."""
    pause = threading.Event()
    with suppress(BrokenPipeError):  # its parent has ended, and so will this process
        while True:
            report = LearnerStatus([*parts.why_not_ready(), *parts.why_not_live()], families_of(parts.metrics.registry))
            send_frame(descriptor, msgspec.msgpack.encode(report))
            pause.wait(REPORT_EVERY_S)


def _sign_log_lines() -> None:
    """Let every line of the log name the learner beside the process id, as both processes write to one stream."""
    make = logging.getLogRecordFactory()

    def make_signed(*args: object, **about: object) -> logging.LogRecord:
        record = make(*args, **about)
        record.process = f"learner {record.process}"  # type: ignore[assignment]
        return record

    logging.setLogRecordFactory(make_signed)


if __name__ == "__main__":
    main()

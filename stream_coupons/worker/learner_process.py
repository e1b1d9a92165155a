"""The process that learns: `stream-coupons learner`."""

import os
import signal
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable

from stream_coupons.core.draws import DrawKey
from stream_coupons.settings import Settings
from stream_coupons.worker.learner_app import LearnerApp
from stream_coupons.worker.worker_process import execute, prepare, serve

STDIN = 0
REQUESTS_AT_ONCE = 1024
NICENESS = 5
"""Niceness beside a worker: on a core that deciding needs, too, it gets about a quarter (weight 335 against 1024)."""


def run(settings: Settings, key: DrawKey, metrics_port: int, is_piped: bool) -> None:
    """Run the process that learns; exits the process.

    Parameters
    ----------
    metrics_port : int
        Port of its metrics and probes; 0 for none.
    is_piped : bool
        Whether standard input is the pipe of a worker: see `learner_beside`.
    """
    loop = prepare()
    parts = LearnerApp(settings, key)
    metrics = parts.metrics
    metrics.learner_ready.set_function(parts.is_ready)
    metrics.registry.unregister(metrics.ready)
    parts.metrics_port = metrics_port
    serve(settings.worker.metrics_host, metrics_port, parts)
    if is_piped:
        os.nice(NICENESS)
        threading.Thread(target=_obey, args=(loop, parts.learner.publish_soon), name="requests", daemon=True).start()
    execute(parts, loop, "learner", parts.learner.publish_soon)


def _obey(loop: AbstractEventLoop, publish_soon: Callable[[], None]) -> None:
    """Publish when the worker asks for it, and leave when it ends.

    Without a buffered reader: one that a daemon thread waits in makes Python abort when the process ends.
    """
    while os.read(STDIN, REQUESTS_AT_ONCE):
        loop.call_soon_threadsafe(publish_soon)
    os.kill(os.getpid(), signal.SIGTERM)

"""The process that decides, `stream-coupons worker`, and what it shares with the one that learns."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import uvloop
from prometheus_client import PlatformCollector, ProcessCollector

from stream_coupons.core.draws import DrawKey
from stream_coupons.kafka.broken_connections import raise_connection_errors
from stream_coupons.observability.endpoint import Endpoint
from stream_coupons.observability.log_lines import hold_back_while
from stream_coupons.runtime.faust_driver.application import Process
from stream_coupons.settings import Settings
from stream_coupons.worker.app import CouponApp
from stream_coupons.worker.learner_beside import LearnerBeside
from stream_coupons.worker.member import Member
from stream_coupons.worker.memory import collect_rarely
from stream_coupons.worker.state_log import StateLog
from stream_coupons.worker.watchdog import ENDS, Watchdog

log = logging.getLogger(__name__)


def prepare() -> asyncio.AbstractEventLoop:
    """Make this process one that runs a `Member`; return the event loop that it is to use."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # for the loop of the consumer's thread, too
    raise_connection_errors()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def execute(
    member: Member,
    loop: asyncio.AbstractEventLoop,
    role: str,
    publish_soon: Callable[[], None],
    helper: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
) -> None:
    """Run a Faust application, with a helper beside it; exits the process."""
    app, settings = member.faust, member.settings
    hold_back_while(member.is_away)
    try:
        process = Process(
            app, publish_soon, override_logging=False, quiet=True, loop=loop, stdout=sys.stderr, stderr=sys.stderr
        )
        process.spinner = None
        collect_rarely()
        state = StateLog(role, member, settings.kafka.bootstrap, member.describe, time.monotonic)
        Watchdog(app, member.progress, state.look, settings.worker.stalled_after_s).start()
        with helper:
            process.execute_from_commandline()
    finally:
        if app.crash_reason is not None:
            log.critical(ENDS, repr(app.crash_reason))


def serve(host: str, port: int, member: Member) -> None:
    """Serve metrics and probes, as long as the process lasts; a probe is asked when somebody asks for its path.

    Raises
    ------
    BadConfig
        If the port is taken; so this comes before the group is joined.
    """
    registry = member.metrics.registry
    # Memory, CPU time and descriptors, which an injected registry lacks.
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    if port:
        Endpoint(host, port, registry, {"/ready": member.why_not_ready, "/live": member.why_not_live})


def run(settings: Settings, key: DrawKey, learner_command: Sequence[str] = ()) -> None:
    """Run the process that decides; exits the process.

    Parameters
    ----------
    learner_command : sequence of str
        Program and arguments of a learner to keep running beside it; empty if learners run as units of their own.
    """
    loop = prepare()
    parts = CouponApp(settings, key)
    metrics, worker = parts.metrics, settings.worker
    metrics.ready.set_function(parts.is_ready)
    metrics.registry.unregister(metrics.learner_ready)
    try:
        serve(worker.metrics_host, worker.metrics_port, parts)
        if learner_command:
            learner = LearnerBeside(learner_command, parts.faust)
            execute(parts, loop, "worker", learner.publish_soon, learner)
        else:
            execute(parts, loop, "worker", lambda: log.info("this worker has no learner: nothing is published"))
    finally:
        parts.close()

"""The processes that `worker` runs: one that decides, and one that learns."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import uvloop
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from stream_coupons.core.draws import DrawKey
from stream_coupons.observability.endpoint import Endpoint, Probe
from stream_coupons.observability.log_throttle import say_once_a_minute
from stream_coupons.runtime.faust_driver.application import Process
from stream_coupons.settings import Role, Settings, WorkerSettings
from stream_coupons.worker.app import CouponApp
from stream_coupons.worker.garbage import collect_rarely
from stream_coupons.worker.learner_link import LearnerProcess, MergedRegistry
from stream_coupons.worker.member import Member
from stream_coupons.worker.watchdog import ENDS, Watchdog

log = logging.getLogger(__name__)


def prepare() -> asyncio.AbstractEventLoop:
    """Make this process one that runs a `Member`; return the event loop that it is to use."""
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    say_once_a_minute("aiokafka")
    say_once_a_minute("stream_coupons.core.decision.pipeline")  # what a policy from another package fails by
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # for the loop of the consumer's thread, too
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def execute(
    member: Member,
    loop: asyncio.AbstractEventLoop,
    log_level: str,
    publish_soon: Callable[[], None],
    helper: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
) -> None:
    """Run a Faust application, with a helper beside it; exits the process."""
    app = member.faust
    try:
        process = Process(
            app, publish_soon, loglevel=log_level, quiet=False, loop=loop, stdout=sys.stderr, stderr=sys.stderr
        )
        process.spinner = None
        collect_rarely()
        Watchdog(app, member.progress, member.settings.worker.stalled_after_s).start()
        with helper:
            process.execute_from_commandline()
    finally:
        if app.crash_reason is not None:
            log.critical(ENDS, repr(app.crash_reason))


def serve(worker: WorkerSettings, metrics: CollectorRegistry, exported: CollectorRegistry, **probes: Probe) -> None:
    """Serve metrics and probes, as long as the process lasts; a probe is asked when somebody asks for its path.

    Raises
    ------
    BadConfig
        If the port is taken; so this comes before the group is joined.
    """
    # Memory, CPU time and descriptors, which an injected registry lacks.
    ProcessCollector(registry=metrics)
    PlatformCollector(registry=metrics)
    if worker.metrics_port:
        paths = {f"/{name}": probe for name, probe in probes.items()}
        remarks = {"/ready": "/learning"} if "/learning" in paths else {}
        Endpoint(worker.metrics_host, worker.metrics_port, exported, paths, remarks)


def run(settings: Settings, key: DrawKey, log_level: str) -> None:
    """Run the process that decides, which keeps one that learns if that is among the roles; exits the process."""
    loop = prepare()
    parts = CouponApp(settings, key)
    metrics, worker = parts.metrics, settings.worker
    metrics.ready.set_function(parts.is_ready)
    probes: dict[str, Probe] = {"ready": parts.why_not_ready, "live": parts.why_not_live}
    try:
        if Role.LEARN in worker.roles:
            learner = LearnerProcess(settings, log_level, parts.faust, metrics.learner_restarts.inc)
            metrics.learner_ready.set_function(lambda: not learner.why_not_ready())
            exported = MergedRegistry(metrics.registry, learner.families)
            serve(worker, metrics.registry, exported, **probes, learning=learner.why_not_ready)
            execute(parts, loop, log_level, learner.publish_soon, learner)
        else:
            metrics.registry.unregister(metrics.learner_ready)
            metrics.registry.unregister(metrics.learner_restarts)
            serve(worker, metrics.registry, metrics.registry, **probes)
            execute(parts, loop, log_level, lambda: log.info("this worker does not learn: nothing is published"))
    finally:
        parts.close()

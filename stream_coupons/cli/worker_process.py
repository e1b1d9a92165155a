"""The process that `worker` runs."""

import asyncio
import logging
import sys
from typing import Any

import faust
import uvloop

from stream_coupons.app import CouponApp
from stream_coupons.core.draws import DrawKey
from stream_coupons.runtime.garbage import collect_rarely
from stream_coupons.runtime.repeats import say_once_a_minute
from stream_coupons.runtime.watchdog import ENDS, Watchdog
from stream_coupons.settings import Settings

log = logging.getLogger(__name__)


class _Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker process, whose SIGUSR2 publishes what was learnt in place of opening a debugger."""

    def __init__(self, parts: CouponApp, **options: Any) -> None:
        super().__init__(parts.faust, **options)
        self._publish_soon = parts.learner.publish_soon

    def _on_sigusr2(self) -> None:
        self._publish_soon()


def run(settings: Settings, key: DrawKey, log_level: str) -> None:
    """Run the Faust application; exits the process."""
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    say_once_a_minute("aiokafka")
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    parts = CouponApp(settings, key)
    app = parts.faust
    try:
        parts.open_port()
        process = _Worker(parts, loglevel=log_level, quiet=False, loop=loop, stdout=sys.stderr, stderr=sys.stderr)
        process.spinner = None
        collect_rarely()
        Watchdog(app, parts.progress, settings.worker.stalled_after_s).start()
        process.execute_from_commandline()
    finally:
        parts.close()
        if app.crash_reason is not None:
            log.critical(ENDS, repr(app.crash_reason))

"""The learner of a worker that runs alone: `stream-coupons learner` as a child process, started again when it ends."""

import logging
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from stream_coupons.worker.watchdog import Watched

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 60.0
"""Pause before a learner that ended is started again; it doubles each time."""
STEADY_S = 120.0
"""A learner that ran for longer is started again after the first pause."""
LEAVES_WITHIN_S = 10.0
"""Less than a worker has to leave."""


class LearnerBeside(threading.Thread):
    """Keeps a learner running while the `with` block lasts, in a thread: no fault of the learner stops its worker.

    The learner reads a pipe from the worker. Each byte asks it to publish. It leaves when the pipe ends, so it does not
    outlive a worker that was killed. It has a process group of its own: Ctrl-C is for the worker, which ends it.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    app : Watched
        Application of the worker; when it stops, the learner leaves, too.
    """

    def __init__(self, command: Sequence[str], app: Watched) -> None:
        super().__init__(name="learner", daemon=True)
        self._command = command
        self._app = app
        self._is_over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()

    def publish_soon(self) -> None:
        """Ask the learner to publish at once what it has learnt; no effect while none runs."""
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended, or is being ended
                process.stdin.write(b"\n")

    def run(self) -> None:
        """Start a learner again and again, until the worker leaves."""
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                end = f"exit code {self._run_once()}"
            except OSError as error:
                end = repr(error)
            if self._is_leaving():
                return
            lasted_s = time.monotonic() - began
            pause_s = FIRST_PAUSE_S if lasted_s > STEADY_S else pause_s
            log.error("the learner ended after %.0f s: %s; it is started again in %.0f s", lasted_s, end, pause_s)
            if self._is_over.wait(pause_s):
                return
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _is_leaving(self) -> bool:
        return self._is_over.is_set() or self._app.should_stop

    def _run_once(self) -> int:
        """Run one learner from start to end; return its exit code."""
        with subprocess.Popen(self._command, bufsize=0, stdin=subprocess.PIPE, process_group=0) as process:
            log.debug("the learner is process %d", process.pid)
            self._process = process
            while process.poll() is None and not self._is_leaving():
                self._is_over.wait(LOOK_EVERY_S)
            process.terminate()
            try:
                # The last line of a log states why the worker crashed: nothing is to be logged behind it.
                process.wait(0.0 if self._app.crashed else LEAVES_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.returncode

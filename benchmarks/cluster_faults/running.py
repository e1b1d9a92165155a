"""A trial amid its fault: the cluster and the workers that a fault changes, under a supervisor."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.background import in_background
from benchmarks.cluster_faults.supervised import SupervisedSystem
from loopback_kafka import ApacheKafkaCluster
from stream_coupons_lab.demo.system import WorkerProcess

Note = Callable[[str], None]

CHECK_EVERY_S = 0.2
LEAVES_WITHIN_S = 60.0


class Running:
    """A trial amid its fault.

    Attributes
    ----------
    supervision : Lock
        Held by whoever changes the workers.
    first_workers : list of str
        Names of the workers that the trial began with.
    """

    def __init__(self, cluster: ApacheKafkaCluster, system: SupervisedSystem, seed: int, note: Note) -> None:
        self.cluster, self.system, self.seed, self.note = cluster, system, seed, note
        self.supervision = threading.Lock()
        self.first_workers = [worker.name for worker in system.workers]
        self._failures: list[BaseException] = []

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises
        ------
        BaseException
            What ended the supervisor.
        """
        time.sleep(seconds)
        if self._failures:
            raise self._failures[0]

    def wait_ready(self) -> None:
        """Wait until all workers are ready; those that end meanwhile are started anew."""
        with self.supervision:
            self.system.wait_ready()

    def leave(self, worker: WorkerProcess) -> None:
        """Tell a worker to leave, and wait until it has: unless it was only starting, with exit code 0."""
        was_ready = bool(worker.scrape("stream_coupons_ready"))
        worker.is_killed = True  # the supervisor is not to start it
        worker.process.terminate()
        try:
            code = worker.process.wait(LEAVES_WITHIN_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            code = worker.process.wait()
        if code != 0 and was_ready:
            self.system.note_end(worker, code)

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Start workers that end anew while the block runs."""

        def watch(over: threading.Event) -> None:
            while not over.wait(CHECK_EVERY_S):
                with self.supervision:
                    self.system.check()

        with in_background(watch, "supervisor") as self._failures:
            yield

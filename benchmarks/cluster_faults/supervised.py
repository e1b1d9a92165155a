"""Workers under a supervisor, which starts those that end anew; workers join and leave."""

from collections.abc import Sequence
from pathlib import Path

from loopback_kafka import BrokerProcess
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.system import WORKER, LocalSystem


class SupervisedSystem(LocalSystem):
    """Workers of which those that end are started anew.

    Attributes
    ----------
    restarts : int
        Workers that ended by themselves and were started anew.
    """

    def __init__(self, broker: BrokerProcess, settings: Settings, folder: Path, workers: int = 2) -> None:
        super().__init__(broker, settings, folder, workers)
        self.restarts = 0

    def check(self) -> None:
        """Start those anew that have ended."""
        for index, worker in enumerate(self.workers):
            if worker.process.poll() is not None and not worker.is_killed:
                self._keep_counts(worker)
                self.restart(index)
                self.restarts += 1

    def restart(self, index: int, command: Sequence[str] = WORKER) -> None:
        """Start a worker in the place of one that was killed, or Python with other arguments."""
        self.workers[index] = self._start(self.workers[index].name, command)

    def add(self, count: int) -> None:
        """Start more workers."""
        for index in range(len(self.workers), len(self.workers) + count):
            self.workers.append(self._start(f"worker-{index + 1}"))

    def remove(self, within_s: float = 30.0) -> None:
        """Tell the last worker to leave, and wait until it has."""
        worker = self.workers.pop()
        worker.process.terminate()
        code = worker.process.wait(within_s)
        assert code == 0, worker.log.read_text()
        self._keep_counts(worker)

"""Workers under a supervisor, which starts those that end anew; workers join and leave."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from loopback_kafka.process import Addressed
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.system import WORKER, LocalSystem, WorkerProcess

LAST_LINES = 4


class Ended(NamedTuple):
    """A worker that ended by itself: its name, exit code, and the last lines of its log."""

    worker: str
    code: int
    lines: list[str]


class SupervisedSystem(LocalSystem):
    """Workers of which those that end are started anew.

    Attributes
    ----------
    ended : list of Ended
        Workers that ended by themselves and were started anew.
    """

    def __init__(self, broker: Addressed, settings: Settings, folder: Path, workers: int = 2) -> None:
        super().__init__(broker, settings, folder, workers)
        self.ended: list[Ended] = []

    @property
    def restarts(self) -> int:
        """Number of workers that ended by themselves and were started anew."""
        return len(self.ended)

    def check(self) -> None:
        """Start those anew that have ended."""
        for index, worker in enumerate(self.workers):
            code = worker.process.poll()
            if code is not None and not worker.is_killed:
                self.note_end(worker, code)
                self._keep_counts(worker)
                self.restart(index)

    def note_end(self, worker: WorkerProcess, code: int) -> None:
        """Note that a worker has ended by itself, and what it logged last."""
        lines = worker.log.read_text(errors="replace").splitlines()
        own = [line for line in lines if " learner: " not in line]
        self.ended.append(Ended(worker.name, code, own[-LAST_LINES:]))

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

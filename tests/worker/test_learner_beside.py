"""A learner is kept running beside its worker, and nothing that happens to it stops the worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stream_coupons.worker import learner_beside
from stream_coupons.worker.learner_beside import LearnerBeside

pytestmark = pytest.mark.process

NOTES = """
import os, pathlib, sys
notes = pathlib.Path(sys.argv[1])
notes.write_text(f"{os.getpid()}:")
while asked := os.read(0, 1):
    with notes.open("ab") as file:
        file.write(asked)
"""
"""Writes its process id, then what it is asked, and leaves when it cannot be asked any more."""
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN){NOTES}signal.pause()"
ENDS = "import sys; sys.exit(3)"


class Worker:
    """Runs learners of some kinds."""

    def __init__(self, folder: Path) -> None:
        self.app = SimpleNamespace(should_stop=False, crashed=False, crash_reason=None, loop=None)
        self.notes = folder / "notes"
        self.learners: list[LearnerBeside] = []

    def start(self, code: str) -> LearnerBeside:
        learner = LearnerBeside([sys.executable, "-c", code, str(self.notes)], self.app)
        self.learners.append(learner)
        learner.start()
        return learner

    def pid(self) -> int:
        """Process id of the learner that runs, once it is at work."""
        until(lambda: self.notes.exists() and ":" in self.notes.read_text())
        return int(self.notes.read_text().partition(":")[0])


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Worker]:
    monkeypatch.setattr(learner_beside, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(learner_beside, "LOOK_EVERY_S", 0.05)
    worker = Worker(tmp_path)
    yield worker
    for learner in worker.learners:
        learner.__exit__()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_it_is_asked_to_publish_and_leaves_with_its_worker(worker: Worker) -> None:
    learner = worker.start(NOTES)
    pid = worker.pid()
    learner.publish_soon()
    until(lambda: worker.notes.read_text() == f"{pid}:\n")
    worker.app.should_stop = True
    learner.join(60.0)
    assert not is_running(pid)
    learner.publish_soon()


@pytest.mark.parametrize("is_stopped", [False, True], ids=["deaf", "stopped"])
def test_one_that_does_not_leave_is_killed(worker: Worker, is_stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_beside, "LEAVES_WITHIN_S", 0.5)
    learner = worker.start(NOTES if is_stopped else DEAF)
    pid = worker.pid()
    if is_stopped:
        os.kill(pid, signal.SIGSTOP)
    worker.app.should_stop = True
    learner.join(60.0)
    assert not is_running(pid)


def test_one_that_is_killed_is_started_again(worker: Worker) -> None:
    worker.start(NOTES)
    pid = worker.pid()
    worker.notes.unlink()
    os.kill(pid, signal.SIGKILL)
    assert worker.pid() != pid


def test_one_that_ends_again_and_again_is_started_after_longer_and_longer_pauses(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(learner_beside, "MAX_PAUSE_S", 0.2)
    worker.start(ENDS)

    def pauses() -> list[object]:
        return [record.args[2] for record in caplog.records if "is started again" in record.msg]  # type: ignore

    until(lambda: len(pauses()) >= 4)
    assert pauses()[:4] == [0.05, 0.1, 0.2, 0.2]
    assert "exit code 3" in caplog.text


def test_a_program_that_cannot_be_started_is_tried_again(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    with LearnerBeside(["/no/such/program"], worker.app):
        until(lambda: caplog.text.count("No such file or directory") > 1)


PARENT = """
import sys, threading
from types import SimpleNamespace
from stream_coupons.worker.learner_beside import LearnerBeside
LearnerBeside([sys.executable, "-c", *sys.argv[1:]], SimpleNamespace(should_stop=False, crashed=False)).start()
threading.Event().wait()
"""


def test_it_does_not_outlive_a_worker_that_is_killed(worker: Worker) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, NOTES, str(worker.notes)]) as process:
        pid = worker.pid()
        process.kill()
    until(lambda: not is_running(pid))

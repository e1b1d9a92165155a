"""A child process is kept running, and nothing that happens to it stops its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_coupons.worker import child
from stream_coupons.worker.child import Child, Frames, Supervision, frame

ECHO = """
from stream_coupons.worker.child import frames, send_frame
for request in frames(0):
    send_frame(1, request)
"""
"""Reports what it was asked last, and leaves when it is asked nothing more."""
ENDS = "import sys; sys.exit(3)"
DEAF = "import sys, threading; sys.stdin.buffer.read(5); threading.Event().wait()"
BABBLES = "print('x' * 100, flush=True); import threading; threading.Event().wait()"


class Parent:
    """Starts children of some kinds."""

    def __init__(self) -> None:
        self.restarted = threading.Semaphore(0)
        self.is_leaving = False
        self.children: list[Child] = []

    def start(self, code: str, stalled_after_s: float = 60.0) -> Child:
        about = Supervision(lambda: self.is_leaving, self.restarted.release, stalled_after_s)
        started = Child("helper", [sys.executable, "-c", code], b"hello", about)
        self.children.append(started)
        started.start()
        return started


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    monkeypatch.setattr(child, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(child, "LOOK_EVERY_S", 0.05)
    parent = Parent()
    yield parent
    for each in parent.children:
        each.stop()


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


@pytest.mark.parametrize("size", [1, 3, 100])
def test_frames_come_out_whole_however_they_are_cut(size: int) -> None:
    data, taken = frame(b"one") + frame(b"") + frame(b"x" * 50), Frames()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [found for piece in pieces for found in taken.add(piece)] == [b"one", b"", b"x" * 50]


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at most"):
        Frames().add(b"Traceback (most recent call last)")


@pytest.mark.process
def test_it_is_greeted_hears_and_is_heard_and_leaves_when_it_is_told_to(parent: Parent) -> None:
    echo = parent.start(ECHO)
    until(lambda: echo.latest == b"hello")
    echo.send(b"again")
    until(lambda: echo.latest == b"again")
    pid = echo.pid
    assert pid is not None
    echo.stop()
    assert not is_running(pid)
    assert not parent.restarted.acquire(blocking=False)


@pytest.mark.process
def test_it_leaves_with_its_parent(parent: Parent) -> None:
    echo = parent.start(ECHO)
    until(lambda: echo.latest == b"hello")
    parent.is_leaving = True
    echo.join(60.0)
    assert not echo.is_alive()


@pytest.mark.process
def test_one_that_is_killed_is_started_again(parent: Parent) -> None:
    echo = parent.start(ECHO)
    until(lambda: echo.latest == b"hello")
    first = echo.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert parent.restarted.acquire(timeout=60.0)
    until(lambda: echo.latest == b"hello")
    assert echo.pid != first


@pytest.mark.process
def test_one_that_ends_again_and_again_is_started_after_longer_and_longer_pauses(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child, "MAX_PAUSE_S", 0.2)
    parent.start(ENDS)
    for _ in range(4):
        assert parent.restarted.acquire(timeout=60.0)
    pauses = [float(record.args[3]) for record in caplog.records if "is started again" in record.msg]  # type: ignore
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.2]
    assert "exit code 3" in caplog.text


@pytest.mark.process
@pytest.mark.parametrize("is_stopped", [False, True], ids=["silent", "stopped"])
def test_one_that_is_silent_says_so_and_is_killed(
    parent: Parent, is_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "SILENT_S", 0.0)
    helper = parent.start(ECHO if is_stopped else DEAF, stalled_after_s=3.0 if is_stopped else 0.5)
    until(lambda: helper.pid is not None and (not is_stopped or "silent" in helper.why_silent()))
    pid = helper.pid
    assert pid is not None
    assert helper.latest is None
    if is_stopped:
        os.kill(pid, signal.SIGSTOP)
    else:
        assert helper.why_silent() == "the helper process is starting"
    assert parent.restarted.acquire(timeout=60.0)
    assert not is_running(pid)


@pytest.mark.process
def test_one_that_writes_something_else_is_ended(parent: Parent, caplog: pytest.LogCaptureFixture) -> None:
    parent.start(BABBLES)
    assert parent.restarted.acquire(timeout=60.0)
    assert "a frame of 2021161080 bytes" in caplog.text


@pytest.mark.process
def test_a_program_that_does_not_exist_is_tried_again(parent: Parent, caplog: pytest.LogCaptureFixture) -> None:
    about = Supervision(lambda: False, parent.restarted.release, 60.0)
    missing = Child("helper", ["/no/such/program"], b"", about)
    parent.children.append(missing)
    missing.start()
    assert parent.restarted.acquire(timeout=60.0)
    assert "No such file or directory" in caplog.text


PARENT = """
import sys, threading
from stream_coupons.worker.child import Child, Supervision
helper = Child("helper", [sys.executable, "-c", sys.argv[1]], b"hello", Supervision(lambda: False, print, 60.0))
helper.start()
while helper.latest is None:
    pass
print(helper.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.process
def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, ECHO], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    until(lambda: not is_running(pid))

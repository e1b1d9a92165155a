"""A child process that does part of a worker's work: started, watched and started again, and never waited for.

Parent and child exchange frames (a length of four bytes, then as many bytes) by the child's standard input and output.
A child leaves when its standard input ends, so it does not outlive a parent that was killed.
"""

import logging
import os
import select
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)

HEAD = struct.Struct(">I")
MAX_FRAME_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 65536
LOOK_EVERY_S = 0.5
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 60.0
"""Pause before a child that ended is started again; it doubles each time."""
STEADY_S = 120.0
"""A child that ran for longer is started again after the first pause."""
SILENT_S = 10.0
"""A child reports every second; after this long its last frame says nothing of the present."""
LEAVES_WITHIN_S = 10.0
"""Less than what a worker has to leave."""


def frame(data: bytes) -> bytes:
    """Return bytes as a frame.

    >>> frame(b"abc")
    b'\\x00\\x00\\x00\\x03abc'
    """
    return HEAD.pack(len(data)) + data


class Frames:
    """Frames out of pieces of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, piece: bytes) -> list[bytes]:
        """Return the frames that this piece completes.

        Raises
        ------
        ValueError
            If a length is impossible: something else was written into the stream.
        """
        self._data += piece
        found = []
        while len(self._data) >= HEAD.size:
            [length] = HEAD.unpack_from(self._data)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes, expected at most {MAX_FRAME_BYTES}")
            if len(self._data) < HEAD.size + length:
                break
            found.append(bytes(self._data[HEAD.size : HEAD.size + length]))
            del self._data[: HEAD.size + length]
        return found


def frames(descriptor: int) -> Iterator[bytes]:
    """Read frames until the stream ends.

    Without a buffered reader: one that a daemon thread waits in makes Python abort when the process ends.
    """
    taken = Frames()
    while piece := os.read(descriptor, PIECE_BYTES):
        yield from taken.add(piece)


def send_frame(descriptor: int, data: bytes) -> None:
    """Write a frame, and wait until all of it is written.

    Parameters
    ----------
    descriptor : int
        File descriptor of the pipe.
    data : bytes
        Content of the frame.

    Raises
    ------
    OSError
        If the reader has closed the pipe.
    """
    left = memoryview(frame(data))
    while left:
        left = left[os.write(descriptor, left) :]


@dataclass(frozen=True, slots=True)
class Supervision:
    """The rules by which a parent supervises its child.

    Parameters
    ----------
    is_leaving : callable
        Whether the parent is on its way out, and the child is to leave, too.
    on_restart : callable
        Called each time that a child is started in the place of one that ended.
    stalled_after_s : float
        Seconds of silence after which a child is killed, counted while the parent itself runs.
    grace_s : callable
        Seconds that a child has to leave before it is killed.
    """

    is_leaving: Callable[[], bool]
    on_restart: Callable[[], None]
    stalled_after_s: float
    grace_s: Callable[[], float] = lambda: LEAVES_WITHIN_S


class Child(threading.Thread):
    """Keeps one child process running, in a thread of its own: nothing that happens to the child stops the parent.

    A child that ends is started again, after a pause that doubles up to `MAX_PAUSE_S`. One that is silent for long is
    killed: it may be stopped, and a stopped process cannot end itself. It has its own process group, so that Ctrl-C is
    for the parent alone, which then tells the child to leave.

    Parameters
    ----------
    name : str
        Name in logs and reasons.
    command : sequence of str
        Program and arguments.
    greeting : bytes
        The first frame that the child reads.
    """

    def __init__(self, name: str, command: Sequence[str], greeting: bytes, supervision: Supervision) -> None:
        super().__init__(name=name, daemon=True)
        self._command = command
        self._greeting = greeting
        self._supervision = supervision
        self._leave = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._latest: tuple[bytes, float] | None = None

    @property
    def pid(self) -> int | None:
        """Process id; None while no child runs."""
        process = self._process
        return None if process is None else process.pid

    @property
    def latest(self) -> bytes | None:
        """The last frame of the child that runs; None if there is none, or it is out of date."""
        latest = self._latest
        return latest[0] if latest is not None and time.monotonic() - latest[1] < SILENT_S else None

    def why_silent(self) -> str:
        """Return why there is no `latest`."""
        latest = self._latest
        if self._process is None:
            return f"the {self.name} process has ended, and will be started again"
        if latest is None:
            return f"the {self.name} process is starting"
        return f"the {self.name} process has been silent for {time.monotonic() - latest[1]:.0f} s"

    def send(self, data: bytes) -> None:
        """Send a frame to the child; it is lost if no child runs, or it reads none."""
        process = self._process
        if process is not None and process.stdin is not None:
            try:
                process.stdin.write(frame(data))
            except (OSError, ValueError):  # it is gone, reads nothing, or is being told to leave
                log.debug("%s: a frame was not sent", self.name, exc_info=True)

    def stop(self) -> None:
        """Tell the child to leave, and wait until it has, or was killed."""
        self._leave.set()
        self.join()

    def run(self) -> None:
        """Start a child, again and again, until it is to leave."""
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            end = self._live()
            if self._should_leave():
                return
            lasted_s = time.monotonic() - began
            pause_s = FIRST_PAUSE_S if lasted_s > STEADY_S else pause_s
            log.error(
                "the %s process ended after %.0f s: %s; it is started again in %.0f s",
                *(self.name, lasted_s, end, pause_s),
            )
            self._leave.wait(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
            if self._should_leave():
                return
            self._supervision.on_restart()

    def _should_leave(self) -> bool:
        return self._leave.is_set() or self._supervision.is_leaving()

    def _live(self) -> str:
        """Run one child from start to end; return how it ended."""
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(self._command, bufsize=0, stdin=pipe, stdout=pipe, process_group=0)
        except OSError as error:
            return repr(error)
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdout:
            os.set_blocking(process.stdin.fileno(), False)
            self._process = process
            log.info("the %s process is %d", self.name, process.pid)
            try:
                self.send(self._greeting)
                self._listen(process, process.stdout.fileno())
            finally:
                self._process = self._latest = None
                process.stdin.close()
                self._await_end(process)
        return f"exit code {process.returncode}"

    def _listen(self, process: "subprocess.Popen[bytes]", descriptor: int) -> None:
        """Take frames until the child ends, stalls, or is to leave."""
        stalled_after_s = self._supervision.stalled_after_s
        taken, silent_looks = Frames(), 0
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not self._should_leave():
            if poll.poll(1000 * LOOK_EVERY_S):
                piece = os.read(descriptor, PIECE_BYTES)
                if not piece:
                    return
                silent_looks = 0
                try:
                    for data in taken.add(piece):
                        self._latest = data, time.monotonic()
                except ValueError:
                    log.exception("the %s process is ended", self.name)
                    process.kill()
                    return
            else:
                # Looks, not seconds: while this process is stopped, none pass.
                silent_looks += 1
                if silent_looks * LOOK_EVERY_S >= stalled_after_s:
                    log.error("the %s process has been silent for %.0f s: it is killed", self.name, stalled_after_s)
                    process.kill()
                    return

    def _await_end(self, process: "subprocess.Popen[bytes]") -> None:
        try:
            process.wait(self._supervision.grace_s())
        except subprocess.TimeoutExpired:
            log.warning("the %s process does not leave: it is killed", self.name)
            process.kill()
            process.wait()

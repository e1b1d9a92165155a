"""A broker as a child process: start, wait until ready, stop, kill."""

import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Final, Protocol, Self

from loopback_kafka.errors import BrokerFailed
from loopback_kafka.ports import HOST, ClaimedPort

_LOG_TAIL_BYTES: Final = 2000


class Addressed(Protocol):
    """One broker or several, with the addresses that clients connect to."""

    @property
    def bootstrap(self) -> str:
        """Addresses for all clients, "127.0.0.1:PORT[,127.0.0.1:PORT]"."""
        ...

    @property
    def advertised(self) -> str:
        """Addresses for workers: those of a proxy, or where there is none `bootstrap`."""
        ...


class BrokerProcess(ABC):
    """One broker of one node, run as a child process that ends with its parent.

    Use it as a context manager, or call `start` and `stop`. After `stop` or `kill`, `start` brings
    it back on the same data and the same port.

    Parameters
    ----------
    advertised_port : int, optional
        Of a proxy on the loopback. The broker then also listens on `proxied_port`, and tells whoever comes in there
        to come back by this port; who comes in by `port` meets no proxy.
    """

    _pipes_output: ClassVar[bool] = True
    """True if `_await_ready` reads the child's output; otherwise the output goes to the log."""

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        advertised_port: int | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self.advertised_port = advertised_port
        self._claimed: list[ClaimedPort] = []
        self.proxied_port = None if advertised_port is None else self._claim_port()
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    @property
    def bootstrap(self) -> str:
        """The address clients connect to, "127.0.0.1:PORT"; known once started."""
        if self.port is None:
            raise BrokerFailed("the broker was not started, it has no address yet")
        return f"{HOST}:{self.port}"

    @property
    def advertised(self) -> str:
        """The address for workers, "127.0.0.1:PORT": the proxy's, or where there is none `bootstrap`."""
        return self.bootstrap if self.advertised_port is None else f"{HOST}:{self.advertised_port}"

    @property
    def pid(self) -> int | None:
        """The process id while the broker runs."""
        return self._process.pid if self.is_running and self._process else None

    @property
    def is_running(self) -> bool:
        """True if the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """Path of the broker's own log."""
        return self.data_dir / "broker.log"

    def start(self) -> Self:
        """Start the broker and return when it accepts connections.

        Raises
        ------
        BrokerUnavailable
            When the machine lacks what the broker needs.
        BrokerFailed
            When it is not ready in time, or ends instead.
        """
        if self.is_running:
            raise BrokerFailed(f"the broker already runs as process {self.pid}")
        self._reap()  # one that ended by itself has left its files open
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = self._prepare()
        self._log = self.log_file.open("a", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self._pipes_output else self._log,
            stderr=self._log,
            text=True,
            process_group=0,  # Ctrl-C is for this process; the broker ends with it
        )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ask the broker to end, and kill it if it has not after `timeout_s` seconds."""
        if self._process is not None:
            self._process.terminate()
            self.resume()  # a paused process would not see it
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End the broker at once, as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def pause(self) -> None:
        """Stop the broker's threads, as a machine that hangs (SIGSTOP); its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker run on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise BrokerFailed(f"the broker does not run, it cannot get {number.name}")
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Make the data folder ready and return the command to run in it."""

    @abstractmethod
    def _await_ready(self, process: "subprocess.Popen[str]") -> None:
        """Return when the broker accepts connections; set `port` if it was not known."""

    def _claim_port(self) -> int:
        """Return a port that stays this broker's, also while it is down."""
        self._claimed.append(ClaimedPort())
        return self._claimed[-1].number

    def _failure(self, what: str) -> BrokerFailed:
        tail = self.log_file.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return BrokerFailed(f"{what}; {self.log_file} ends with:\n{tail}")

    def _reap(self) -> None:
        if self._process is None:
            return
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()
        self._process = None


def read_line_within(stream: IO[str], seconds: float) -> str | None:
    """Return the next line of a child's output, "" at its end, None when the time is up.

    Parameters
    ----------
    stream : text stream
        The child's output.
    seconds : float
        The longest wait.
    """
    lines: list[str] = []
    # A thread, because a text stream cannot be polled: it may hold the line in its own buffer.
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    return lines[0] if lines else None

"""A broker that kills itself at a write: `python failing_broker.py WRITE:KEPT [--recovery] --data ...`.

It is the embedded broker, but for a SIGKILL at the WRITEth write from the first end of a transaction on, or from its
start with `--recovery`; of that write, this fraction of the bytes is written before.
"""

import os
import signal
import sys
from typing import Any

from loopback_kafka.__main__ import main
from loopback_kafka.transactions import Transactions


class Failpoint:
    """Counts writes down to the end of the process."""

    def __init__(self, spec: str, is_armed: bool) -> None:
        left, _, kept = spec.partition(":")
        self._left, self._kept = int(left), float(kept)
        self.is_armed = is_armed
        self._write, self._writev = os.write, os.writev

    def write(self, file: int, data: Any) -> int:
        """Do it, or die in it."""
        self._reach(file, data)
        return self._write(file, data)

    def writev(self, file: int, parts: Any) -> int:
        """Do it, or die in it."""
        self._reach(file, b"".join(parts))
        return self._writev(file, parts)

    def _reach(self, file: int, data: Any) -> None:
        self._left -= self.is_armed
        if self._left == 0:
            self._write(file, bytes(data)[: int(len(data) * self._kept)])
            os.kill(os.getpid(), signal.SIGKILL)


def install(point: Failpoint) -> None:
    """Put the failpoint under the broker."""
    os.write, os.writev = point.write, point.writev  # type: ignore[assignment]
    end = Transactions.end

    def arm_and_end(self: Transactions, *given: Any, **named: Any) -> Any:
        point.is_armed = True
        return end(self, *given, **named)

    Transactions.end = arm_and_end  # type: ignore[method-assign]


if __name__ == "__main__":
    is_recovery = "--recovery" in sys.argv
    install(Failpoint(sys.argv[1], is_recovery))
    sys.argv[1:] = [option for option in sys.argv[2:] if option != "--recovery"]
    sys.exit(main())

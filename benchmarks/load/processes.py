"""CPU time and memory of processes and their children, from /proc: a worker is two processes."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from stream_coupons.core.errors import BadConfig, StreamCouponsError

PROC = Path("/proc")


class ProcessGone(StreamCouponsError):
    """A process that was measured has ended."""


def require_proc() -> None:
    """See that this system has /proc.

    Raises
    ------
    BadConfig
    """
    if not (PROC / "self" / "stat").exists():
        raise BadConfig("the benchmark reads CPU time and memory from /proc, which this system has not: it needs Linux")


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds used by processes and their children until now, in user and in system mode, all of their threads."""
    # The name of the program, in parentheses, may hold spaces: utime and stime are the 12th and 13th field behind it.
    fields = [_read(each, "stat").rpartition(")")[2].split() for pid in pids for each in with_children(pid)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pids: Iterable[int]) -> int:
    """Memory that processes and their children hold now."""
    return sum(_status(each, "VmRSS") for pid in pids for each in with_children(pid))


def peak_rss_bytes(pids: Iterable[int]) -> int:
    """The most memory that each of the processes and their children ever held, summed."""
    return sum(_status(each, "VmHWM") for pid in pids for each in with_children(pid))


def cpu_model() -> str:
    """Return the processor's model name, empty if /proc/cpuinfo has none."""
    lines = (PROC / "cpuinfo").read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def with_children(pid: int) -> list[int]:
    """Return a process and the children that it has now."""
    children: list[int] = []
    for listed in (PROC / str(pid) / "task").glob("*/children"):  # each thread lists those that it started
        with suppress(OSError):  # the thread has ended
            children += map(int, listed.read_text().split())
    return [pid, *children]


def _status(pid: int, name: str) -> int:
    for line in _read(pid, "status").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise ProcessGone(f"process {pid} has ended")  # a zombie has no memory to tell of


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessGone(f"process {pid} has ended") from None

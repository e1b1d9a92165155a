"""What processes use."""

import os
import subprocess
import sys

import pytest

from benchmarks.load import processes


def test_cpu_time_is_what_the_process_says_itself() -> None:
    sum(number * number for number in range(300_000))
    before = os.times()
    # The broker of other tests is a child of this process.
    found = processes.cpu_s([os.getpid()]) - processes.cpu_s(processes.with_children(os.getpid())[1:])
    after = os.times()
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    assert before.user + before.system - 2 * tick_s <= found <= after.user + after.system + 2 * tick_s


def test_memory_grows_with_what_is_held() -> None:
    before = processes.rss_bytes([os.getpid()])
    held = bytearray(os.urandom(1024)) * (64 * 1024)
    assert processes.rss_bytes([os.getpid()]) - before > len(held) / 2
    assert processes.peak_rss_bytes([os.getpid()]) >= before + len(held) / 2


def test_several_processes_are_summed() -> None:
    pid = os.getpid()
    assert processes.rss_bytes([pid, pid]) == pytest.approx(2 * processes.rss_bytes([pid]), rel=0.1)


HOLDING = "held = b'x' * 50_000_000; print(len(held), flush=True); input()"


@pytest.mark.process
def test_a_child_counts_with_its_parent() -> None:
    before = processes.rss_bytes([os.getpid()])
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert processes.rss_bytes([os.getpid()]) - before > 40_000_000
        assert processes.cpu_s([os.getpid()]) > processes.cpu_s([child.pid]) > 0.0


@pytest.mark.process
def test_a_process_that_has_ended_is_said_to_have() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(processes.ProcessGone, match=f"process {process.pid} has ended"):
        processes.cpu_s([process.pid])
    with pytest.raises(processes.ProcessGone, match="has ended"):
        processes.rss_bytes([process.pid])

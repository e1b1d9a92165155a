"""A worker runs a learner beside it, which ends with it; or both are units of their own."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from loopback_kafka import BrokerProcess
from stream_coupons.secret import ALLOW_PUBLIC
from stream_coupons_lab.demo.system import WORKER, LocalSystem, WorkerProcess, scrape

from .builders import AT, coupon, learner_of, settings, wait_until
from .test_learner_outage import ISSUES, give, learnt

pytestmark = pytest.mark.kafka

ENDS_WITHIN_S = 30.0
HEAP_BYTES = 64 * 2**20
"""Bytes that glibc reserves for the heap of a thread, at an address that is a multiple of them."""
READY = ("stream_coupons_ready", ())
LEARNER_READY = ("stream_coupons_learner_ready", ())


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def mappings(pid: int) -> str:
    """Address ranges of a process, a line each, with the libraries that it has loaded."""
    return Path(f"/proc/{pid}/maps").read_text()


def thread_heaps(pid: int) -> int:
    """Number of heaps that a process has for its threads, besides its first heap."""
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in mappings(pid).splitlines()]
    pairs = itertools.pairwise(ranges)
    return sum(begin % HEAP_BYTES == 0 and end - begin == HEAP_BYTES for (begin, _), (_, end) in pairs)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_both_processes_end_together_and_only_one_of_them_holds_what_learning_needs(
    empty_broker: BrokerProcess, tmp_path: Path, end: signal.Signals
) -> None:
    system = LocalSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system:
        system.wait_ready()
        give(system, AT)
        wait_until(lambda: learnt(system) == 2 * ISSUES, "a snapshot")
        [worker] = system.workers
        pid = learner_of(worker)
        assert "sklearn" in mappings(pid)
        assert "sklearn" not in mappings(worker.process.pid)
        assert thread_heaps(pid) == thread_heaps(worker.process.pid) == 0
        learning, deciding = scrape(worker.learner_port), worker.scrape()
        assert learning[LEARNER_READY] == deciding[READY] == 1.0
        assert not {LEARNER_READY} & deciding.keys() | {READY} & learning.keys()
        worker.is_killed = True  # on purpose: the system does not start it again
        worker.process.send_signal(end)
        assert worker.process.wait(ENDS_WITHIN_S) == (-end if end is signal.SIGKILL else 0)
        wait_until(lambda: not is_running(pid), "the end of the learning process", ENDS_WITHIN_S)
        assert "Traceback" not in worker.log.read_text()


class DecidingSystem(LocalSystem):
    """Workers without learners beside them."""

    def _start(self, name: str, command: Sequence[str] = (*WORKER, "--no-learner")) -> WorkerProcess:
        return super()._start(name, command)


def test_a_learner_can_be_a_unit_of_its_own(empty_broker: BrokerProcess, tmp_path: Path) -> None:
    system = DecidingSystem(empty_broker, settings(), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system, (tmp_path / "learner.log").open("w") as log:
        system.wait_ready()
        [worker] = system.workers
        assert scrape(worker.learner_port) == {}
        command = [sys.executable, "-m", "stream_coupons", "learner", "--config", str(tmp_path / "worker-1.toml")]
        environment = os.environ | {ALLOW_PUBLIC: "1"}
        # Standard input that has ended ends no learner that runs on its own.
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment) as process:
            try:
                give(system, AT)
                wait_until(lambda: learnt(system) == 2 * ISSUES, "a snapshot")
                assert scrape(worker.learner_port)[LEARNER_READY] == 1.0
            finally:
                process.terminate()
            assert process.wait(ENDS_WITHIN_S) == 0
        system.check()

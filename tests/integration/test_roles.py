"""A worker's roles: both in one command that starts, ends and speaks for both processes, or each in a command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loopback_kafka import BrokerProcess
from loopback_kafka.ports import ClaimedPort
from stream_coupons.secret import ALLOW_PUBLIC
from stream_coupons.settings import Role, Settings
from stream_coupons_lab.demo.system import LocalSystem, WorkerProcess

from .builders import AT, coupon, learner_of, settings, wait_until
from .test_learner_outage import ISSUES, give, learnt, probe

pytestmark = pytest.mark.kafka

ENDS_WITHIN_S = 30.0
READY = ("stream_coupons_ready", ())
LEARNER_READY = ("stream_coupons_learner_ready", ())


def of_roles(*roles: Role) -> Settings:
    usual = settings()
    return msgspec.structs.replace(usual, worker=msgspec.structs.replace(usual.worker, roles=list(roles)))


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def libraries(pid: int) -> str:
    """Names of the libraries that a process has loaded."""
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_both_processes_end_together_and_only_one_of_them_holds_what_learning_needs(
    empty_broker: BrokerProcess, tmp_path: Path, end: signal.Signals
) -> None:
    system = LocalSystem(empty_broker, of_roles(*Role), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system:
        system.wait_ready()
        give(system, AT)
        wait_until(lambda: learnt(system) == 2 * ISSUES, "a snapshot")
        [worker] = system.workers
        pid = learner_of(worker)
        assert "sklearn" in libraries(pid)
        assert "sklearn" not in libraries(worker.process.pid)
        wait_until(lambda: worker.scrape().get(LEARNER_READY) == 1.0, "a learner that says that it is ready")
        samples = worker.scrape()
        assert samples[READY] == 1.0
        assert ("learner_process_resident_memory_bytes", ()) in samples
        worker.is_killed = True  # on purpose: the system does not start it again
        worker.process.send_signal(end)
        assert worker.process.wait(ENDS_WITHIN_S) == (-end if end is signal.SIGKILL else 0)
        wait_until(lambda: not is_running(pid), "the end of the learning process", ENDS_WITHIN_S)
        log = worker.log.read_text()
        assert f"[learner {pid}]" in log
        assert "Traceback" not in log


def test_each_role_can_be_a_command_of_its_own(empty_broker: BrokerProcess, tmp_path: Path) -> None:
    system = LocalSystem(empty_broker, of_roles(Role.DECIDE), tmp_path, workers=1)
    system.prepare([coupon("c1")])
    with system, (tmp_path / "learner.log").open("w") as log:
        system.wait_ready()
        [deciding] = system.workers
        assert LEARNER_READY not in deciding.scrape()
        assert probe(system, "learning")[0] == 404
        port = ClaimedPort()
        options = ["--config", str(tmp_path / "worker-1.toml"), "--roles", "learn", "--metrics-port", str(port.number)]
        command = [sys.executable, "-m", "stream_coupons", "worker", *options]
        environment = os.environ | {ALLOW_PUBLIC: "1"}
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment) as process:
            try:
                give(system, AT)
                wait_until(lambda: learnt(system) == 2 * ISSUES, "a snapshot")
                learning = WorkerProcess("learner", port, tmp_path / "learner.log", process)
                assert learning.scrape()[LEARNER_READY] == 1.0
                assert READY not in learning.scrape()
            finally:
                process.terminate()
            assert process.wait(ENDS_WITHIN_S) == 0
        system.check()

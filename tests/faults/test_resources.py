"""A broker whose disk is full, and workers that may open no more files, under load."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from loopback_kafka import BrokerProcess, Engine
from stream_coupons_lab.demo.system import WorkerProcess

from .proxy import Proxy
from .trial import Trial
from .under_load import trial_under_load

pytestmark = pytest.mark.kafka

FULL_FOR_S = 5.0
STARVED_FOR_S = 9.0
"""Longer than a session."""
DISK = "size=64m"
NO_DESCRIPTORS = 3
"""Standard input and output only: no socket can be opened, whatever others are closed."""
MB = 1024 * 1024

Rounds = Callable[[int, int], int]


@pytest.fixture
def small_disk(engine: Engine, tmp_path: Path) -> Iterator[Path]:
    """The data folder of a broker; its records lie on a small disk of their own."""
    data = tmp_path / "broker"
    disk = data / "logs" if engine == "kafka" else data
    disk.mkdir(parents=True)
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounting.returncode != 0:
        pytest.skip(f"mounting a small disk is not allowed here: {mounting.stderr.strip()}")
    yield data
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """A disk without a free block."""
    filler = disk / "filler"
    fill(filler)
    try:
        yield
    finally:
        filler.unlink()


def fill(filler: Path) -> None:
    """Let a file grow to the end of its disk."""
    with filler.open("ab", buffering=0) as file:
        for size in (MB, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@contextmanager
def at_most(descriptors: int, workers: list[WorkerProcess]) -> Iterator[None]:
    """Workers that may open no descriptor of this number or above; those they have stay open."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    for worker in workers:
        resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (descriptors, usual[1]))
    try:
        yield
    finally:
        for worker in workers:
            with suppress(ProcessLookupError):  # it has ended; the one started in its place is not limited
                resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, usual)


def open_descriptors(worker: WorkerProcess) -> int:
    """How many descriptors a worker has open."""
    return len(os.listdir(f"/proc/{worker.process.pid}/fd"))


def logs(running: Trial, *more: Path) -> str:
    """All that workers have logged, and some other files."""
    files = {worker.log for worker in running.system.workers} | set(more)
    return "".join(file.read_text(errors="replace") for file in files)


def test_a_full_disk_heals(
    run_broker: Callable[..., AbstractContextManager[BrokerProcess]],
    small_disk: Path,
    tmp_path: Path,
    seed: int,
    rounds: Rounds,
) -> None:
    disk = next(path for path in (small_disk / "logs", small_disk) if path.is_mount())
    with run_broker(small_disk) as broker:
        with trial_under_load(broker, tmp_path, seed) as running:
            for _ in range(rounds(1, 5)):
                with filled(disk):
                    time.sleep(FULL_FOR_S)
                if not broker.is_running:
                    broker.start()  # Apache Kafka ends when the only disk it has fails
                running.system.wait_ready()
        logged = logs(running, broker.log_file)
    assert "No space left on device" in logged or "KafkaStorageError" in logged, "nothing was refused"


@pytest.mark.parametrize("count", [1, 2], ids=["one", "all"])
def test_workers_that_can_open_no_socket_heal(
    proxied_broker: BrokerProcess, proxy: Proxy, tmp_path: Path, seed: int, rounds: Rounds, count: int
) -> None:
    with trial_under_load(proxied_broker, tmp_path, seed) as running:
        for _ in range(rounds(1, 5)):
            with at_most(NO_DESCRIPTORS, running.system.workers[:count]):
                proxy.drop()
                time.sleep(STARVED_FOR_S)
            running.system.wait_ready()
    for worker in running.system.workers[:count]:
        assert "Too many open files" in worker.log.read_text(), f"{worker.name} wanted no descriptor"


@pytest.mark.parametrize("missing", [16, 32])
def test_a_worker_that_starts_with_too_few_descriptors_heals(
    empty_broker: BrokerProcess, tmp_path: Path, seed: int, missing: int
) -> None:
    with trial_under_load(empty_broker, tmp_path, seed) as running:
        enough = open_descriptors(running.system.workers[0])
        running.kill(0)
        running.system.restart(0)
        with at_most(enough - missing, running.system.workers[:1]):
            time.sleep(STARVED_FOR_S)
    assert "Too many open files" in logs(running), "the worker had enough"

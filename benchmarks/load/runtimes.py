"""What is compared, and how each is started: every runtime is one process on a core of its own."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from benchmarks.load import processes
from benchmarks.load.steps import Job
from benchmarks.load.throughput import Mark
from benchmarks.load.workload import Workload
from loopback_kafka import BrokerProcess
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.kafka import admin
from stream_coupons.settings import Settings
from stream_coupons_lab.demo.system import LocalSystem, lag_now

ROOT = Path(__file__).parents[2]
STOP_WITHIN_S = 20.0
LOG_LINES = 25
"""Lines of the log of a process that ended early, for the error."""


class RuntimeFailed(StreamCouponsError):
    """A runtime ended, fell behind for good or brought about something else than the others."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One contestant.

    Attributes
    ----------
    program : str or None
        The module that it runs; None for our worker.
    commit_interval_s, poll_s : float or None
        Of Quix Streams (`benchmarks.load.steps.Job`); None for its defaults.
    """

    name: str
    about: str
    program: str | None
    commit_interval_s: float | None = None
    poll_s: float | None = None


RUNTIMES = (
    Runtime("ours", "a worker of stream_coupons, at least once", None),
    Runtime("faust", "plain Faust: three agents, three tables, an event at a time", "peer_faust"),
    Runtime("quixstreams", "Quix Streams: RocksDB states, changelogs, the same steps", "peer_quix"),
)
BY_NAME = {runtime.name: runtime for runtime in RUNTIMES}
LIVE_COMMIT_INTERVAL_S = 1.0
"""Seconds between commits of offsets, the same as in our worker."""
LIVE_POLL_S = 0.003
"""Quix Streams collects records for so long at every hop, by default for a second."""
LIVE = (
    BY_NAME["ours"],
    BY_NAME["faust"],
    replace(
        BY_NAME["quixstreams"],
        about=f"Quix Streams, the same steps, a commit every {LIVE_COMMIT_INTERVAL_S:g} s, "
        f"`consumer_poll_timeout` {LIVE_POLL_S:g} s",
        commit_interval_s=LIVE_COMMIT_INTERVAL_S,
        poll_s=LIVE_POLL_S,
    ),
)
"""Those that are compared at steady rates; by the names of `RUNTIMES`."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the runtime that is measured, and those of all else; the same where there is only one."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def available(cls) -> "Cores":
        """Of this machine."""
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(rest or {first}))

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Processes that are started meanwhile, with all their threads, run on the measured core."""
        os.sched_setaffinity(0, self.measured)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.others)


@dataclass(slots=True)
class Running:
    """A runtime's process and its log, and a client that follows what its group has committed."""

    process: subprocess.Popen[bytes]
    settings: Settings
    log: Path
    client: KafkaAdminClient

    def check(self) -> None:
        """Raise if the process has ended.

        Raises
        ------
        RuntimeFailed
        """
        code = self.process.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise RuntimeFailed(f"{self.settings.kafka.group_id} ended with exit code {code}\n{tail}")

    def mark(self) -> Mark:
        """Read the lag, the CPU time and the committed offsets, which are all that runtimes have in common."""
        lag = lag_now(self.client, self.settings)
        at, cpu_s = time.monotonic(), processes.cpu_s([self.process.pid])
        records: Counter[str] = Counter()
        with suppress(KafkaError):  # a new broker has no coordinator until somebody joins a group
            for place, committed in admin.committed_offsets(self.client, self.settings.kafka).items():
                records[place.topic] += max(committed.offset, 0)
        return Mark(
            at=at,
            worker_cpu_s=cpu_s,
            broker_cpu_s=0.0,
            batches={},
            batch_s={},
            records={topic: float(count) for topic, count in records.items()},
            lag={topic: count for topic, count in lag.items() if count},
        )


@contextmanager
def started(
    runtime: Runtime,
    settings: Settings,
    broker: BrokerProcess,
    workload: Workload,
    folder: Path,
    client: KafkaAdminClient,
) -> Iterator[Running]:
    """Run a runtime on topics that exist, until the block is left."""
    folder.mkdir(parents=True)
    if runtime.program is None:
        with _worker(settings, broker, folder, client) as running:
            yield running
        return
    job = Job(
        bootstrap=broker.bootstrap,
        group=settings.kafka.group_id,
        partitions=settings.kafka.partitions,
        workload=workload,
        folder=str(folder),
        commit_interval_s=runtime.commit_interval_s,
        poll_s=runtime.poll_s,
    )
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.load.{runtime.program}", msgspec.json.encode(job).decode()],
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        yield Running(process, settings, log, client)
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _worker(settings: Settings, broker: BrokerProcess, folder: Path, client: KafkaAdminClient) -> Iterator[Running]:
    settings = msgspec.structs.replace(
        settings,
        # It is stopped while the backlog is published: that must not look like its death.
        kafka=msgspec.structs.replace(settings.kafka, session_timeout_s=60.0),
        worker=msgspec.structs.replace(settings.worker, tick_every_s=0.0),
    )
    system = LocalSystem(broker, settings, folder, workers=1)
    system.environment["worker-1"] = {"APP_DATADIR": str(folder / "faust")}
    with system:
        worker = system.workers[0]
        yield Running(worker.process, system.settings, worker.log, client)

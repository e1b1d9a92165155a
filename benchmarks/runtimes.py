"""What is compared, and how each is started: every runtime is one process on a core of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from benchmarks.steps import ALL_READ, SOURCES, Job
from loopback_kafka import BrokerProcess
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.kafka import topics
from stream_coupons.settings import Settings
from stream_coupons_lab.bench.workload import Workload
from stream_coupons_lab.demo.system import LocalSystem

ROOT = Path(__file__).parents[1]
STOP_WITHIN_S = 20.0


class RuntimeFailed(StreamCouponsError):
    """A runtime ended, fell behind for good or brought about something else than the others."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One contestant.

    Attributes
    ----------
    program : str or None
        The module that it runs; None for our worker.
    is_full : bool
        Whether it runs all steps, so that what it wrote can be compared.
    commit_interval_s, poll_s : float or None
        Of Quix Streams (`benchmarks.steps.Job`); None for its defaults.
    """

    name: str
    about: str
    program: str | None
    mode: str
    is_full: bool = True
    commit_interval_s: float | None = None
    poll_s: float | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Its input topics."""
        if self.program is None:
            return tuple(topic.name for topic in topics.READ_BY_AGENTS)
        return ALL_READ if self.is_full else SOURCES


RUNTIMES = (
    Runtime("ours", "a worker of stream_coupons, at least once", None, ""),
    Runtime("faust", "plain Faust: three agents, three tables, an event at a time", "peer_faust", "steps"),
    Runtime("quixstreams", "Quix Streams: RocksDB states, changelogs, the same steps", "peer_quix", "steps"),
    Runtime("quix-counter", "Quix Streams: one counter per key, no output", "peer_quix", "counter", is_full=False),
    Runtime(
        "floor", "librdkafka in batches and the steps on live objects: nothing is stored", "peer_librdkafka", "steps"
    ),
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
    """A runtime's process, its group and its log."""

    process: subprocess.Popen[bytes]
    group: str
    log: Path

    def check(self) -> None:
        """Raise if the process has ended.

        Raises
        ------
        RuntimeFailed
        """
        code = self.process.poll()
        if code is not None:
            raise RuntimeFailed(f"{self.group} ended with exit code {code}\n{self.tail()}")

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def started(
    runtime: Runtime, group: str, broker: BrokerProcess, workload: Workload, partitions: int, folder: Path
) -> Iterator[Running]:
    """Run a runtime on topics that exist, until the block is left."""
    folder.mkdir(parents=True)
    if runtime.program is None:
        with _worker(group, broker, workload, partitions, folder) as running:
            yield running
        return
    job = Job(
        mode=runtime.mode,
        bootstrap=broker.bootstrap,
        group=group,
        partitions=partitions,
        workload=workload,
        folder=str(folder),
        commit_interval_s=runtime.commit_interval_s,
        poll_s=runtime.poll_s,
    )
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{runtime.program}", msgspec.json.encode(job).decode()],
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        yield Running(process, group, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _worker(group: str, broker: BrokerProcess, workload: Workload, partitions: int, folder: Path) -> Iterator[Running]:
    usual = workload.settings(Settings())
    settings = msgspec.structs.replace(
        usual,
        # It is stopped while the backlog is published: that must not look like its death.
        kafka=msgspec.structs.replace(usual.kafka, group_id=group, partitions=partitions, session_timeout_s=60.0),
        worker=msgspec.structs.replace(usual.worker, tick_every_s=0.0),
    )
    system = LocalSystem(broker, settings, folder, workers=1)
    system.environment["worker-1"] = {"APP_DATADIR": str(folder / "faust")}
    with system:
        worker = system.workers[0]
        yield Running(worker.process, group, worker.log)

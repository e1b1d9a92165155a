"""A broker and some workers as child processes: start, watch, kill, stop."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from loopback_kafka.ports import ClaimedPort
from loopback_kafka.process import Addressed
from stream_coupons import secret
from stream_coupons.core.errors import StreamCouponsError
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import LINGER_MS, Publisher
from stream_coupons.kafka.connection import Connection
from stream_coupons.ops.interrupts import uninterrupted
from stream_coupons.secret import ALLOW_PUBLIC
from stream_coupons.settings import Settings, is_setting

READY_WITHIN_S = 120.0
WORKER = ("stream_coupons", "worker")
"""The module that a worker runs, with its arguments."""
Sample = tuple[str, tuple[tuple[str, str], ...]]


class SystemFailed(StreamCouponsError):
    """A worker ended or did not become ready."""


@dataclass(slots=True)
class WorkerProcess:
    """One worker with the learner beside it, and what both had counted when they were last looked at.

    Attributes
    ----------
    port : ClaimedPort
        Port of the worker's metrics; the learner has the next one.
    counted : dict
        Metrics by port and sample.
    """

    name: str
    port: ClaimedPort
    log: Path
    process: subprocess.Popen[bytes]
    counted: dict[tuple[int, Sample], float] = field(default_factory=dict)
    is_ready: bool = False
    """True once the worker has been ready since its start."""
    is_killed: bool = False

    @property
    def learner_port(self) -> int:
        """Port of the learner's metrics and probes."""
        return self.port.number + 1

    def scrape(self, *names: str) -> dict[Sample, float]:
        """Its metrics now, or those of some names, by name and labels; nothing when it does not answer."""
        return scrape(self.port.number, *names)

    def count(self, *names: str) -> None:
        """Note the metrics of worker and learner, or those of some names, unless they do not answer."""
        for port in (self.port.number, self.learner_port):
            self.counted |= {(port, sample): value for sample, value in scrape(port, *names).items()}


def scrape(port: int, *names: str) -> dict[Sample, float]:
    """Metrics at a port, or those of some names, by name and labels; nothing when it does not answer."""
    query = "?" + "&".join(f"name[]={name}" for name in names)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics{query}", timeout=5) as answer:
            text = answer.read().decode()
    except (OSError, HTTPException):  # it may end amid its answer
        return {}
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class LocalSystem:
    """Workers on a broker that runs already; use it as a context manager.

    Parameters
    ----------
    broker : Addressed
        A started broker or cluster; workers go by the address it advertises, everybody else by its own.
    settings : Settings
        Settings of all workers; the broker's address is filled in.
    folder : Path
        For the settings file and the workers' logs.

    Attributes
    ----------
    environment : dict
        Variables that a worker, by its name, gets besides this process's own when it starts.
    """

    def __init__(self, broker: Addressed, settings: Settings, folder: Path, workers: int = 2) -> None:
        kafka = msgspec.structs.replace(settings.kafka, bootstrap=broker.bootstrap)
        self.settings = msgspec.structs.replace(settings, kafka=kafka)
        self._advertised = broker.advertised
        self._folder = folder
        self._count = workers
        self.environment: dict[str, dict[str, str]] = {}
        self.workers: list[WorkerProcess] = []
        self._lost: defaultdict[Sample, float] = defaultdict(float)

    @property
    def bootstrap(self) -> str:
        """Address of the broker."""
        return self.settings.kafka.bootstrap

    @property
    def config_file(self) -> Path:
        """Settings file of the first worker, which the command line reads as well."""
        return self._folder / f"{self.workers[0].name}.toml"

    @property
    def connection(self) -> Connection:
        """Settings of the connection to the broker."""
        return self.settings.kafka

    def publisher(self, linger_ms: int = LINGER_MS) -> Publisher:
        """A publisher to this system."""
        return Publisher(self.connection, self.settings.kafka.partitions, linger_ms)

    def prepare(self, coupons: Iterable[Coupon], campaigns: Iterable[Campaign] = ()) -> None:
        """Create the topics, adopt the secret, and load the catalogue."""
        with admin.admin_client(self.connection) as client:
            admin.apply(client, self.settings.kafka)
        secret.adopt(self.settings, secret.draw_key(self.settings))
        with self.publisher() as publisher:
            for campaign in campaigns:
                publisher.send(topics.CAMPAIGNS, campaign)
            for coupon in coupons:
                publisher.send(topics.CATALOG, coupon)

    def __enter__(self) -> Self:
        try:
            for index in range(self._count):
                with uninterrupted():
                    self.workers.append(self._start(f"worker-{index + 1}"))
        except BaseException:
            self.__exit__(KeyboardInterrupt, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            (worker.process.terminate if kind is None else worker.process.kill)()
        for worker in self.workers:
            try:
                worker.process.wait(30)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _start(self, name: str, command: Sequence[str] = WORKER) -> WorkerProcess:
        self._folder.mkdir(parents=True, exist_ok=True)
        port = ClaimedPort(2)
        worker = msgspec.structs.replace(self.settings.worker, metrics_port=port.number)
        config = self._folder / f"{name}.toml"
        kafka = msgspec.structs.replace(self.settings.kafka, bootstrap=self._advertised)
        config.write_text(_to_toml(msgspec.structs.replace(self.settings, worker=worker, kafka=kafka)))
        log = self._folder / f"{name}.log"
        return WorkerProcess(name, port, log, _spawn(command, config, log, self.environment.get(name, {})))

    def kill(self, index: int) -> None:
        """SIGKILL a worker; what it had counted is kept."""
        worker = self.workers[index]
        worker.is_killed = True
        worker.process.kill()
        worker.process.wait()
        self._keep_counts(worker)

    def _keep_counts(self, worker: WorkerProcess) -> None:
        """Add what a worker that ended had counted to what is counted of the lost ones."""
        for (_, sample), value in worker.counted.items():
            if sample[0].endswith(("_total", "_count", "_sum", "_bucket")):
                self._lost[sample] += value
        worker.counted.clear()

    def restart(self, index: int) -> None:
        """Start a worker in the place of one that was killed."""
        self.workers[index] = self._start(self.workers[index].name)

    def totals(self, *names: str) -> dict[Sample, float]:
        """Metrics, or those of some names, summed over workers and learners, with what killed ones had counted."""
        totals: defaultdict[Sample, float] = defaultdict(float, self._lost)
        for worker in self.workers:
            worker.count(*names)
            for (_, sample), value in worker.counted.items():
                totals[sample] += value
        return dict(totals)

    def wait_ready(self) -> None:
        """Wait until every worker is ready.

        Raises
        ------
        SystemFailed
            With the end of the log of the worker that ended or was not ready in time.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        ready: Sample = ("stream_coupons_ready", ())
        while True:
            for worker in self.workers:
                worker.is_ready = worker.is_ready or worker.scrape(ready[0]).get(ready) == 1.0
            late = [worker for worker in self.workers if not worker.is_ready]
            if not late:
                return
            self.check()
            if time.monotonic() > deadline:
                raise SystemFailed(f"{late[0].name} is not ready after {READY_WITHIN_S:.0f} s\n{_tail(late[0].log)}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise if a worker has ended by itself.

        Raises
        ------
        SystemFailed
        """
        for worker in self.workers:
            code = worker.process.poll()
            if code is not None and not worker.is_killed:
                raise SystemFailed(f"{worker.name} ended with exit code {code}\n{_tail(worker.log)}")

    def publish_models(self) -> None:
        """Ask the learner, whichever worker it runs beside, to publish at once what it has learnt."""
        for worker in self.workers:
            # Before a worker is ready the signal might end it.
            if worker.process.poll() is None and worker.is_ready:
                worker.process.send_signal(signal.SIGUSR2)

    def wait_idle(self, timeout_s: float) -> None:
        """Wait until everything sent is committed.

        Raises
        ------
        SystemFailed
            If lag does not return to zero in time, or a worker ends.
        """
        deadline = time.monotonic() + timeout_s
        with admin.admin_client(self.connection) as client:
            while lag := lag_now(client, self.settings):
                self.check()
                if time.monotonic() > deadline:
                    raise SystemFailed(f"lag did not return to zero within {timeout_s:.0f} s: {lag}")
                time.sleep(0.05)


def lag_now(client: KafkaAdminClient, settings: Settings) -> dict[str, int]:
    """The lag by topic where there is any; something where it is not known yet, as right after a broker's start."""
    try:
        return {name: count for name, count in admin.lag(client, settings.kafka).items() if count}
    except KafkaError as error:
        if not (error.retriable or isinstance(error, admin.AWAY)):
            raise
        return {repr(error): 1}


def _spawn(module: Sequence[str], config: Path, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", *module, "--config", str(config)]
    # All settings are in the file; what the environment says was read into them, or was changed on purpose.
    inherited = {name: text for name, text in os.environ.items() if not is_setting(name)}
    output: IO[bytes] = log.open("ab")
    with output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**inherited, "NO_COLOR": "1", ALLOW_PUBLIC: "1", **environment},
            process_group=0,  # Ctrl-C is for this process, which ends the others
        )


def _tail(log: Path, lines: int = 15) -> str:
    text = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(text[-lines:])


def _to_toml(settings: Settings) -> str:
    """Settings as TOML."""
    lines: list[str] = []
    for section, values in msgspec.to_builtins(settings, order="deterministic").items():
        if not isinstance(values, dict):
            lines.insert(0, f"{section} = {json.dumps(values)}")
            continue
        lines.append(f"[{section}]")
        lines += [f"{name} = {_value_to_toml(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _value_to_toml(value: Any) -> str:
    """Return a value of a setting as TOML; JSON writes strings, numbers and flags alike."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value_to_toml(one)}" for name, one in value.items()) + "}"
    return f"[{', '.join(map(_value_to_toml, value))}]" if isinstance(value, list) else json.dumps(value)

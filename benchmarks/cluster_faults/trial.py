"""One trial: a cluster, workers under a supervisor, a live stream, one fault, and what two audits find afterwards."""

import os
import time
from pathlib import Path

import msgspec
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError
from msgspec import Struct

from benchmarks.cluster_faults import auditor
from benchmarks.cluster_faults.darkness import Darkness, answers_ms, asked, darkness, sent_ms
from benchmarks.cluster_faults.faults import Fault
from benchmarks.cluster_faults.running import CHECK_EVERY_S, Note, Running
from benchmarks.cluster_faults.shop import CAMPAIGN, Shop, catalogue
from benchmarks.cluster_faults.supervised import Ended, SupervisedSystem
from loopback_kafka import ApacheKafkaCluster
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.ops.audit.audit_topics import audit_topics
from stream_coupons.settings import PREFIX, Settings

BEFORE_S, AFTER_S = 25.0, 10.0
"""Seconds of the stream before a fault and after its healing. New brokers are slow: what they run is compiled first."""
IDLE_WITHIN_S = 120.0
RESULTS_WITHIN_S = 60.0
"""Workers report totals by the tick, which the audit waits for."""


class Plan(Struct, frozen=True, kw_only=True):
    """Parameters of a trial.

    Attributes
    ----------
    rate : float
        Events a second.
    is_static : bool
        True if each worker has a name in its group (`kafka.instance_id`).
    """

    settings: Settings
    rate: float = 60.0
    shoppers: int = 300
    seed: int = 1
    is_static: bool = False


class TrialResult(Struct, frozen=True, kw_only=True):
    """Figures of one trial.

    Attributes
    ----------
    seconds, idle_after_s : float
        Duration of the trial, and the time from the last event until all was committed.
    load : float
        Processes that waited for a core, as a mean over the last minute of the trial; it slows everything down.
    dark : Darkness
        From the fault on, seconds in which events lay in the topics and none of their partition was answered.
    dark_since_sent : Darkness
        The same from when events took place: with the time in which no broker took them.
    verify, audit : list of str
        Violations by the engine's own audit, and by the independent one.
    ended : list of Ended
        Workers that ended by themselves.
    """

    fault: str
    guarantee: Guarantee
    seconds: float
    events: int
    answered: int
    issues: int
    load: float
    idle_after_s: float
    dark: Darkness
    dark_since_sent: Darkness
    verify: list[str]
    audit: list[str]
    copies: int
    ended: list[Ended]

    @property
    def is_passed(self) -> bool:
        """True if nothing was violated."""
        return not (self.verify or self.audit)


def play(name: str, fault: Fault, plan: Plan, folder: Path, note: Note) -> TrialResult:
    """Play one fault on a new cluster, and return its figures.

    Parameters
    ----------
    name : str
        Name of the fault.
    fault, plan : Fault, Plan
        What happens, and to which system.
    folder : Path
        For the data of the cluster and the logs of the workers.
    note : callable
        Told what happens next.

    Raises
    ------
    BrokerFailed
        If the cluster does not start.
    SystemFailed
        If workers are not ready in time.
    """
    began = time.monotonic()
    note("starts the cluster")
    with ApacheKafkaCluster(folder / "cluster") as cluster:
        system = SupervisedSystem(cluster, plan.settings, folder / "workers", fault.workers)
        if plan.is_static:
            names = [f"worker-{number}" for number in range(1, fault.workers + 2)]
            system.environment = {name: {f"{PREFIX}KAFKA__INSTANCE_ID": name} for name in names}
        system.prepare(catalogue(), [CAMPAIGN])
        _note_appends(system)
        note("starts the workers")
        with system, system.publisher() as publisher:
            system.wait_ready()
            running = Running(cluster, system, plan.seed, note)
            shop = Shop(system.connection, publisher, plan.rate, plan.shoppers, plan.seed)
            with running.supervised():
                with shop.open():
                    running.wait(BEFORE_S)
                    began_ms = int(time.time() * 1000)
                    fault.play(running)
                    note("heals")
                    running.wait(AFTER_S)
                load = os.getloadavg()[0]
                idle_after_s = _wait_idle(cluster, running)
                note("audits")
                log, verdict = _audited(cluster, plan)
                verify = [str(found) for found in audit_topics(system.settings).violations]
        leaders = [cluster.leader(auditor.ANSWERS, number) for number in range(plan.settings.kafka.partitions)]
        answered = answers_ms(leaders)
    events = asked(log.entries)
    return TrialResult(
        fault=name,
        guarantee=plan.settings.kafka.guarantee,
        seconds=round(time.monotonic() - began, 1),
        events=len(events),
        answered=sum(entry.place in answered for entry in events),
        issues=len(log.entries.get(auditor.ISSUES, ())),
        idle_after_s=round(idle_after_s, 1),
        load=round(load, 1),
        dark=darkness([(one, one.timestamp_ms) for one in events if sent_ms(one) >= began_ms], answered),
        dark_since_sent=darkness([(one, sent_ms(one)) for one in events if sent_ms(one) >= began_ms], answered),
        verify=verify,
        audit=verdict.violations + _lost(log, shop.sent, publisher.sent_again),
        copies=verdict.copies,
        ended=system.ended,
    )


def _lost(log: auditor.Log, sent: int, sent_again: int) -> list[str]:
    """Return a violation if the topics have fewer records than brokers acknowledged, or more than were sent."""
    found = sum(len(log.entries.get(topic, ())) for topic in auditor.INPUTS)
    if sent <= found <= sent + sent_again:
        return []
    return [f"{found} records are in the input topics, {sent} were acknowledged, {sent_again} of them sent again"]


def _note_appends(system: SupervisedSystem) -> None:
    """Let brokers note when they append answers, in place of the workers' own clocks."""
    config = ConfigResource(
        ConfigResourceType.TOPIC, topics.ANSWERS.name, configs={"message.timestamp.type": "LogAppendTime"}
    )
    with admin.admin_client(system.connection) as client:
        client.alter_configs([config])


def _wait_idle(cluster: ApacheKafkaCluster, running: Running) -> float:
    """Wait until all is committed, or for `IDLE_WITHIN_S`, and return how long it took; the audit finds what is not."""
    began = time.monotonic()
    while not auditor.is_idle(cluster.bootstrap) and time.monotonic() < began + IDLE_WITHIN_S:
        running.wait(CHECK_EVERY_S)
    return time.monotonic() - began


def _audited(cluster: ApacheKafkaCluster, plan: Plan) -> tuple[auditor.Log, auditor.Verdict]:
    """Audit until nothing is violated, or for as long as totals, the last ticks and leaders of partitions may take."""
    deadline = time.monotonic() + RESULTS_WITHIN_S
    while True:
        is_last = time.monotonic() > deadline
        try:
            log = auditor.read_log(cluster.bootstrap)
            verdict = auditor.audit(log, plan.settings.kafka.guarantee is Guarantee.EXACTLY_ONCE)
            if not verdict.violations or is_last:
                return log, verdict
        except KafkaError:
            if is_last:
                raise
        time.sleep(CHECK_EVERY_S)


def settings_for(base: Settings, guarantee: Guarantee) -> Settings:
    """Return settings under which triggers have decisions: replicated topics, no cooldown, some chance.

    Parameters
    ----------
    base : Settings
        Timeouts and all else.
    guarantee : Guarantee
        Guarantee of the workers.
    """
    replace = msgspec.structs.replace
    kafka = replace(base.kafka, guarantee=guarantee, replication=3, partitions=6)
    policy = replace(
        base.policy,
        cooldown_s=0.0,
        exploration_ratio=0.2,
        holdout_ratio=0.0,
        max_issues_per_window=100,
        min_value_minor=-1000.0,
        new_shopper_ratio=1.0,
        reorder_suppress_s=0.0,
        totals_every_s=5.0,
    )
    return replace(base, kafka=kafka, policy=policy)

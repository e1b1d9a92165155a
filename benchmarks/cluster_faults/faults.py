"""Faults of brokers and workers, each with its healing."""

import random
import resource
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from benchmarks.cluster_faults.running import Running
from loopback_kafka.cluster import ApacheKafkaCluster, ClusterNode
from stream_coupons.kafka import topics
from stream_coupons.kafka.settings import Guarantee

DOWN_S: Final = 12.0
"""Longer than the session of a broker, so that its partitions get other leaders while it is away."""
CHURN_S: Final = 120.0
RESTART_AFTER_S: Final = 2.0
"""The supervisor's pause before it starts a killed worker anew."""
FULL: Final = 64
"""Bytes to which a file may grow on a full disk."""

AT_LEAST, EXACTLY = Guarantee.AT_LEAST_ONCE, Guarantee.EXACTLY_ONCE


class Fault(NamedTuple):
    """A fault.

    Attributes
    ----------
    about : str
        A description for people.
    play : callable
        Lets it happen to a running trial, and returns when it is healed.
    workers : int
        Number of workers in its trial.
    guarantees : tuple of Guarantee
        Guarantees under which it can happen.
    """

    about: str
    play: Callable[[Running], None]
    workers: int = 2
    guarantees: tuple[Guarantee, ...] = (AT_LEAST, EXACTLY)


def _nothing(running: Running) -> None:
    running.wait(DOWN_S)


def _down(running: Running, nodes: list[ClusterNode]) -> None:
    """Kill nodes, and start them again after a while."""
    running.note(f"kills {', '.join(f'node {node.node_id}' for node in nodes)}")
    for node in nodes:
        node.kill()
    running.wait(DOWN_S)
    running.cluster.start(nodes)


def _killed(role: Callable[[ApacheKafkaCluster], ClusterNode]) -> Callable[[Running], None]:
    return lambda running: _down(running, [role(running.cluster)])


def _all_but(count: int) -> Callable[[Running], None]:
    return lambda running: _down(running, running.cluster.nodes[count:])


def _leader(cluster: ApacheKafkaCluster) -> ClusterNode:
    return cluster.leader(topics.BROWSE.name, 0)


def _paused(seconds: float) -> Callable[[Running], None]:
    def play(running: Running) -> None:
        node = _leader(running.cluster)
        running.note(f"pauses node {node.node_id} for {seconds:g} s")
        node.pause()
        running.wait(seconds)
        node.resume()

    return play


def _worker_and_leader(running: Running) -> None:
    node = _leader(running.cluster)
    running.note(f"kills worker-1 and node {node.node_id}")
    with running.supervision:
        running.system.kill(0)
        node.kill()
    running.wait(RESTART_AFTER_S)
    with running.supervision:
        running.system.restart(0)
    running.wait(DOWN_S - RESTART_AFTER_S)
    running.cluster.start([node])


def _disk_full(running: Running) -> None:
    """Let no file of a node grow: to its broker that is the error of a full disk, on which it ends."""
    node = _leader(running.cluster)
    running.note(f"fills the disk of node {node.node_id}")
    assert node.pid is not None
    _, hard = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (FULL, hard))
    running.wait(DOWN_S)
    if node.is_running:
        running.note(f"node {node.node_id} runs on although its disk is full")
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (hard, hard))
    else:
        running.cluster.start([node])  # a process of its own: its disk has room


def _churn(running: Running) -> None:
    """Let a third worker come and go, one change every 1 to 5 s."""
    chance, until = random.Random(running.seed), time.monotonic() + CHURN_S
    while time.monotonic() < until:
        running.wait(chance.uniform(1.0, 5.0))
        if len(running.system.workers) > len(running.first_workers):
            _remove_last(running)
        else:
            with running.supervision:
                running.system.add(1)
    if len(running.system.workers) > len(running.first_workers):
        _remove_last(running)


def _remove_last(running: Running) -> None:
    with running.supervision:
        worker = running.system.workers.pop()
    running.leave(worker)


def _rolling_restart(running: Running) -> None:
    """Stop each worker by SIGTERM and start it again; go on when it is ready."""
    for index, name in enumerate(running.first_workers):
        running.note(f"restarts {name}")
        with running.supervision:
            running.leave(running.system.workers[index])
            running.system.restart(index)
        running.wait_ready()


FAULTS: Final = {
    "none": Fault("no fault: the darkness of a quiet system", _nothing),
    "leader": Fault("the leader of a partition is killed, and comes back", _killed(_leader)),
    "group-coordinator": Fault(
        "the coordinator of the workers' group is killed, and comes back",
        _killed(lambda cluster: cluster.group_coordinator("stream-coupons")),
    ),
    "transaction-coordinator": Fault(
        "the coordinator of most transactional ids is killed, and comes back",
        _killed(lambda cluster: cluster.transaction_coordinator()),
        guarantees=(EXACTLY,),
    ),
    "controller": Fault("the active controller is killed, and comes back", _killed(ApacheKafkaCluster.controller)),
    "pause-4s": Fault("a leader hangs for 4 s, less than its session", _paused(4.0)),
    "pause-15s": Fault("a leader hangs for 15 s, more than its session", _paused(15.0)),
    "two-down": Fault("two of three nodes are killed, and come back", _all_but(1)),
    "all-down": Fault("all nodes are killed, and come back", _all_but(0)),
    "worker-and-leader": Fault("a worker and a leader are killed at once, and come back", _worker_and_leader),
    "disk-full": Fault("no file of a leader can grow (RLIMIT_FSIZE): it ends, and comes back with room", _disk_full),
    "churn": Fault(f"a third worker comes or goes every 1 to 5 s for {CHURN_S:.0f} s", _churn),
    "rolling-restart": Fault(
        "three workers are stopped (SIGTERM) and started, one after the other", _rolling_restart, 3
    ),
}

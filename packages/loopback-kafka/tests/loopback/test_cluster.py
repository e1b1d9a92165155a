"""A cluster of three nodes of Apache Kafka: its roles, and what survives the loss of nodes."""

import time
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from loopback_kafka import ApacheKafkaCluster, BrokerFailed

TOPIC, GROUP, TRANSACTIONAL_ID = "orders", "readers", "writer"
FAILOVER_WITHIN_S = 30.0


def test_a_cluster_of_two_nodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokerFailed, match="expected at least 3"):
        ApacheKafkaCluster(tmp_path, 2)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.usefixtures("apache_kafka")
def test_what_is_acknowledged_survives_its_leader_and_every_role_has_a_node(cluster: ApacheKafkaCluster) -> None:
    servers = cluster.bootstrap.split(",")
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics([NewTopic(TOPIC, 1)])
    admin.wait_for_topics([TOPIC])
    (described,) = admin.describe_topics([TOPIC])
    admin.close()
    assert sorted(described["partitions"][0]["isr_nodes"]) == [1, 2, 3]
    with pytest.raises(BrokerFailed, match="no partition 1"):
        cluster.leader(TOPIC, 1)
    with pytest.raises(BrokerFailed, match="no node coordinates group"):
        cluster.group_coordinator(GROUP)

    producer = KafkaProducer(bootstrap_servers=servers, acks="all", transactional_id=TRANSACTIONAL_ID)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(TOPIC, b"first").get(30)
    producer.commit_transaction()
    with closing(reader(servers, GROUP)) as member:
        assert read(member, 1) == [b"first"]
        member.commit()
    assert cluster.controller() in cluster.nodes
    assert cluster.group_coordinator(GROUP) in cluster.nodes
    assert cluster.transaction_coordinator() is cluster.transaction_coordinator(TRANSACTIONAL_ID)

    leader = cluster.leader(TOPIC, 0)
    leader.kill()
    deadline = time.monotonic() + FAILOVER_WITHIN_S
    while cluster.leader(TOPIC, 0) is leader:
        assert time.monotonic() < deadline, "no other node became the leader"
    producer.begin_transaction()
    producer.send(TOPIC, b"second").get(30)
    producer.commit_transaction()
    producer.close()

    cluster.start()
    assert leader.is_running
    for node in cluster.nodes:
        node.kill()
    cluster.start()
    with closing(reader(servers, None)) as anew:
        assert read(anew, 2) == [b"first", b"second"]


def reader(servers: list[str], group_id: str | None) -> KafkaConsumer:
    """Return a consumer of what is committed."""
    options = {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    return KafkaConsumer(TOPIC, bootstrap_servers=servers, group_id=group_id, **options)


def read(consumer: KafkaConsumer, count: int) -> list[bytes]:
    """Return the next values of a consumer."""
    values: list[bytes] = []
    deadline = time.monotonic() + FAILOVER_WITHIN_S
    while len(values) < count and time.monotonic() < deadline:
        values += [record.value for records in consumer.poll(500).values() for record in records]
    return values

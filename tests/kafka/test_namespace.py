"""A client with a namespace names nothing outside of it, and its caller sees nothing of the namespace."""

import asyncio
import importlib
import pkgutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiokafka.protocol
import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest, SyncGroupResponse_v3
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v8
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Schema, String
from aiokafka.structs import TopicPartition
from kafka.protocol.admin import DescribeConfigsRequest
from kafka.protocol.metadata import FindCoordinatorRequest as FindCoordinatorRequestOfPython
from kafka.protocol.producer import ProduceRequest as ProduceRequestOfPython

from stream_coupons.kafka.fetch_requests import decode_answer, encode_request
from stream_coupons.kafka.namespace import add_namespace, check_namespace, client_name
from stream_coupons.kafka.renaming import MEMBER_FIELDS, NAME_FIELDS, renamed
from stream_coupons.kafka.transaction_requests import InitProducerId, TxnOffsetCommit
from stream_coupons.kafka.transport import rename

SPACE = "shop-a."
OUT, IN = SPACE.__add__, partial(client_name, SPACE)

NOT_NAMES = {
    *("client_id", "client_host", "cluster_id", "host", "rack", "rack_id", "key", "value"),
    *("member_id", "leader_id", "group_instance_id", "consumer_id", "group_protocol", "protocol", "protocol_name"),
    *("protocol_type", "state", "metadata", "mechanism", "error_message", "batch_index_error_message", "text"),
    *("states", "unknown_states"),
    *("sasl_auth_bytes", "messages", "message_set", "records", "user_data", "enabled_mechanisms"),
}
"""Texts of the requests that our consumers and producers send, and of their answers, that the broker shares with nobody
or that belong to a group or topic which is named beside them."""

SENT = {0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 22, 24, 25, 26, 28, 36, 66}
"""API keys of the requests that consumers and producers of aiokafka send; its administrator is not used."""


def structs(parent: type[Struct] = Struct) -> Iterator[type[Struct]]:
    for child in parent.__subclasses__():
        yield child
        yield from structs(child)


def texts(kind: Any, name: str = "") -> Iterator[str]:
    """The names of the fields of a type that hold text."""
    if isinstance(kind, Schema):
        for each, field in zip(kind.fields, kind.names, strict=True):
            yield from texts(each, field)
    elif isinstance(kind, Array):
        yield from texts(kind.array_of, name)
    elif isinstance(kind, String):
        yield name


def test_every_text_of_aiokafkas_requests_is_known_to_be_a_name_or_none() -> None:
    for module in pkgutil.iter_modules(aiokafka.protocol.__path__):
        importlib.import_module(f"aiokafka.protocol.{module.name}")
    found = {
        (struct.__name__, name)
        for struct in structs()
        if getattr(struct, "API_KEY", None) in SENT
        for name in texts(struct.SCHEMA)
    }
    assert {name for _, name in found} >= {"topic", "topics", "transactional_id", "coordinator_key"}
    assert {pair for pair in found if pair[1] not in NAME_FIELDS | MEMBER_FIELDS | NOT_NAMES} == set()


def test_a_produce_request_has_the_namespace_and_its_records_are_untouched() -> None:
    request = ProduceRequest_v7("id", -1, 1000, [("browse-events", [(0, b"browse-events")])])
    sent = renamed(request, OUT)
    assert sent.transactional_id == "shop-a.id"
    assert sent.topics == [("shop-a.browse-events", [(0, b"browse-events")])]
    assert ProduceRequest_v7.decode(sent.encode()) == sent
    assert request.topics[0][0] == "browse-events", "an attempt that follows would name it twice"


def test_a_request_of_ours_has_the_namespace() -> None:
    offsets = [("ticks", [(0, 7, -1, "", {})], {})]
    commit = renamed(TxnOffsetCommit("id", "group", 1, 2, 3, "member", None, offsets, {}), OUT)
    assert (commit.transactional_id, commit.group_id, commit.topics[0][0]) == (
        "shop-a.id",
        "shop-a.group",
        "shop-a.ticks",
    )
    assert commit.member_id == "member"
    assert renamed(InitProducerId("id", 1000, -1, -1, {}), OUT).transactional_id == "shop-a.id"


def test_what_members_of_a_group_tell_each_other_has_the_namespace() -> None:
    subscription = ConsumerProtocolMemberMetadata(0, ["ticks"], b"ticks").encode()
    join = JoinGroupRequest("group", 1, 1, "member", "one", "consumer", [("faust", subscription)])
    sent = renamed(join.build(JoinGroupRequest._CLASSES[-1]), OUT)
    assert sent.group == "shop-a.group"
    [(strategy, metadata)] = sent.group_protocols
    assert strategy == "faust"
    assert ConsumerProtocolMemberMetadata.decode(metadata) == ConsumerProtocolMemberMetadata(
        0, ["shop-a.ticks"], b"ticks"
    )
    assignment = ConsumerProtocolMemberAssignment(0, [("ticks", [0, 2])], b"")
    sync = SyncGroupRequest("group", 1, "member", None, [("member", assignment.encode())])
    [(_, given)] = renamed(sync.build(SyncGroupRequest._CLASSES[-1]), OUT).group_assignment
    assert ConsumerProtocolMemberAssignment.decode(given).assignment == [("shop-a.ticks", [0, 2])]
    answer = renamed(SyncGroupResponse_v3(0, 0, given), IN)
    assert ConsumerProtocolMemberAssignment.decode(answer.member_assignment) == assignment


def test_a_fetch_has_the_namespace_and_its_answer_has_not() -> None:
    body = encode_request(1, 1, 1, 0, (0, 0), {TopicPartition("ticks", 0): 5}, [TopicPartition("codes", 1)], SPACE)
    assert b"\x00\x0cshop-a.ticks" in body
    assert b"\x00\x0cshop-a.codes" in body
    name = b"shop-a.ticks"
    answer = bytes(10) + b"\x00\x00\x00\x01" + len(name).to_bytes(2) + name + bytes(4)
    assert decode_answer(answer, SPACE).topics == [("ticks", [])]


class Broker:
    """The client of aiokafka below the namespace: keeps what it is asked, and answers."""

    def __init__(self, *answers: Struct) -> None:
        self.asked: list[Any] = []
        self.answers = list(answers)
        self.cluster = ClusterMetadata(metadata_max_age_ms=1000)

    async def send(self, _node: int, request: Any) -> Struct:
        self.asked.append(request.prepare({request.API_KEY: (0, 99)}))
        return self.answers.pop(0)

    async def _metadata_update(self, cluster: ClusterMetadata, topics: list[str]) -> bool:
        self.asked.append(topics)
        cluster.update_metadata(self.answers.pop(0))
        return True


def test_a_client_of_aiokafka_asks_with_the_namespace_and_hears_without_it() -> None:
    client = Broker(ProduceResponse_v8([("shop-a.ticks", [(0, 0, 7, -1, 0, [], None)])], 0))
    add_namespace(client, SPACE)

    async def ask() -> Any:
        return await client.send(0, FindCoordinatorRequest("group", 0))

    assert asyncio.run(ask()).topics[0][0] == "ticks"
    assert client.asked[0].coordinator_key == "shop-a.group"


def test_a_topic_of_another_system_is_none_of_ours() -> None:
    partition = (0, 0, 1, [1], [1])
    topics = [(0, name, False, [partition]) for name in ("shop-a.ticks", "ticks", "browse-events")]
    client = Broker(MetadataResponse_v1([(1, "host", 9092, None)], 1, topics))
    add_namespace(client, SPACE)
    asyncio.run(client._metadata_update(client.cluster, ["ticks", "browse-events"]))
    assert client.asked == [["shop-a.ticks", "shop-a.browse-events"]]
    assert client.cluster.partitions_for_topic("ticks") == {0}
    assert client.cluster.partitions_for_topic("browse-events") is None
    assert client.cluster.topics() == {"ticks", "/ticks", "/browse-events"}


def test_without_a_namespace_a_client_is_left_as_it_is() -> None:
    client = Broker()
    before = (client.send, client._metadata_update)
    add_namespace(client, "")
    assert (client.send, client._metadata_update) == before


def test_kafka_pythons_requests_have_the_namespace_by_kafkas_own_definitions() -> None:
    topic = ProduceRequestOfPython.TopicProduceData(name="ticks", partition_data=[])
    request = ProduceRequestOfPython(transactional_id="id", acks=-1, timeout_ms=1, topic_data=[topic])
    sent = rename(request, OUT)
    assert (sent.transactional_id, sent.topic_data[0].name, topic.name) == ("shop-a.id", "shop-a.ticks", "ticks")
    resources = [
        DescribeConfigsRequest.DescribeConfigsResource(resource_type=kind, resource_name="1") for kind in (2, 4)
    ]
    described = rename(DescribeConfigsRequest(resources=resources), OUT)
    assert [one.resource_name for one in described.resources] == ["shop-a.1", "1"], "a broker is no topic"
    found = rename(FindCoordinatorRequestOfPython(coordinator_keys=["group"], key_type=0), OUT)
    assert found.coordinator_keys == ["shop-a.group"]


def test_a_name_outside_the_namespace_reaches_nothing() -> None:
    assert IN(OUT("coupons/users/1")) == "coupons/users/1"
    assert IN("shop-b.ticks") == "/shop-b.ticks"
    assert OUT(IN("shop-b.ticks")) == "shop-a./shop-b.ticks"


@pytest.mark.parametrize("namespace", ["", "shop-a.", "a_", "A-", "a.b.", "x" * 99 + "."])
def test_legal_namespaces(namespace: str) -> None:
    check_namespace(namespace)


@pytest.mark.parametrize("namespace", ["shop", "shop a.", "shop/", "ä.", "shop.\n", "x" * 100 + "."])
def test_other_namespaces_are_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match=r"^namespace: .*, expected nothing, or at most 100 letters"):
        check_namespace(namespace)

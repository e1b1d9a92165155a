"""The examples of the pages run and do what the pages promise."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.ops.catalogue_files import COUPONS, read_entries, unissuable
from stream_coupons.testing import issue

from .pages import block, example, page

RUN_WITHIN_S = 60.0


@pytest.fixture
def bootstrap(broker: BrokerProcess) -> str:
    """A broker that has the topics."""
    with admin.admin_client(Connection(broker.bootstrap)) as client:
        admin.apply(client, KafkaSettings())
    return broker.bootstrap


def ends(bootstrap: str, topic: str) -> dict[TopicPartition, int]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        partitions = [TopicPartition(topic, number) for number in range(KafkaSettings().partitions)]
        return dict(consumer.end_offsets(partitions))
    finally:
        consumer.close()


def records_between(bootstrap: str, before: dict[TopicPartition, int], after: dict[TopicPartition, int]) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        consumer.assign(list(before))
        for tp, offset in before.items():
            consumer.seek(tp, offset)
        found: list[Any] = []
        while any(consumer.position(tp) < after[tp] for tp in before):
            found += [record for records in consumer.poll(200).values() for record in records]
        return found
    finally:
        consumer.close()


@pytest.mark.kafka
@pytest.mark.parametrize("user_id", ["shopper-1042", "u", "Zoë-7", "another-shopper"])
def test_the_publish_example_lands_where_its_owner_reads(bootstrap: str, user_id: str) -> None:
    before = ends(bootstrap, topics.BROWSE.name)
    source = example("publish", bootstrap).replace("shopper-1042", user_id)
    subprocess.run([sys.executable, "-c", source], check=True, timeout=RUN_WITHIN_S)
    [record] = records_between(bootstrap, before, ends(bootstrap, topics.BROWSE.name))
    event = Decoder(topics.BROWSE)(record.value)
    assert event.user_id == user_id
    assert record.key == user_id.encode()
    assert record.partition == topics.partition_for(record.key, KafkaSettings().partitions)
    assert event.item is not None
    assert event.item.price_minor is not None


@contextmanager
def running(source: str) -> Iterator[subprocess.Popen[str]]:
    """A program whose output is read; it is killed in the end, or when that takes too long."""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as process:
        timer = Timer(RUN_WITHIN_S, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


@pytest.mark.kafka
def test_the_consume_example_delivers_every_issue_once(bootstrap: str, unique: str) -> None:
    first, second, third = (issue(unique, at=float(number)) for number in range(3))
    with Publisher(Connection(bootstrap), KafkaSettings().partitions) as publisher:
        for message in (first, first, second, first, second, third):
            publisher.send(topics.ISSUES, message)
    delivered: list[str] = []
    with running(example("consume", bootstrap)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if unique in line:
                delivered.append(line.split()[-1])
            if third.issue_id in line:
                break
    # One shopper is one partition: what came before the third issue was read before it.
    assert delivered == [first.issue_id, second.issue_id, third.issue_id]


def test_the_catalogue_example_is_good() -> None:
    reading = read_entries(COUPONS, block("catalogue").encode(), "page.yaml", now=1_767_348_000.0)
    assert (reading.faults, reading.warnings) == ([], [])
    assert (len(reading.campaigns), len(reading.coupons)) == (1, 1)
    assert unissuable(reading.coupons.values(), reading.campaigns) == []


def test_the_log_example_can_be_evaluated(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(block("foreign-log"), encoding="utf-8")
    result = CliRunner().invoke(app, ["evaluate", str(log), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["issues"], found["labelled"], found["refused_lines"]) == (2, 2, {})
    assert {head["head"]: (head["examples"], head["positives"]) for head in found["heads"]} == {
        "click": (1, 1),
        "redeem": (1, 1),
        "order": (1, 0),
    }


def test_the_feedback_example_is_feedback() -> None:
    texts = [
        text
        for text in re.findall(r"```json\n(.*?)```", page("docs/how-to/deliver-coupons.md"), re.DOTALL)
        if "issue_id" in text
    ]
    assert [type(Decoder(topics.FEEDBACK)(text.encode())) for text in texts] == [FeedbackEvent]

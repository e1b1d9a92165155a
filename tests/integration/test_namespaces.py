"""Two systems in one Kafka: each has its own topics, groups and transactions, and neither sees the other's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from msgspec.structs import replace
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess, Engine
from stream_coupons.cli.main import app
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.testing import browse, item
from stream_coupons_lab.demo.system import LocalSystem, scrape

from .builders import (
    AT,
    IDLE_WITHIN_S,
    coupon,
    distinct_issues,
    records,
    send_ticks,
    settings,
    total,
    violations,
    wait_until,
)

pytestmark = pytest.mark.kafka

SHOPPERS = 12
BLUE, GREEN = "blue.", "green."


def start(broker: BrokerProcess, folder: Path, namespace: str, coupon_id: str, guarantee: Guarantee) -> LocalSystem:
    """Return a system of a namespace, with a catalogue of one coupon."""
    plain = settings(guarantee=guarantee)
    spaced = replace(plain, kafka=replace(plain.kafka, namespace=namespace))
    (folder / namespace).mkdir()
    system = LocalSystem(broker, spaced, folder / namespace, workers=1)
    system.prepare([coupon(coupon_id)])
    return system


@pytest.fixture
def systems(empty_broker: BrokerProcess, tmp_path: Path) -> Iterator[tuple[LocalSystem, LocalSystem]]:
    """Two systems on one broker, one of each guarantee, both ready."""
    blue = start(empty_broker, tmp_path, BLUE, "tea", Guarantee.AT_LEAST_ONCE)
    green = start(empty_broker, tmp_path, GREEN, "coffee", Guarantee.EXACTLY_ONCE)
    with blue, green:
        blue.wait_ready()
        green.wait_ready()
        yield blue, green


def run(system: LocalSystem, *verb: str) -> str:
    """Return the output of a command for a system."""
    result = CliRunner().invoke(app, [*verb, "--config", str(system.config_file)])
    assert result.exit_code == 0, (verb, result.output)
    return result.stdout


def run_json(system: LocalSystem, *verb: str) -> Any:
    return json.loads(run(system, *verb, "--json"))


def shop(system: LocalSystem, prefix: str) -> None:
    """Let shoppers look at something."""
    with system.publisher() as publisher:
        for number in range(SHOPPERS):
            event_id = f"{prefix}-{number}"
            publisher.send(topics.BROWSE, browse(f"u{number}", item(f"i{number % 3}"), event_id=event_id, at=AT))
        send_ticks(system, publisher, AT)


def names_on(broker: BrokerProcess, engine: Engine) -> set[str]:
    """Return the names of all topics, groups and transactional ids of a broker but its own."""
    with admin.admin_client(Connection(broker.bootstrap)) as client:
        names = {name for name in client.list_topics() if not name.startswith("__")}
        names |= {group["group_id"] for group in client.list_groups()}
        return names | (transactional_ids(client) if engine == "kafka" else set())


def transactional_ids(client: KafkaAdminClient) -> set[str]:
    found = {each.transactional_id for some in client.list_transactions().values() for each in some}
    assert found, "the system that gives exactly once has some"
    return found


def await_metrics(system: LocalSystem) -> None:
    """Wait until its worker and its learner, which may start later or answer late, name its namespace."""
    space = system.settings.kafka.namespace
    wait_until(lambda: total(system, "build_info", kafka_namespace=space) == 2, f"metrics of {space} from both")


def test_neither_of_two_systems_in_one_kafka_sees_the_other(
    systems: tuple[LocalSystem, LocalSystem], empty_broker: BrokerProcess, engine: Engine
) -> None:
    blue, green = systems
    for system, prefix in ((blue, "blue"), (green, "green")):
        shop(system, prefix)
    for system in systems:
        system.wait_idle(IDLE_WITHIN_S)
    for system, prefix, coupon_id in ((blue, "blue", "tea"), (green, "green", "coffee")):
        issues = distinct_issues(system).values()
        assert {issue.trigger_id for issue in issues} == {f"{prefix}-{number}" for number in range(SHOPPERS)}
        assert {issue.coupon_id for issue in issues} == {coupon_id}
        assert violations(system) == []
        await_metrics(system)
    names = names_on(empty_broker, engine)
    assert {name for name in names if not name.startswith((BLUE, GREEN))} == set()
    assert names >= {f"{space}{name}" for space in (BLUE, GREEN) for name in topics.BY_NAME}
    assert names >= {f"{space}{group}" for space in (BLUE, GREEN) for group in blue.settings.kafka.group_ids}
    [first, *_] = records(blue, topics.ISSUES.name)
    assert dict(first.headers)["origin"].startswith(b"browse-events:"), "messages have no namespace"


def test_the_verbs_of_the_command_line_work_within_a_namespace(
    systems: tuple[LocalSystem, LocalSystem], tmp_path: Path
) -> None:
    blue, green = systems
    shop(blue, "blue")
    with green.publisher() as publisher:
        publisher.send_bytes(topics.BROWSE, b"u1", b"nonsense")
    events = tmp_path / "events.jsonl"
    events.write_bytes(encode(browse("u-green", item("A"), at=AT)))
    run(green, "publish", str(events), "--topic", "browse-events")
    for system in systems:
        system.wait_idle(IDLE_WITHIN_S)
    listed = [row["name"] for row in run_json(blue, "topics", "list")]
    assert listed == [f"{BLUE}{name}" for name in topics.BY_NAME]
    assert run_json(blue, "topics", "apply", "--check") == {"topics": listed, "created": []}
    assert [run_json(system, "verify")["clean"] for system in systems] == [True, True]
    [worker] = blue.workers
    wait_until(lambda: scrape(worker.learner_port).get(("stream_coupons_learner_ready", ())) == 1.0, "a learner")
    status = run_json(blue, "status")
    assert [len(group["owners"]) for group in status["groups"]] == [1, 1]
    assert {each["lag"] for each in status["inputs"]} == {0}
    diagnosis = CliRunner().invoke(app, ["doctor", "--config", str(blue.config_file)]).output
    assert f"topics: {len(topics.ALL)} topics ready" in diagnosis
    assert "rights: topics, their configuration and both groups can be read" in diagnosis
    tailed = run(blue, "tail", "coupon-issues", "--from-beginning", "--max", str(SHOPPERS), "--json").splitlines()
    assert {json.loads(line)["coupon_id"] for line in tailed} == {"tea"}
    assert run_json(blue, "explain", json.loads(tailed[0])["issue_id"])["issue"]["coupon_id"] == "tea"
    assert [issue.user_id for issue in distinct_issues(green).values()] == ["u-green"]
    sources = [[letter["source"] for letter in run_json(system, "dlq", "list")["letters"]] for system in systems]
    assert sources == [[], ["browse-events:0:0"]]

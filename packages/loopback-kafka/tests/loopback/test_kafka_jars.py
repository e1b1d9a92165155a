from pathlib import Path

import pytest

from loopback_kafka import ApacheKafka, BrokerUnavailable, apache_kafka_missing
from loopback_kafka.kafka_jars import KAFKA_VERSION, kafka_classpath

pytestmark = pytest.mark.process


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty PATH, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("STREAM_COUPONS_CACHE", str(tmp_path / "cache"))
    return folder


def put(tools: Path, name: str, script: str) -> None:
    (tools / name).write_text(f"#!/bin/sh\n{script}\n")
    (tools / name).chmod(0o755)


def put_java(tools: Path, version: str) -> None:
    put(tools, "java", f"echo 'openjdk version \"{version}\"' >&2")
    put(tools, "javac", "echo > /dev/null")


@pytest.mark.usefixtures("tools")
def test_a_missing_java_is_named_in_one_line(tmp_path: Path) -> None:
    reason = apache_kafka_missing()
    assert reason is not None
    assert "java" in reason
    assert "\n" not in reason
    with pytest.raises(BrokerUnavailable, match="install a JDK"):
        ApacheKafka(tmp_path / "data").start()


def test_an_old_java_is_refused(tools: Path) -> None:
    put_java(tools, "1.8.0_392")
    assert apache_kafka_missing() == "Apache Kafka needs Java 17 or newer, found 8"


def test_maven_is_needed_until_the_jars_are_cached(tools: Path, tmp_path: Path) -> None:
    put_java(tools, "17.0.9")
    reason = apache_kafka_missing()
    assert reason is not None
    assert "install Maven" in reason
    (tmp_path / "cache" / f"kafka-{KAFKA_VERSION}").mkdir(parents=True)
    assert apache_kafka_missing() is None


def test_a_failed_resolution_leaves_no_cache(tools: Path, tmp_path: Path) -> None:
    put_java(tools, "21")
    put(tools, "mvn", "echo '[ERROR] no route to the repository'; exit 1")
    with pytest.raises(BrokerUnavailable, match="no route"):
        kafka_classpath()
    assert list((tmp_path / "cache").iterdir()) == []


def test_resolved_jars_are_cached_once(tools: Path, tmp_path: Path) -> None:
    put_java(tools, "17.0.9")
    put(tools, "mvn", 'for last; do :; done; /bin/mkdir "${last#*=}"')
    first = kafka_classpath()
    put(tools, "mvn", "exit 1")
    assert kafka_classpath() == first
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"kafka-{KAFKA_VERSION}"]

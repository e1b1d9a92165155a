from pathlib import Path

import pytest

from loopback_kafka.errors import BrokerDataError
from loopback_kafka.offsets import Committed, CommittedOffsets
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.topics import MAX_PARTITIONS, MAX_TOPICS, TopicRefused, Topics

from .builders import numbered


def test_topics_survive_reopening(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    topics.create("a", 2, {"cleanup.policy": "compact"})
    topics.close()
    again = Topics(tmp_path)
    topic = again.get("a")
    assert topic is not None
    assert len(topic.partitions) == 2
    assert topic.has_policy("compact")
    again.close()


@pytest.mark.parametrize(
    ("name", "partitions", "configs", "code"),
    [
        ("a/b", 1, {}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("..", 1, {}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("x" * 250, 1, {}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("there", 1, {}, ErrorCode.TOPIC_ALREADY_EXISTS),
        ("a", 0, {}, ErrorCode.INVALID_PARTITIONS),
        ("a", MAX_PARTITIONS + 1, {}, ErrorCode.INVALID_PARTITIONS),
        ("a", 1, {"cleanup.policy": "forget"}, ErrorCode.INVALID_CONFIG),
        ("a", 1, {"retention.ms": "long"}, ErrorCode.INVALID_CONFIG),
    ],
)
def test_a_topic_that_cannot_be_is_refused(
    tmp_path: Path, name: str, partitions: int, configs: dict[str, str], code: ErrorCode
) -> None:
    topics = Topics(tmp_path)
    topics.create("there", 1, {})
    with pytest.raises(TopicRefused) as refused:
        topics.create(name, partitions, configs)
    assert refused.value.code is code
    topics.close()


def test_the_number_of_topics_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loopback_kafka.topics.MAX_TOPICS", 1)
    assert MAX_TOPICS > 100
    topics = Topics(tmp_path)
    topics.create("a", 1, {})
    with pytest.raises(TopicRefused) as refused:
        topics.create("b", 1, {})
    assert refused.value.code is ErrorCode.POLICY_VIOLATION
    topics.close()


def test_a_deleted_topic_comes_back_empty(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    topics.create("a", 1, {}).partitions[0].append(numbered(3), 1 << 20)
    assert topics.delete("a")
    assert not topics.delete("a")
    assert topics.create("a", 1, {}).partitions[0].end_offset == 0
    topics.close()


def test_what_a_death_while_deleting_left_is_removed(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    topics.create("a", 1, {})
    topics.close()
    orphan = tmp_path / "partitions" / "gone-0"
    orphan.mkdir()
    Topics(tmp_path).close()
    assert not orphan.exists()


def test_partitions_can_be_added_but_not_taken_away(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    topics.create("a", 2, {})
    topics.grow("a", 3, validate_only=True)
    assert topics.partition("a", 2) is None
    topics.grow("a", 3, validate_only=False)
    assert topics.partition("a", 2) is not None
    with pytest.raises(TopicRefused):
        topics.grow("a", 3, validate_only=False)
    topics.close()


def test_a_setting_returns_to_its_default(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    topic = topics.create("a", 1, {"retention.ms": "5"})
    topics.configure("a", {"retention.ms": None, "x.y": "z"}, validate_only=False)
    assert (topic.limit("retention.ms"), topic.configs) == (604_800_000, {"x.y": "z"})
    topics.close()


def test_producer_ids_are_never_given_out_twice(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    given = [topics.new_producer_id() for _ in range(3)]
    topics.close()
    again = Topics(tmp_path)
    assert again.new_producer_id() > max(given)
    again.close()


def test_a_foreign_file_is_not_taken_for_topics(tmp_path: Path) -> None:
    (tmp_path / "topics.json").write_text('{"format": 99}')
    with pytest.raises(BrokerDataError, match="expected 1"):
        Topics(tmp_path)


def test_committed_offsets_survive_reopening_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "offsets.jsonl"
    offsets = CommittedOffsets(path)
    offsets.commit("g", {("a", 0): Committed(5, "note"), ("a", 1): Committed(6, "")})
    offsets.commit("g", {("a", 0): Committed(7, "")})
    offsets.commit("gone", {("a", 0): Committed(1, "")})
    assert offsets.forget_group("gone")
    offsets.close()
    with path.open("a") as file:
        file.write('["g", "a", 0, 9')
    again = CommittedOffsets(path)
    assert again.of_group("g") == {("a", 0): Committed(7, ""), ("a", 1): Committed(6, "")}
    assert again.groups() == ["g"]
    again.forget_topic("a")
    assert again.of_group("g") == {}
    again.close()

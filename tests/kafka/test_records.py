"""Merging chunks keeps every partition in order of its offsets; an origin of a stranger is none."""

from stream_coupons.kafka.records import MAX_TOPIC, Record, merge, origin_of


def record(topic: str, offset: int, timestamp_ms: int) -> Record:
    return Record(topic, 0, offset, timestamp_ms, b"k", b"v")


def test_chunks_of_one_partition_stay_in_order_of_offsets_whatever_their_timestamps() -> None:
    first = [record("a", 0, 50), record("a", 1, 60)]
    second = [record("a", 2, 10), record("a", 3, 55)]
    other = [record("b", 0, 20)]
    merged = merge([first, other, second])
    assert [one.offset for one in merged if one.topic == "a"] == [0, 1, 2, 3]
    assert len(merged) == 5


def test_partitions_are_merged_by_time_of_append() -> None:
    merged = merge([[record("a", 0, 10), record("a", 1, 30)], [record("b", 0, 20)], []])
    assert [one.topic for one in merged] == ["a", "b", "a"]


def test_an_origin_whose_topic_is_longer_than_kafka_allows_is_none() -> None:
    def told(name: str) -> Record:
        return record("a", 0, 0)._replace(headers=(("origin", f"{name}:0:7:1".encode()),))

    longest = "x" * MAX_TOPIC
    assert origin_of(told(longest)) == (f"{longest}:0", (7, 1))
    assert origin_of(told(longest + "x")) is None

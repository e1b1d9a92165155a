import asyncio
from pathlib import Path

import pytest

from loopback_kafka.cleaning import apply_retention, clean_topics, is_compaction_due
from loopback_kafka.compaction import compact
from loopback_kafka.log import PartitionLog
from loopback_kafka.record_batches import check_batch, read_header, thin_batch
from loopback_kafka.topics import BrokerTopic, Topics

from .builders import KeyValue, make_batch, read_all

ANY_SIZE = 1 << 20


def log_of(folder: Path, *batches: list[KeyValue], codec: int = 0) -> PartitionLog:
    log = PartitionLog(folder)
    for records in batches:
        log.append(make_batch(records, codec=codec), ANY_SIZE)
    return log


def contents(log: PartitionLog) -> bytes:
    return log.read(0, ANY_SIZE, True)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_the_last_record_of_every_key_stays_at_its_offset(tmp_path: Path, codec: int) -> None:
    log = log_of(tmp_path, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2")], [(b"b", b"2"), (b"c", b"1")], codec=codec)
    assert read_all(compact(contents(log), 0)) == [(2, b"a"), (3, b"b"), (4, b"c")]
    log.close()


def test_compacting_twice_changes_nothing(tmp_path: Path) -> None:
    log = log_of(tmp_path, [(b"a", b"1"), (b"a", b"2")], [(b"b", b"2")])
    once = compact(contents(log), 0)
    assert compact(once, 0) == once
    log.close()


def test_a_thinned_batch_is_sound_and_keeps_its_offsets() -> None:
    batch = make_batch([(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", b"2")], codec=1)
    thinned = compact(batch, 0)
    header = check_batch(thinned)
    assert (header.base_offset, header.last_offset, header.count) == (0, 3, 2)
    assert header.max_timestamp == read_header(batch).max_timestamp


def test_an_empty_thinned_batch_is_still_sound() -> None:
    assert check_batch(thin_batch(make_batch([(b"a", b"1")]), [])).count == 0


def test_a_tombstone_hides_its_key_and_goes_when_it_is_old() -> None:
    batch = make_batch([(b"a", b"1"), (b"b", b"1"), (b"a", None)], timestamp=1_000)
    assert read_all(compact(batch, drop_tombstones_before_ms=0)) == [(1, b"b"), (2, b"a")]
    assert read_all(compact(batch, drop_tombstones_before_ms=2_000)) == [(1, b"b")]


def test_a_compacted_log_reopens_and_goes_on(tmp_path: Path) -> None:
    log = log_of(tmp_path, [(b"a", b"1"), (b"b", b"1")], [(b"a", b"2")], [(b"a", b"3")])
    until = log.position_of(-1)
    log.replace_head(compact(log.read_file(0, until), 0), until)
    log.close()
    size, log = log.size, PartitionLog(tmp_path)
    assert (log.start_offset, log.end_offset, log.size) == (0, 4, size)
    assert read_all(contents(log)) == [(1, b"b"), (2, b"a"), (3, b"a")]
    assert log.append(make_batch([(b"c", b"1")]), ANY_SIZE) == 4
    log.close()


def test_cleaning_compacts_what_is_due_and_keeps_the_ends(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    topic = topics.create("table", 1, {"cleanup.policy": "compact", "segment.bytes": "2000"})
    (log,) = topic.partitions
    for number in range(100):
        log.append(make_batch([(b"k%d" % (number % 3), b"%d" % number)]), ANY_SIZE)
    before = log.size
    asyncio.run(clean_topics(topics, 2.0))
    assert log.size < before / 10
    assert (log.start_offset, log.end_offset) == (0, 100)
    # The newest batch is never touched, so its key may appear twice.
    assert read_all(contents(log)) == [(96, b"k0"), (97, b"k1"), (98, b"k2"), (99, b"k0")]
    assert not is_compaction_due(log, topic)
    topics.close()


def test_records_without_a_key_go_when_a_topic_becomes_compacted(tmp_path: Path) -> None:
    topics = Topics(tmp_path)
    topic = topics.create("table", 1, {"segment.bytes": "100"})
    (log,) = topic.partitions
    for _ in range(3):
        log.append(make_batch([(None, b"v" * 100)]), ANY_SIZE)
    topics.configure("table", {"cleanup.policy": "compact"}, validate_only=False)
    asyncio.run(clean_topics(topics, 2.0))
    assert read_all(contents(log)) == [(2, None)]
    topics.close()


def make_topic(**configs: str) -> BrokerTopic:
    return BrokerTopic("t", {name.replace("_", "."): value for name, value in configs.items()})


def test_retention_by_size_keeps_the_newest_batches(tmp_path: Path) -> None:
    log = log_of(tmp_path, *[[(b"k", b"v" * 100)] for _ in range(10)])
    batch = log.size // 10
    topic = make_topic(retention_bytes=str(3 * batch), retention_ms="-1", segment_bytes="1")
    apply_retention(log, topic, now_ms=0)
    assert (log.start_offset, log.end_offset) == (7, 10)
    log.close()


def test_retention_by_time_never_drops_the_last_batch(tmp_path: Path) -> None:
    log = log_of(tmp_path, *[[(b"k", b"v")] for _ in range(10)])
    topic = make_topic(retention_ms="1000")
    apply_retention(log, topic, now_ms=2_000)
    assert log.start_offset == 0
    apply_retention(log, topic, now_ms=10_000)
    assert (log.start_offset, log.end_offset) == (9, 10)
    log.close()

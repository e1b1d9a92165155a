"""Offsets: what is committed, what is left to do, what can still be read."""

from stream_coupons.kafka.records import ORIGIN_HEADER, Record
from stream_coupons.ops.audit.offsets import AuditedOffsets, Retained

MARKS = AuditedOffsets(
    begins={("browse-events", 0): 3, ("coupon-issues", 0): 1},
    ends={("browse-events", 0): 10, ("browse-events", 1): 4, ("coupon-issues", 0): 9, ("ticks", 0): 2},
    committed={("browse-events", 0): 7, ("ticks", 0): 2},
)


def record(topic: str, offset: int, at_ms: int = 100, origin: bytes | None = None) -> Record:
    headers = () if origin is None else ((ORIGIN_HEADER, origin),)
    return Record(topic, 0, offset, at_ms, b"k", b"v", headers)


def test_a_record_below_the_committed_offset_is_done() -> None:
    assert MARKS.is_committed("browse-events", 0, 6)
    assert not MARKS.is_committed("browse-events", 0, 7)
    assert not MARKS.is_committed("browse-events", 1, 0)


def test_lag_is_what_agents_read_and_have_not_committed() -> None:
    assert MARKS.lag() == {"browse-events": 7}


def test_the_size_is_what_there_is_to_read() -> None:
    assert MARKS.size(["browse-events", "coupon-issues"]) == 7 + 4 + 8


def test_partitions_are_counted() -> None:
    assert (MARKS.partitions("browse-events"), MARKS.partitions("none")) == (2, 0)


def test_the_beginning_is_the_first_record_that_was_read() -> None:
    retained = Retained(MARKS)
    retained.note(record("browse-events", 4))
    retained.note(record("browse-events", 5))
    assert retained.begin("browse-events", 0) == 4
    assert retained.begin("browse-events", 1) == 4  # nothing is left of it
    assert retained.begin("unknown", 0) == 0
    assert retained.shortened(["browse-events", "order-events"]) == ["browse-events"]


def test_what_is_older_than_the_first_record_may_have_been_dropped() -> None:
    retained = Retained(MARKS)
    retained.note(record("browse-events", 4, at_ms=100))
    assert retained.may_have_lost("browse-events", 0, 100)
    assert not retained.may_have_lost("browse-events", 0, 101)
    retained.note(record("coupon-issues", 0, at_ms=100))
    assert not retained.may_have_lost("coupon-issues", 0, 1)
    assert retained.may_have_lost("browse-events", 1, 10**15)

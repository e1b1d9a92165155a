"""Cells survive their own bytes, and know what they have seen."""

from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.neighbours.buckets import BucketMember
from stream_coupons.core.shopper.state import EarlyFeedback, OpenControl, Shopper
from stream_coupons.core.vectors.sparse import pack_vector
from stream_coupons.kafka.records import Output, Record, origin_header, origin_of
from stream_coupons.runtime.cells import Cell, CellCodec, OutboxEntry, StateCodec, is_cell

from .fakes import Total

CODEC = CellCodec(Total)


def record(offset: int, topic: str = "t", origin: tuple[str, int, int, int] | None = None) -> Record:
    headers = (origin_header(origin),) if origin is not None else ()
    return Record(topic, 0, offset, 0, b"k", b"v", headers)


def test_a_cell_comes_back_from_its_bytes() -> None:
    output = Output("out", 3, None, b"\x00\xff", [("origin", b"t:0:1:0"), ("x", b"")])
    cell = Cell(12.5, Total(7, [1.0]), {"t": 4}, [OutboxEntry("t", 4, 2, output, 9)])
    assert CODEC.decode(CODEC.encode(cell)) == cell
    assert CODEC.encode(CODEC.decode(CODEC.encode(cell))) == CODEC.encode(cell)


def test_every_state_of_the_agents_comes_back_from_its_bytes() -> None:
    event = FeedbackEvent(event_id="e", user_id="u", occurred_at=1.0, issue_id="i", kind="click")
    shopper = Shopper(early=[EarlyFeedback(5.0, event)])
    shopper.controls["c"] = OpenControl("c", "c1", "d", 1.0, 2.0, b"\x00", b"\x01", (0.1, 0.2, 0.3), 3)
    shopper.profile.finer_interests = {2**32 - 1: -0.5}
    codec = CellCodec(Shopper)
    assert codec.decode(codec.encode(Cell(1.0, shopper))).state == shopper
    members = CellCodec(BucketMember)
    assert members.decode(members.encode(Cell(None, BucketMember(1.0, pack_vector({1: 0.5}))))).state == BucketMember(
        1.0, pack_vector({1: 0.5})
    )


def test_new_cells_share_nothing() -> None:
    one, two = CODEC.new(), CODEC.new()
    one.state.alarms.append(1.0)
    one.applied["t"] = 1
    assert (two.state.alarms, two.applied) == ([], {})


def test_offsets_are_remembered_by_topic() -> None:
    cell = CODEC.new()
    cell.applied["t"] = 5
    assert cell.is_replay(record(5))
    assert cell.is_replay(record(3))
    assert not cell.is_replay(record(6))
    assert not cell.is_replay(record(0, "other"))


def test_an_origin_is_read_as_it_was_written_even_if_the_topic_has_colons() -> None:
    assert origin_of(record(1, origin=("a:b", 3, 12, 4))) == ("a:b:3", (12, 4))
    assert origin_of(record(1)) is None


def test_recovery_reads_of_a_cell_when_it_is_due_how_far_it_is_and_whether_it_keeps_anything() -> None:
    output = Output("out", 3, None, b"v", [])
    idle = CODEC.head(CODEC.encode(Cell(12.5, Total(7), {"t": 4})))
    assert (idle.due, idle.applied, idle.keeps_nothing) == (12.5, {"t": 4}, True)
    busy = CODEC.head(CODEC.encode(Cell(None, Total(7), {"t": 4}, [OutboxEntry("t", 4, 0, output, 0)])))
    assert (busy.due, busy.applied, busy.keeps_nothing) == (None, {"t": 4}, False)


def test_what_is_shared_comes_back_from_its_bytes_and_is_no_cell() -> None:
    codec, purse = StateCodec(Purse), Purse(version=3, granted=500, returned=20, drawn=300, size=100, asked_at=7.5)
    assert codec.decode(codec.encode(purse)) == purse
    assert not is_cell(codec.encode(purse))

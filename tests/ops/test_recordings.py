"""Lines of a recording: what is taken, what is refused and why."""

import io
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.core.errors import BadMessage
from stream_coupons.kafka import topics
from stream_coupons.ops.recordings import FIRST_SHOWN, Line, Refusal, Refusals, key_of, lines, parse


def test_an_envelope_gives_the_message_byte_for_byte() -> None:
    entry = parse(b'{"topic": "browse-events", "message": {"user_id":  "u", "x": 1.0}, "seen": 3}')
    assert (entry.topic, entry.value) == (topics.BROWSE, b'{"user_id":  "u", "x": 1.0}')


def test_a_tick_is_a_message_of_ticks() -> None:
    assert parse(b'{"tick": 3600}') == (topics.TICKS, b'{"at":3600.0}')


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b"nonsense", "not_json", "malformed"),
        (b'{"topic": "browse-events", "message": {"user_id"', "not_json", "truncated"),
        (b'{"topic": "browse\xff-events", "message": {}}', "not_json", "utf-8"),
        (b"[1]", "not_an_envelope", "Expected `object`"),
        (b'{"message": {}}', "not_an_envelope", "`topic` is missing"),
        (b'{"topic": "browse-events"}', "not_an_envelope", "`message` is missing"),
        (b'{"topic": 7, "message": {}}', "not_an_envelope", "$.topic"),
        (b'{"tick": "noon"}', "not_an_envelope", "$.tick"),
        (b'{"tick": -1}', "not_an_envelope", "$.tick"),
        (b'{"tick": 1, "topic": "browse-events", "message": {}}', "not_an_envelope", "a tick and a message"),
        (b'{"topic": "browse", "message": {}}', "not_an_input", "browse-events"),
        (b'{"topic": "coupon-issues", "message": {}}', "not_an_input", "written by stream_coupons itself"),
        (b'{"topic": "coupon-catalog", "message": {}}', "not_an_input", "catalog push"),
    ],
)
def test_a_line_that_is_no_recorded_event_is_refused(line: bytes, reason: str, detail: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse(line)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


@given(st.binary())
def test_no_bytes_break_the_reading(text: bytes) -> None:
    key_of(text)
    with suppress(BadMessage):
        parse(text)


def test_lines_are_numbered_as_an_editor_does() -> None:
    found = list(lines(io.BytesIO(b"\xef\xbb\xbf1\n\n  \r\n2\r\n3")))
    assert found == [Line(1, b"1", 5), Line(4, b"2", 3), Line(5, b"3", 1)]


@pytest.mark.parametrize("value", [b"7", b'{"user_id": 7}', b"{}", b"\xff", b'{"user_id": "\xff"}', b""])
def test_a_message_without_a_user_has_an_empty_key(value: bytes) -> None:
    assert key_of(value) == b""


def test_refusals_are_counted_kept_and_written() -> None:
    sink = io.BytesIO()
    refusals = Refusals(sink)
    for number in range(1, FIRST_SHOWN + 2):
        refusals.add(Line(number, b"x\xff", 3), BadMessage("not_json", "no"))
    assert refusals.count == FIRST_SHOWN + 1
    assert refusals.first == [Refusal(number, "not_json", "no") for number in range(1, FIRST_SHOWN + 1)]
    written = [msgspec.json.decode(line, type=Refusal) for line in sink.getvalue().splitlines()]
    assert written[2] == Refusal(3, "not_json", "no", "x\ufffd")

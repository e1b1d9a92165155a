"""A fuzzer on the decoders: whatever comes in, a message or a BadMessage comes out, and soon.

STREAM_COUPONS_FUZZ=N runs N examples a property; the default suits every run of the tests.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import MAX_EVENT_BYTES, Decoder, encode
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Record

from .test_codec import of_type

DECODERS = {topic: Decoder(topic) for topic in topics.with_message()}
TOPICS = st.sampled_from(list(DECODERS))
EXAMPLES = int(os.environ.get("STREAM_COUPONS_FUZZ", "150"))

SOON = timedelta(seconds=1)
"""A decoder that needs as long for one record holds up its whole partition."""

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=SOON,
    derandomize=EXAMPLES == 150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

REFUSALS = {Rejection.NOT_JSON, Rejection.INVALID, Rejection.UNKNOWN_VERSION, Rejection.TOO_LARGE}


def taken_or_refused(topic: topics.Topic, value: bytes | None) -> None:
    """The bytes are a message that can be written again, or are refused so that a dead letter can be made of it."""
    try:
        message = DECODERS[topic](value)
    except BadMessage as bad:
        refusal = bad
    else:
        assert type(message) is topic.message
        assert DECODERS[topic](encode(message), limit=2 * MAX_EVENT_BYTES) == message
        return
    assert refusal.reason in REFUSALS
    assert refusal.detail.startswith(topic.name)
    letter = dead_letter(Record(topic.name, 0, 0, 0, b"k", value), refusal.reason, refusal.detail)
    assert letter.value == value
    assert len(dict(letter.headers)["detail"]) <= 4000


def wire_of(topic: topics.Topic) -> st.SearchStrategy[bytes]:
    """Messages of a topic as bytes."""
    assert topic.message is not None
    return of_type(msgspec.inspect.type_info(topic.message)).map(encode)


# ---------------------------------------------------------------- bytes


@fuzz
@given(TOPICS, st.binary(max_size=2000))
def test_arbitrary_bytes(topic: topics.Topic, value: bytes) -> None:
    taken_or_refused(topic, value)


TOKENS = [
    *(bytes([byte]) for byte in b'{}[],:"\\-+.eE0 \n\x00\x7f\x80\xc0\xff'),
    *(b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"1e999", b"-0", b"0x1", b"1_000", b"\xef\xbb\xbf"),
    *(b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\uD8", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b'"schema_version":2,', b'"user_id":', b'"event_id":"e",', b"9" * 400, b"[" * 2000, b'{"a":' * 2000, b"//", b"'"),
]


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """One change: a bit, a cut, a part twice, a part gone, a token put in."""
    kind, at, size = draw(st.integers(0, 4)), draw(st.floats(0, 1)), draw(st.integers(1, 40))
    token, bit = draw(st.sampled_from(TOKENS)), draw(st.integers(0, 7))

    def change(value: bytes) -> bytes:
        place = int(at * len(value))
        head, part, tail = value[:place], value[place : place + size], value[place + size :]
        flipped = bytes([part[0] ^ 1 << bit]) + part[1:] if part else part
        return (head + flipped + tail, head, head + part + part + tail, head + tail, head + token + part + tail)[kind]

    return change


@pytest.mark.long
@fuzz
@given(TOPICS, st.data(), st.lists(mutations(), min_size=1, max_size=6))
def test_mutated_messages(topic: topics.Topic, data: st.DataObject, changes: list[Callable[[bytes], bytes]]) -> None:
    value = data.draw(wire_of(topic))
    for change in changes:
        value = change(value)
        taken_or_refused(topic, value)


# ---------------------------------------------------------------- JSON

text = st.text(st.characters(), max_size=8)
"""With lone surrogates, which Python's JSON writes as it reads them."""
numbers = st.integers(-(10**40), 10**40) | st.floats() | st.sampled_from([2**53, 2**53 + 1, 2**63, 2**64, -0.0, 1e308])
shapes = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@fuzz
@given(TOPICS, shapes, st.booleans())
def test_json_of_any_shape(topic: topics.Topic, shape: Any, is_ascii: bool) -> None:
    taken_or_refused(topic, json.dumps(shape, ensure_ascii=is_ascii).encode(errors="surrogatepass"))


@pytest.mark.long
@fuzz
@given(TOPICS, st.data())
def test_any_shape_in_one_field_of_a_good_message(topic: topics.Topic, data: st.DataObject) -> None:
    good = json.loads(data.draw(wire_of(topic)))
    name = data.draw(st.sampled_from([*good, "schema_version"]))
    taken_or_refused(topic, json.dumps(good | {name: data.draw(shapes)}).encode())


BRACKETS = st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]"), (b"[0,[", b"]]")])
FIELDS = ["schema_version", "context", "item", "user_id", "occurred_at", "no such field"]


@fuzz
@given(TOPICS, BRACKETS, st.integers(1, 1100) | st.integers(1101, 150_000), st.sampled_from(FIELDS), st.booleans())
def test_deep_nesting(
    topic: topics.Topic, brackets: tuple[bytes, bytes], depth: int, field: str, is_closed: bool
) -> None:
    nest = brackets[0] * depth + b"1" + brackets[1] * (depth if is_closed else 0)
    taken_or_refused(topic, nest)
    event = b'{"event_id":"e","user_id":"u","occurred_at":1,' + json.dumps(field).encode() + b":" + nest + b"}"
    taken_or_refused(topic, event)


FORMS = [b"%b", b"-%b", b"0.%b", b"%b.5", b"1e%b", b"1e-%b", b"%be%b"]


@fuzz
@given(
    st.sampled_from([topics.BROWSE, topics.CART, topics.TICKS, topics.LEASE_REPORTS, topics.SNAPSHOTS]),
    st.sampled_from(FORMS),
    st.sampled_from([b"9", b"1", b"0"]),
    st.integers(1, 500) | st.integers(501, 500_000),
    st.sampled_from(["schema_version", "occurred_at", "at", "user_id", "rank", "no such field"]),
)
def test_huge_numbers(topic: topics.Topic, form: bytes, digit: bytes, digits: int, field: str) -> None:
    number = form.replace(b"%b", digit * digits)
    taken_or_refused(topic, number)
    good = {"event_id": "e", "user_id": "u", "occurred_at": 1, "at": 1}
    event = json.dumps({name: value for name, value in good.items() if name != field}).encode()
    taken_or_refused(topic, event[:-1] + b"," + json.dumps(field).encode() + b":" + number + b"}")


WHOLE = {
    "nested from end to end": b"[" * MAX_EVENT_BYTES,
    "one number": b"1" * MAX_EVENT_BYTES,
    "one text": b'"' + b"a" * (MAX_EVENT_BYTES - 2) + b'"',
    "escapes": b'"' + b"\\n" * (MAX_EVENT_BYTES // 2 - 1) + b'"',
    "one field again and again": b"{" + b'"at":1,' * (MAX_EVENT_BYTES // 7 - 1) + b'"at":1}',
    "fields nobody knows": b"{" + b",".join(b'"%d":[]' % n for n in range(60_000)) + b"}",
    "blanks": b" " * MAX_EVENT_BYTES,
    "zero bytes": b"\x00" * MAX_EVENT_BYTES,
    "5 MB": b"x" * 5_000_000,
}


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("topic", DECODERS, ids=lambda topic: topic.name)
def test_the_largest_records(case: str, topic: topics.Topic) -> None:
    began = time.perf_counter()
    taken_or_refused(topic, WHOLE[case])
    assert time.perf_counter() - began < SOON.total_seconds()

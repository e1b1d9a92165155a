"""Bytes to messages and back: every message survives, and anything else is a BadMessage with its reason."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.inputs import BrowseEvent, FeedbackEvent
from stream_coupons.core.messages.neighbours import UserVector
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import MAX_EVENT_BYTES, Decoder, encode

DECODERS = {topic.name: Decoder(topic) for topic in topics.with_message()}
BROWSE = DECODERS["browse-events"]
TOPICS = st.sampled_from(topics.with_message())

fast = settings(max_examples=150, derandomize=True)


# ---------------------------------------------------------------- strategies from the types


def of_type(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """Values that a type allows, as msgspec describes it."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return of_type(inner)
        case msgspec.inspect.StrType(pattern=str(pattern), max_length=high):
            return st.from_regex(pattern, fullmatch=True).filter(lambda text: high is None or len(text) <= high)
        case msgspec.inspect.StrType(min_length=low, max_length=high):
            text = st.text(st.characters(exclude_categories=["Cs"]), min_size=low or 0, max_size=min(high or 12, 12))
            return text | st.just("x" * (high or 12))
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BytesType():
            return st.binary(max_size=20)
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.IntType():
            low = kind.ge if kind.ge is not None else kind.gt + 1 if kind.gt is not None else -(2**53)
            return st.integers(low, kind.le if kind.le is not None else 2**53)
        case msgspec.inspect.FloatType():
            low = kind.ge if kind.ge is not None else kind.gt if kind.gt is not None else -1e300
            high = kind.le if kind.le is not None else 1e300
            return st.floats(low, high, exclude_min=kind.gt is not None, allow_nan=False)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([of_type(each) for each in types])
        case msgspec.inspect.ListType(item_type=inner, min_length=low):
            return st.lists(of_type(inner), min_size=low or 0, max_size=4)
        case msgspec.inspect.TupleType(item_types=inner):
            return st.tuples(*map(of_type, inner))
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(of_type(key), of_type(value), max_size=3)
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.fixed_dictionaries({each.name: of_type(each.type) for each in fields}).map(
                lambda values: build(cls, values)
            )
    raise NotImplementedError(kind)


def build(cls: type[msgspec.Struct], values: dict[str, Any]) -> msgspec.Struct:
    """A message, with what its type cannot say in words of types put right."""
    if "schema_version" in values:
        values["schema_version"] = 1
    if "indices" in values:
        size = min(len(values["indices"]), len(values["weights"]))
        values["indices"], values["weights"] = values["indices"][:size], values["weights"][:size]
        values["indices"] = [index % 2**32 for index in values["indices"]]
        values["weights"] = [math.fmod(weight, 1e6) for weight in values["weights"]]
    if cls is FeedbackEvent:
        values["order_id"] = values["order_id"] or "o1"
    if cls is Coupon and values["coupon_id"] == NO_COUPON:
        values["coupon_id"] = "another"
    vector = values.get("vector")
    if vector is not None and not any(vector):
        vector[0] = 1.0
    return cls(**values)


@pytest.mark.parametrize("kind", ["purchase", "refund", "cancel"])
def test_feedback_on_money_names_its_order(kind: str) -> None:
    event = {"event_id": "e", "user_id": "u", "occurred_at": 1.0, "issue_id": "i", "kind": kind}
    with pytest.raises(BadMessage, match=f"order_id is missing: a {kind} names its order") as refused:
        DECODERS["coupon-feedback"](json.dumps(event).encode())
    assert refused.value.reason == "invalid"
    DECODERS["coupon-feedback"](json.dumps(event | {"order_id": "o1"}).encode())


@pytest.mark.parametrize("topic", topics.with_message(), ids=lambda topic: topic.name)
def test_every_message_comes_back_from_its_bytes(topic: topics.Topic) -> None:
    assert topic.message is not None

    @settings(max_examples=25, derandomize=True)
    @given(of_type(msgspec.inspect.type_info(topic.message)))
    def comes_back(message: msgspec.Struct) -> None:
        wire = encode(message)
        assert DECODERS[topic.name](wire) == message
        assert encode(DECODERS[topic.name](wire)) == wire

    comes_back()


# ---------------------------------------------------------------- anything else


def reason(value: bytes | None, decoder: Decoder = BROWSE, **limit: int) -> str:
    with pytest.raises(BadMessage) as caught:
        decoder(value, **limit)
    assert str(caught.value.reason) in set(Rejection)
    assert caught.value.detail.startswith(decoder.topic.name)
    return caught.value.reason


def decoded_or_refused(topic: topics.Topic, value: bytes) -> None:
    try:
        message = DECODERS[topic.name](value)
    except BadMessage as bad:
        refused_as, text = bad.reason, bad.detail.encode()
    else:
        assert isinstance(message, topic.message or ())
        assert encode(message)
        return
    assert refused_as in (Rejection.NOT_JSON, Rejection.INVALID, Rejection.UNKNOWN_VERSION)
    assert text.startswith(topic.name.encode())


@fast
@given(TOPICS, st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(topic: topics.Topic, value: bytes) -> None:
    decoded_or_refused(topic, value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.long
@fast
@given(TOPICS, st.data())
def test_any_values_in_the_right_fields_are_a_message_or_refused(topic: topics.Topic, data: st.DataObject) -> None:
    assert topic.message is not None
    fields = data.draw(st.dictionaries(st.sampled_from(topic.message.__struct_fields__), anything))
    decoded_or_refused(topic, json.dumps(fields).encode())


@pytest.mark.long
@fast
@given(TOPICS, st.data())
def test_a_message_with_a_few_other_bytes_is_a_message_or_refused(topic: topics.Topic, data: st.DataObject) -> None:
    assert topic.message is not None
    wire = bytearray(encode(data.draw(of_type(msgspec.inspect.type_info(topic.message)))))
    for place in data.draw(st.lists(st.integers(0, len(wire) - 1), min_size=1, max_size=3)):
        wire[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(wire)))
    decoded_or_refused(topic, bytes(wire))
    decoded_or_refused(topic, bytes(wire[:cut]))


def wire(**fields: Any) -> bytes:
    known = {"event_id": "e", "user_id": "u", "occurred_at": 1.0}
    return json.dumps(known | fields).encode()


DEEP = b"[" * 10_000 + b"]" * 10_000
HEAD = b'{"event_id":"e","user_id":"u","occurred_at":'
NOT_JSON = {
    "tombstone": None,
    "empty": b"",
    "blank": b"  ",
    "truncated": wire()[:-1],
    "NaN": HEAD + b"NaN}",
    "infinity": HEAD + b"Infinity}",
    "trailing": wire() + b"x",
    "two documents": wire() + wire(),
    "not UTF-8": b'{"event_id":"\xff","user_id":"u","occurred_at":1}',
    "half a surrogate pair": b'{"event_id":"\\ud800","user_id":"u","occurred_at":1}',
    "nested too deep in a field nobody knows": wire()[:-1] + b',"x":' + DEEP + b"}",
    "UTF-16": wire().decode().encode("utf-16"),
    "binary": bytes(range(256)),
    "a comment": b"// no\n" + wire(),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_what_is_not_json_is_refused_as_that(case: str) -> None:
    assert reason(NOT_JSON[case]) == Rejection.NOT_JSON


INVALID = {
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "nothing in it": b"{}",
    "an empty id": wire(user_id=""),
    "a long id": wire(user_id="u" * 201),
    "an id that is a number": wire(user_id=7),
    "a time that is text": wire(occurred_at="now"),
    "a time before 1970": wire(occurred_at=-1),
    "a time in milliseconds": wire(occurred_at=1_700_000_000_000),
    "a number too large": HEAD + b"1e400}",
    "a number of 400 digits": HEAD + b"1" + b"0" * 400 + b"}",
    "money as a fraction": wire(item={"item_id": "A", "price_minor": 9.99}),
    "negative money": wire(item={"item_id": "A", "price_minor": -1}),
    "nested context": wire(context={"x": {"y": 1}}),
    "a list in the context": wire(context={"x": []}),
    "a long text in the context": wire(context={"x": "y" * 501}),
    "deep nesting in place of an event": DEEP,
    "deep nesting in the context": wire()[:-1] + b',"context":{"x":' + DEEP + b"}}",
}


@pytest.mark.parametrize("case", INVALID)
def test_what_does_not_fit_the_type_is_refused_as_that(case: str) -> None:
    assert reason(INVALID[case]) == Rejection.INVALID


def test_a_refusal_names_the_field_and_what_was_expected() -> None:
    with pytest.raises(BadMessage, match=r"Expected `str`.*user_id"):
        BROWSE(wire(user_id=7))


@pytest.mark.parametrize("version", [2, 0, -1, 99, "2", None, [], 2**63])
def test_another_version_is_refused_as_that_whatever_else_it_changed(version: object) -> None:
    assert reason(wire(schema_version=version)) == Rejection.UNKNOWN_VERSION
    assert reason(wire(schema_version=version, occurred_at="2030-01-01", user_id=5)) == Rejection.UNKNOWN_VERSION


def test_unknown_fields_are_ignored_so_senders_may_add_some() -> None:
    assert BROWSE(wire(new_field={"a": [1, 2]})) == BrowseEvent(event_id="e", user_id="u", occurred_at=1.0)


def test_text_that_is_not_utf8_does_no_harm_in_a_field_nobody_reads() -> None:
    assert BROWSE(wire()[:-1] + b',"x":"\xff\xfe"}').event_id == "e"


def test_what_may_be_missing_may_be_missing_or_null() -> None:
    assert BROWSE(wire(item=None)).item is None
    assert BROWSE(wire(item={"item_id": "A", "price_minor": None})).item.price_minor is None


def test_a_text_in_the_context_or_among_attributes_may_be_of_500_characters() -> None:
    assert BROWSE(wire(context={"x": "ü" * 500})).context == {"x": "ü" * 500}
    coupon = {"coupon_id": "c", "max_discount_minor": 1, "attributes": {"x": "y" * 501}}
    assert reason(encode(coupon), DECODERS["coupon-catalog"]) == Rejection.INVALID
    with pytest.raises(BadMessage, match=r"length <= 500 - at `\$\.context\[\.\.\.\]`"):
        BROWSE(wire(context={"x": "y" * 501}))


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    assert reason(b"x" * (MAX_EVENT_BYTES + 1)) == Rejection.TOO_LARGE
    assert reason(b"x" * MAX_EVENT_BYTES) == Rejection.NOT_JSON
    assert reason(wire(), limit=10) == Rejection.TOO_LARGE


def test_messages_without_a_version_do_not_look_for_one() -> None:
    assert reason(b'{"schema_version":2}', DECODERS["ticks"]) == Rejection.INVALID
    assert DECODERS["ticks"](b'{"at":5,"schema_version":2}').at == 5.0


INCONSISTENT = [
    ("coupon-leases", {"account_id": "units:c", "partition": 0, "at": 1, "version": 1, "granted": -1}),
    ("lease-reports", {"account_id": "units:c", "partition": 0, "at": 1, "version": 1, "granted": 1, "drawn": -1}),
    ("user-vectors", {"user_id": "u", "cell": "c", "at": 1, "indices": [1], "weights": []}),
    ("neighbour-updates", {"user_id": "u", "cell": "c", "at": 1, "neighbours": [], "indices": [], "weights": [1.0]}),
    ("neighbour-updates", {"user_id": "u", "cell": "c", "at": 1, "neighbours": [], "indices": [1], "weights": [1e300]}),
    ("user-vectors", {"user_id": "u", "cell": "c", "at": 1, "indices": [1], "weights": [-1e7]}),
    ("user-vectors", {"user_id": "u", "cell": "c", "at": 1, "indices": [2**32], "weights": [1.0]}),
    ("user-vectors", {"user_id": "u", "cell": "c", "at": 1, "indices": [-1], "weights": [1.0]}),
]


@pytest.mark.parametrize(("topic", "fields"), INCONSISTENT)
def test_fields_that_contradict_each_other_are_refused(topic: str, fields: dict[str, Any]) -> None:
    assert reason(json.dumps(fields).encode(), DECODERS[topic]) == Rejection.INVALID


def test_a_topic_without_messages_of_ours_has_no_decoder() -> None:
    with pytest.raises(TypeError, match="dead-letters"):
        Decoder(topics.DEAD_LETTERS)


def test_the_bytes_of_a_message_are_the_same_on_every_run() -> None:
    event = FeedbackEvent(event_id="e", user_id="u", occurred_at=1.0, issue_id="i", kind="click")
    assert encode(event) == b'{"event_id":"e","user_id":"u","occurred_at":1.0,"issue_id":"i","kind":"click"}'
    vector = UserVector(user_id="u", cell="c", at=0.1, indices=[3], weights=[0.5])
    assert encode(vector) == b'{"user_id":"u","cell":"c","at":0.1,"indices":[3],"weights":[0.5]}'

"""The committed schemas say what the decoder does, and change only by growing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from stream_coupons.contracts.schemas import DeadLetterHeaders
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import BROWSE, DEAD_LETTERS, Topic, with_message

FOLDER = Path(__file__).parents[2] / "schemas"
TOPICS = with_message()
DESCRIBED = [*TOPICS, DEAD_LETTERS]

# Whole floats (1.0) are left out on purpose: JSON Schema calls them integers, the decoder does not.
VALUES: list[Any] = [None, True, "", "x", "x" * 201, -1, 0, 1, 1.5, 2**53 + 1, [], {}, [1], ["a"], {"a": 1}]
BAD_BROWSE: dict[str, dict[str, Any]] = {
    "missing id": {"user_id": "u", "occurred_at": 1},
    "empty id": {"event_id": "", "user_id": "u", "occurred_at": 1},
    "id too long": {"event_id": "e" * 201, "user_id": "u", "occurred_at": 1},
    "number for an id": {"event_id": 7, "user_id": "u", "occurred_at": 1},
    "no time": {"event_id": "e", "user_id": "u"},
    "negative time": {"event_id": "e", "user_id": "u", "occurred_at": -1},
    "milliseconds for seconds": {"event_id": "e", "user_id": "u", "occurred_at": 1767348000000},
    "time as text": {"event_id": "e", "user_id": "u", "occurred_at": "2026-01-02T10:00:00Z"},
    "item without id": {"event_id": "e", "user_id": "u", "occurred_at": 1, "item": {"category": "tea"}},
    "negative price": {
        "event_id": "e",
        "user_id": "u",
        "occurred_at": 1,
        "item": {"item_id": "i", "price_minor": -5},
    },
    "price in units": {
        "event_id": "e",
        "user_id": "u",
        "occurred_at": 1,
        "item": {"item_id": "i", "price_minor": 6.49},
    },
    "no quantity": {"event_id": "e", "user_id": "u", "occurred_at": 1, "item": {"item_id": "i", "quantity": 0}},
    "nested context": {"event_id": "e", "user_id": "u", "occurred_at": 1, "context": {"a": {"b": 1}}},
    "nameless context": {"event_id": "e", "user_id": "u", "occurred_at": 1, "context": {"": 1}},
    "another version": {"event_id": "e", "user_id": "u", "occurred_at": 1, "schema_version": 2},
}


def name_of(topic: Topic) -> str:
    return topic.name


def schema_of(topic: Topic) -> dict[str, Any]:
    text = (FOLDER / f"{topic.name}.v1.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def examples_of(topic: Topic) -> list[dict[str, Any]]:
    text = (FOLDER / "examples" / f"{topic.name}.v1.json").read_text(encoding="utf-8")
    loaded: list[dict[str, Any]] = json.loads(text)
    return loaded


def validator_of(topic: Topic) -> Draft202012Validator:
    return Draft202012Validator(schema_of(topic))


def is_decoded(topic: Topic, value: Any) -> bool:
    try:
        Decoder(topic)(json.dumps(value).encode())
    except BadMessage:
        return False
    return True


@pytest.mark.parametrize("topic", DESCRIBED, ids=name_of)
def test_a_schema_is_a_schema_and_explains_itself(topic: Topic) -> None:
    schema = schema_of(topic)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:stream-coupons:schema:{topic.name}:v1"
    assert schema["$comment"].endswith(f" of {topic.name}, key {topic.key}")
    assert schema["title"]
    assert schema["description"].endswith(".")
    assert schema["examples"] == examples_of(topic)


@pytest.mark.long
@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
def test_examples_validate_and_round_trip(topic: Topic) -> None:
    decode, validator = Decoder(topic), validator_of(topic)
    for example in examples_of(topic):
        validator.validate(example)
        message = decode(json.dumps(example).encode())
        assert json.loads(encode(message)) == example
        assert decode(encode(message)) == message


def test_headers_of_a_dead_letter_are_as_described() -> None:
    record = Record("browse-events", 2, 918273, -1, b"shopper-1042", b"{", ())
    letter = dead_letter(record, Rejection.NOT_JSON, "browse-events: " + "x" * 2000)
    assert (letter.key, letter.value) == (record.key, record.value)
    validator_of(DEAD_LETTERS).validate({name: value.decode() for name, value in letter.headers})


def test_headers_of_a_dead_letter_that_is_cut_are_as_described() -> None:
    letter = dead_letter(Record("browse-events", 2, 918273, -1, b"k", b"v" * 12_000_000), Rejection.TOO_LARGE, "")
    headers = {name: value.decode() for name, value in letter.headers}
    assert {"key-bytes", "value-bytes", "digest"} < headers.keys()
    validator_of(DEAD_LETTERS).validate(headers)


def test_examples_of_dead_letters_are_headers() -> None:
    validator = validator_of(DEAD_LETTERS)
    for example in examples_of(DEAD_LETTERS):
        validator.validate(example)
        assert msgspec.to_builtins(msgspec.convert(example, DeadLetterHeaders)) == example


@pytest.mark.parametrize("topic", DESCRIBED, ids=name_of)
def test_examples_show_every_field_and_the_first_only_the_required_ones(topic: Topic) -> None:
    schema, examples = schema_of(topic), examples_of(topic)
    shown = {field for example in examples for field in example}
    assert shown == schema["properties"].keys() - {"schema_version"}  # left out while it is 1
    assert examples[0].keys() == set(schema["required"])


def test_no_example_belongs_to_no_topic() -> None:
    names = {path.name for path in (FOLDER / "examples").iterdir()}
    assert names == {*(f"{topic.name}.v1.json" for topic in DESCRIBED), "foreign-log.v1.jsonl", "verdicts.json"}


@pytest.mark.parametrize("value", BAD_BROWSE.values(), ids=BAD_BROWSE.keys())
def test_what_the_schema_refuses_the_decoder_refuses(value: dict[str, Any]) -> None:
    assert not validator_of(BROWSE).is_valid(value)
    assert not is_decoded(BROWSE, value)


def test_unknown_fields_are_ignored_by_both() -> None:
    value = {"event_id": "e", "user_id": "u", "occurred_at": 1, "sent_by": "shop 4"}
    assert validator_of(BROWSE).is_valid(value)
    assert is_decoded(BROWSE, value)


PAIRED = {"indices", "weights"}


@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
def test_schema_and_decoder_agree_on_every_field_and_value(topic: Topic) -> None:
    validator = validator_of(topic)
    disagreements = [
        (field, value)
        for field, value, message in variations(topic)
        if field not in PAIRED  # two lists of one length: a schema cannot say that
        if validator.is_valid(message) != is_decoded(topic, message)
    ]
    assert disagreements == []


def variations(topic: Topic) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every example with each field left out, and with each field set to each value."""
    for example in examples_of(topic):
        for field in schema_of(topic)["properties"]:
            yield field, "(left out)", {name: held for name, held in example.items() if name != field}
            for value in VALUES:
                yield field, value, {**example, field: value}


@pytest.mark.parametrize("value", [[], "text", 1, None, True], ids=str)
def test_what_is_no_object_is_refused_by_both(value: Any) -> None:
    assert not validator_of(BROWSE).is_valid(value)
    assert not is_decoded(BROWSE, value)

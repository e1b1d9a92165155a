"""The committed schemas say what the decoder does, and change only by growing."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from stream_coupons.contracts import schemas
from stream_coupons.contracts.schemas import DeadLetterHeaders, breaking_changes
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.topics import BROWSE, BY_NAME, CATALOG, DEAD_LETTERS, ISSUES, Topic, with_message

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


def test_committed_schemas_are_what_the_types_say() -> None:
    assert schemas.stale(FOLDER) == []
    assert schemas.breaking(FOLDER) == []


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


@pytest.mark.parametrize("topic", DESCRIBED, ids=name_of)
def test_a_schema_may_take_its_own_place(topic: Topic) -> None:
    assert breaking_changes(schema_of(topic), schema_of(topic)) == []


def test_a_new_optional_field_is_additive() -> None:
    old, new = schema_of(BROWSE), schema_of(BROWSE)
    new["properties"]["session_id"] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    new["$defs"]["Item"]["properties"]["colour"] = {"type": "string", "default": ""}
    new["description"] = "Said better."
    assert breaking_changes(old, new) == []


def test_a_new_optional_element_is_additive() -> None:
    old, new = schema_of(ISSUES), schema_of(ISSUES)
    new["$defs"]["Reason"]["prefixItems"].append({"type": "string", "default": ""})
    assert breaking_changes(old, new) == []


def edited(topic: Topic, path: str, **keywords: Any) -> dict[str, Any]:
    """The topic's schema with keywords of one node set, or removed where the value is None."""
    schema = copy.deepcopy(schema_of(topic))
    node: Any = schema
    for step in filter(None, path.split("/")):
        node = node[int(step)] if isinstance(node, list) else node[step]
    for keyword, value in keywords.items():
        if value is None:
            del node[keyword]
        else:
            node[keyword] = value
    return schema


BREAKING: dict[str, tuple[Topic, dict[str, Any], str]] = {
    "field removed": (
        BROWSE,
        edited(BROWSE, "properties", context=None),
        "$.context: the field was removed",
    ),
    "nested field removed": (
        BROWSE,
        edited(BROWSE, "$defs/Item/properties", brand=None),
        "$.item.brand: the field was removed",
    ),
    "new required field": (
        BROWSE,
        edited(BROWSE, "", required=["event_id", "user_id", "occurred_at", "session_id"]),
        "$.session_id: a new field must not be required",
    ),
    "made required": (
        BROWSE,
        edited(BROWSE, "", required=["event_id", "user_id", "occurred_at", "item"]),
        "$.item: was optional, is required",
    ),
    "made optional": (
        BROWSE,
        edited(BROWSE, "", required=["event_id", "occurred_at"]),
        "$.user_id: was required, is optional, and readers rely on it",
    ),
    "type changed": (
        BROWSE,
        edited(BROWSE, "properties/occurred_at", type="string"),
        "$.occurred_at: may no longer be number",
    ),
    "null no longer allowed": (
        BROWSE,
        edited(BROWSE, "properties/item", anyOf=[{"$ref": "#/$defs/Item"}]),
        "$.item: may no longer be null",
    ),
    "null allowed": (
        CATALOG,
        edited(CATALOG, "properties/title", anyOf=[{"type": "string", "maxLength": 200}, {"type": "null"}]),
        "$.title: may now be null, which readers would refuse",
    ),
    "upper bound lowered": (
        BROWSE,
        edited(BROWSE, "properties/event_id", maxLength=64),
        "$.event_id: maxLength was 200, is 64: narrower",
    ),
    "upper bound raised": (
        BROWSE,
        edited(BROWSE, "properties/event_id", maxLength=400),
        "$.event_id: maxLength was 200, is 400: wider than readers allow",
    ),
    "lower bound raised": (
        BROWSE,
        edited(BROWSE, "properties/event_id", minLength=2),
        "$.event_id: minLength was 1, is 2: narrower",
    ),
    "bound new": (
        ISSUES,
        edited(ISSUES, "properties/domain", maxLength=10),
        "$.domain: maxLength was None, is 10: narrower",
    ),
    "bound gone": (
        ISSUES,
        edited(ISSUES, "properties/p_click", maximum=None),
        "$.p_click: maximum was 1, is None: wider than readers allow",
    ),
    "bound within null or number": (
        BROWSE,
        edited(BROWSE, "$defs/Item/properties/quantity/anyOf/0", exclusiveMinimum=1),
        "$.item.quantity: exclusiveMinimum was 0, is 1: narrower",
    ),
    "choice gone": (
        BY_NAME["cart-events"],
        edited(BY_NAME["cart-events"], "properties/action", enum=["add"]),
        '$.action: "remove" is no longer allowed',
    ),
    "choice new": (
        BY_NAME["decisions"],
        edited(BY_NAME["decisions"], "properties/result", enum=["given", "not_worth_it", "control", "holdout", "lost"]),
        '$.result: "lost" is now allowed, which readers would refuse',
    ),
    "default changed": (
        CATALOG,
        edited(CATALOG, "properties/margin_ratio", default=0.5),
        "$.margin_ratio: its default was 0.3, is 0.5",
    ),
    "pattern changed": (
        DEAD_LETTERS,
        edited(DEAD_LETTERS, "properties/offset", pattern="^[0-9]+$"),
        "$.offset: its pattern was '^-?[0-9]+$', is '^[0-9]+$'",
    ),
    "element removed": (
        ISSUES,
        edited(ISSUES, "$defs/Reason", prefixItems=[{"type": "string"}, {"type": "number"}]),
        "$.reasons[]: elements were removed",
    ),
    "element required": (
        ISSUES,
        edited(ISSUES, "$defs/Reason", minItems=4),
        "$.reasons[]: minItems was 3, is 4: narrower",
    ),
    "map's values": (
        BROWSE,
        edited(BROWSE, "properties/context", additionalProperties={"type": "string"}),
        "$.context{}: may no longer be boolean",
    ),
    "map's names": (
        BROWSE,
        edited(BROWSE, "properties/context", propertyNames={"minLength": 1, "maxLength": 32}),
        "$.context{name}: maxLength was 64, is 32: narrower",
    ),
    "key": (
        BROWSE,
        edited(BROWSE, "") | {"$comment": "value of browse-events, key event_id"},
        "topic and key were 'value of browse-events, key user_id', are 'value of browse-events, key event_id'",
    ),
    "version": (
        BROWSE,
        edited(BROWSE, "properties/schema_version", const=2),
        "$.schema_version: 1 is no longer allowed",
    ),
}


@pytest.mark.parametrize(("topic", "new", "change"), BREAKING.values(), ids=BREAKING.keys())
def test_a_breaking_change_is_named(topic: Topic, new: dict[str, Any], change: str) -> None:
    assert change in breaking_changes(schema_of(topic), new)


@pytest.mark.long
def test_a_folder_that_is_missing_changed_or_left_over_is_stale(tmp_path: Path) -> None:
    written = schemas.write(tmp_path)
    assert len(written) == len(DESCRIBED) + 4  # and foreign log, catalogue file, AsyncAPI and TypeScript
    assert schemas.write(tmp_path) == []
    (tmp_path / "ticks.v1.schema.json").unlink()
    (tmp_path / "old-events.v1.schema.json").write_text("{}")
    (tmp_path / "old-events.v0.schema.json").write_text("{}")
    with (tmp_path / "browse-events.v1.schema.json").open("a") as file:
        file.write(" ")
    assert schemas.stale(tmp_path) == [
        "ticks.v1.schema.json: missing",
        "old-events.v1.schema.json: nothing has it",
        "browse-events.v1.schema.json: differs from the message types",
    ]


@pytest.mark.long
def test_a_changed_example_makes_its_schema_stale(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    example = tmp_path / "examples" / "ticks.v1.json"
    example.write_text('[{"at": 1.0}]')
    schemas.write(tmp_path)
    assert schemas.stale(tmp_path) == []
    example.write_text('[{"at": 2.0}]')
    assert schemas.stale(tmp_path) == ["ticks.v1.schema.json: differs from the message types"]


@pytest.mark.long
def test_a_breaking_change_is_not_written_unless_told_to(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    path = tmp_path / "ticks.v1.schema.json"
    committed = json.loads(path.read_text())
    committed["properties"]["zone"] = {"type": "string"}
    path.write_text(json.dumps(committed))
    with pytest.raises(BadConfig, match=r"ticks\.v1\.schema\.json: \$\.zone: the field was removed"):
        schemas.write(tmp_path)
    assert schemas.write(tmp_path, allow_breaking=True) == ["ticks.v1.schema.json"]
    assert schemas.stale(tmp_path) == []

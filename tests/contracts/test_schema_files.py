"""Files of the contracts are fresh, and a change that breaks a version is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stream_coupons.contracts import schema_files
from stream_coupons.contracts.schema_files import breaking_changes
from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.topics import BROWSE, BY_NAME, CATALOG, DEAD_LETTERS, ISSUES, Topic

from .test_schemas import DESCRIBED, FOLDER, name_of, schema_of


def test_committed_schemas_are_what_the_types_say() -> None:
    assert schema_files.stale(FOLDER) == []
    assert schema_files.breaking(FOLDER) == []


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
    written = schema_files.write(tmp_path)
    assert len(written) == len(DESCRIBED) + 5  # and foreign log, catalogue file, AsyncAPI, OpenAPI and TypeScript
    assert schema_files.write(tmp_path) == []
    (tmp_path / "ticks.v1.schema.json").unlink()
    (tmp_path / "old-events.v1.schema.json").write_text("{}")
    (tmp_path / "old-events.v0.schema.json").write_text("{}")
    with (tmp_path / "browse-events.v1.schema.json").open("a") as file:
        file.write(" ")
    assert schema_files.stale(tmp_path) == [
        "ticks.v1.schema.json: missing",
        "old-events.v1.schema.json: nothing has it",
        "browse-events.v1.schema.json: differs from the message types",
    ]


@pytest.mark.long
def test_a_changed_example_makes_its_schema_stale(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    example = tmp_path / "examples" / "ticks.v1.json"
    example.write_text('[{"at": 1.0}]')
    schema_files.write(tmp_path)
    assert schema_files.stale(tmp_path) == []
    example.write_text('[{"at": 2.0}]')
    assert schema_files.stale(tmp_path) == ["ticks.v1.schema.json: differs from the message types"]


@pytest.mark.long
def test_a_breaking_change_is_not_written_unless_told_to(tmp_path: Path) -> None:
    schema_files.write(tmp_path)
    path = tmp_path / "ticks.v1.schema.json"
    committed = json.loads(path.read_text())
    committed["properties"]["zone"] = {"type": "string"}
    path.write_text(json.dumps(committed))
    with pytest.raises(BadConfig, match=r"ticks\.v1\.schema\.json: \$\.zone: the field was removed"):
        schema_files.write(tmp_path)
    assert schema_files.write(tmp_path, allow_breaking=True) == ["ticks.v1.schema.json"]
    assert schema_files.stale(tmp_path) == []

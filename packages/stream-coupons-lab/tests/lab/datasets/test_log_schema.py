"""The committed schema of a foreign log's lines says what its reader does."""

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stream_coupons.contracts.schema_files import breaking_changes
from stream_coupons.ops.recordings import Line, Refusals
from stream_coupons_lab.datasets.foreign import WINDOW_S, ForeignLog
from stream_coupons_lab.datasets.log_schema import texts
from tests.contracts.test_schemas import FOLDER, VALUES

LOG_SCHEMA: dict[str, Any] = json.loads((FOLDER / "foreign-log.v1.schema.json").read_text(encoding="utf-8"))
LOG_EXAMPLES = [json.loads(line) for line in (FOLDER / "examples" / "foreign-log.v1.jsonl").read_text().splitlines()]
LOG_LINE = Draft202012Validator(LOG_SCHEMA)


def is_taken(line: Any) -> bool:
    """Return True if the reader accepts a line, alone or behind the issue that it is feedback on."""
    log = ForeignLog(WINDOW_S, Refusals())
    if isinstance(line, dict) and line.get("type") == "feedback" and isinstance(line.get("issue_id"), str):
        of = {"type": "issue", "issue_id": line["issue_id"], "user_id": line.get("user_id") or "u", "occurred_at": 1}
        log.take(Line(1, json.dumps(of).encode(), 0))
        log.refusals.by_reason.clear()
    log.take(Line(2, json.dumps(line).encode(), 0))
    log.close()
    return not log.refusals.count


def test_the_schema_of_the_log_is_a_schema_and_has_the_examples() -> None:
    assert {name: (FOLDER / name).read_text(encoding="utf-8") for name in texts(None)} == texts(FOLDER / "examples")
    Draft202012Validator.check_schema(LOG_SCHEMA)
    assert LOG_SCHEMA["$id"] == "urn:stream-coupons:schema:foreign-log:v1"
    assert LOG_SCHEMA["examples"] == LOG_EXAMPLES
    for example in LOG_EXAMPLES:
        LOG_LINE.validate(example)
        assert is_taken(example)


def test_examples_of_the_log_show_every_field_of_every_type() -> None:
    for definition in LOG_SCHEMA["$defs"].values():
        fields = definition["properties"].keys()
        if "type" in fields:
            of_type = [line for line in LOG_EXAMPLES if line["type"] == definition["properties"]["type"]["enum"][0]]
            assert {field for line in of_type for field in line} == fields - {"schema_version"}


FITTING = ("coupon", "arm", "arms", "occurred_at", "expires_at")
"""Of these the reader asks that they fit each other, which a schema cannot say."""


@pytest.mark.parametrize("example", LOG_EXAMPLES, ids=lambda line: str(line["type"]))
def test_schema_and_reader_of_the_log_agree_on_every_field_and_value(example: dict[str, Any]) -> None:
    named = next(
        definition["properties"]
        for definition in LOG_SCHEMA["$defs"].values()
        if definition["properties"].get("type", {}).get("enum") == [example["type"]]
    )
    variants = [(field, value, {**example, field: value}) for field in named for value in VALUES]
    disagreements = [
        (field, value)
        for field, value, line in variants
        if LOG_LINE.is_valid(line) != is_taken(line) and field not in FITTING
    ]
    assert disagreements == []


COUPONS: list[Any] = [*VALUES, "red", [1], {"a": 1}]


@pytest.mark.parametrize("field", [*LOG_SCHEMA["$defs"]["LoggedCoupon"]["properties"], "colour"])
def test_schema_and_reader_agree_on_the_coupons_of_the_log(field: str) -> None:
    lines = [
        {"type": "issue", "issue_id": "i", "user_id": "u", "occurred_at": 1, "coupon": {"coupon_id": "c", field: value}}
        for value in COUPONS
    ]
    assert [line["coupon"] for line in lines if LOG_LINE.is_valid(line) != is_taken(line)] == []


def test_a_breaking_change_of_one_type_of_line_is_named() -> None:
    other = copy.deepcopy(LOG_SCHEMA)
    del other["$defs"]["BrowseLine"]["properties"]["item"]
    other["$defs"]["CartLine"]["required"].append("event_id")
    assert breaking_changes(LOG_SCHEMA, LOG_SCHEMA) == []
    assert breaking_changes(LOG_SCHEMA, other) == [
        "$.item: the field was removed",
        "$.event_id: was optional, is required",
    ]

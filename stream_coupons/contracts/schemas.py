"""JSON Schemas of the topics, made from the types.

`schemas/<topic>.v1.schema.json` is what a person of another team reads; `core/messages/` is what decides. One more
is that of catalogue files, for editors.
Two things the files cannot say: a whole number written as 1.0 is an integer to JSON Schema but not to
the decoder, and base64 is not checked by validators.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from stream_coupons.contracts.docstrings import attribute_docs
from stream_coupons.core.messages import (
    campaign_changes,
    catalogue,
    decisions,
    inputs,
    learning,
    leases,
    lift,
    neighbours,
    results,
)
from stream_coupons.core.messages.fields import SCHEMA_VERSION
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.topics import Topic

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEFINITIONS = "#/$defs/"
MODULES = (campaign_changes, catalogue, decisions, inputs, leases, learning, lift, neighbours, results)
"""Modules that define message types."""

Schema = dict[str, Any]
CONDITIONS: Mapping[type[Struct], Schema] = {
    inputs.FeedbackEvent: {
        "if": {"properties": {"kind": {"enum": sorted(inputs.MONEY_KINDS)}}},
        "then": {"properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    }
}
"""Fields that messages require only where another field has certain values."""
Digits = Annotated[str, Meta(pattern="^-?[0-9]+$")]


class DeadLetterHeaders(Struct, frozen=True, kw_only=True):
    """The headers of a record of dead-letters; its key and value are the refused record's, byte for byte.

    With `digest` among the headers they are only its beginning: the record was too long.
    Kafka's headers are bytes: every value here is UTF-8 text, numbers in decimal digits. Other headers may follow.
    """

    reason: Annotated[Rejection, Meta(description="one code of a closed set: what was wrong")]
    detail: Annotated[str, Meta(max_length=1000, description="what a person needs to mend the sender")]
    topic: Annotated[str, Meta(min_length=1, description="where the record came in")]
    partition: Annotated[Digits, Meta(description="partition of that topic")]
    offset: Annotated[Digits, Meta(description="offset in that partition")]
    timestamp: Annotated[Digits, Meta(description="the record's own, UTC epoch milliseconds; -1 if it had none")]
    redriven: Annotated[str, Meta(description="partition:offset of the letter it was before")] | UnsetType = UNSET
    key_bytes: Annotated[Digits, Meta(description="length of the record's key, if the letter is cut")] | UnsetType = (
        field(default=UNSET, name="key-bytes")
    )
    value_bytes: (
        Annotated[Digits, Meta(description="length of the record's value, if the letter is cut")] | UnsetType
    ) = field(default=UNSET, name="value-bytes")
    digest: (
        Annotated[str, Meta(description="SHA-256 of topic, key and value in MessagePack, if the letter is cut")]
        | UnsetType
    ) = UNSET


def stem(topic: str) -> str:
    """Return the common prefix of the names of a topic's schema and examples."""
    return f"{topic}.v{SCHEMA_VERSION}"


def text_of(schema: Schema, examples: list[Any]) -> str:
    """Return the text of a schema's file."""
    shown = {"examples": examples} if examples else {}
    return json.dumps({**schema, **shown}, indent=2, ensure_ascii=False) + "\n"


def document(topic: Topic) -> Schema:
    """Return the schema of one topic's messages, or of the headers of dead-letters."""
    message = topic.message or DeadLetterHeaders
    definitions, _ = definitions_of(message)
    body = definitions.pop(message.__name__)
    schema: Schema = {
        "$schema": DIALECT,
        "$id": f"urn:stream-coupons:schema:{topic.name}:v{SCHEMA_VERSION}",
        "title": body.pop("title"),
        "description": body.pop("description"),
        "$comment": f"{'value' if topic.message else 'headers'} of {topic.name}, key {topic.key}",
        **body,
        **CONDITIONS.get(message, {}),
    }
    if definitions:
        schema["$defs"] = definitions
    return schema


def definitions_of(of: Any, modules: Sequence[ModuleType] = MODULES) -> tuple[dict[str, Schema], Schema]:
    """Return the schemas of all types within a type, by name, and the schema around them.

    Parameters
    ----------
    modules : sequence of module
        Those that define the types.
    """
    body = msgspec.json.schema(of, ref_template=DEFINITIONS + "{name}")
    # Ajv in strict mode refuses the keyword `discriminator`, which is OpenAPI's, and formats that it does not check.
    body = json.loads(json.dumps(body), object_hook=_for_ajv)
    definitions: dict[str, Schema] = body.pop("$defs", {})
    for name, definition in definitions.items():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
        if "properties" in definition:
            _describe(definition["properties"], attribute_docs(type_of(name, modules)))
        elif "prefixItems" in definition:
            of = type_of(name, modules)
            _describe(dict(zip(of.__struct_fields__, definition["prefixItems"], strict=True)), attribute_docs(of))
        version = definition.get("properties", {}).get("schema_version")
        if version is not None:
            version["const"] = SCHEMA_VERSION  # the decoder refuses every other one
    return definitions, body


def _for_ajv(node: Schema) -> Schema:
    if isinstance(node.get("format"), str):
        del node["format"]
    node.pop("discriminator", None)
    return node


def _describe(fields: dict[str, Schema], docs: Mapping[str, str]) -> None:
    """Put the docstrings of attributes before the descriptions of their types."""
    for name, text in docs.items():
        if name in fields:
            of_type = fields[name].get("description")
            fields[name]["description"] = f"{text.rstrip('.')}; {of_type}." if of_type else text


def type_of(name: str, modules: Sequence[ModuleType] = MODULES) -> type[Struct]:
    """Return the type that a definition of a schema is made from."""
    found: type[Struct] = next(
        (vars(module)[name] for module in modules if isinstance(vars(module).get(name), type)), DeadLetterHeaders
    )
    return found

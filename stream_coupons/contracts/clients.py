"""The topics that clients write and read, for other languages: an AsyncAPI 3 document and TypeScript types."""

import json
from collections.abc import Iterator

from stream_coupons.contracts.schemas import DEFINITIONS, DeadLetterHeaders, Schema, definitions_of
from stream_coupons.core.messages.fields import SCHEMA_VERSION
from stream_coupons.kafka import topics
from stream_coupons.kafka.topics import Cleanup, Topic

WRITTEN = (*topics.INPUTS, topics.CATALOG, topics.CAMPAIGNS, topics.CODES)
"""Topics that clients write."""
READ = (topics.ISSUES, topics.DECISIONS, topics.DEAD_LETTERS)
"""Topics that clients read."""
BINDING = {"bindingVersion": "0.5.0"}
SCALARS = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def documents() -> dict[str, str]:
    """Return the text of each file, by its name."""
    return {
        "asyncapi.json": json.dumps(asyncapi(), indent=2, ensure_ascii=False) + "\n",
        "types.ts": "\n".join(typescript()) + "\n",
    }


def asyncapi() -> Schema:
    """Return the AsyncAPI 3 document: a channel for each topic, and what the system does with it."""
    operations = {}
    for action, of_action in (("receive", WRITTEN), ("send", READ)):
        for topic in of_action:
            channel = {"$ref": f"#/channels/{topic.name}"}
            operations[f"{action}-{topic.name}"] = {"action": action, "channel": channel, "summary": topic.about}
    schemas = json.loads(json.dumps(_definitions()).replace(DEFINITIONS, "#/components/schemas/"))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "stream_coupons",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "Events of a shop in, coupons out. Operations are those of the system: it receives what a "
            "shop sends.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in (*WRITTEN, *READ)},
        "operations": operations,
        "components": {"schemas": schemas},
    }


def _channel(topic: Topic) -> Schema:
    name = (topic.message or DeadLetterHeaders).__name__
    key = {"type": "string", "description": topic.key}
    message: Schema = {"name": name, "bindings": {"kafka": {"key": key, **BINDING}}}
    message["payload" if topic.message else "headers"] = {"$ref": f"#/components/schemas/{name}"}
    configs: Schema = {"cleanup.policy": [topic.cleanup.value], "max.message.bytes": topic.max_message_bytes}
    if topic.cleanup is Cleanup.DELETE:
        configs["retention.ms"] = topic.retention_ms
    binding = {"topic": topic.name, "topicConfiguration": configs, **BINDING}
    return {
        "address": topic.name,
        "description": topic.about,
        "messages": {name: message},
        "bindings": {"kafka": binding},
    }


def typescript() -> Iterator[str]:
    """Yield the lines of the TypeScript types: one for each message and its parts, and the map of topics."""
    yield "// Written by `stream-coupons schemas write` from the message types."
    for name, schema in _definitions().items():
        yield from ("", f"/** {schema['description'].splitlines()[0]} */" if "description" in schema else "")
        if "properties" not in schema:
            yield f"export type {name} = {_type(schema)};"
            continue
        yield f"export interface {name} {{"
        for field, of_field in schema["properties"].items():
            if "description" in of_field:
                yield f"  /** {of_field['description'].replace('*/', '')} */"
            mark = "" if field in schema.get("required", ()) else "?"
            yield f"  {json.dumps(field)}{mark}: {_type(of_field)};"
        yield "}"
    yield from ("", "/** Values by topic; of dead-letters the headers. */", "export interface Topics {")
    for topic in (*WRITTEN, *READ):
        yield f"  {json.dumps(topic.name)}: {(topic.message or DeadLetterHeaders).__name__};"
    yield "}"


def _definitions() -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for topic in (*WRITTEN, *READ):
        found |= definitions_of(topic.message or DeadLetterHeaders)[0]
    return dict(sorted(found.items()))


def _type(schema: Schema) -> str:
    """Return the TypeScript type of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"].removeprefix(DEFINITIONS))
    if "anyOf" in schema:
        return " | ".join(map(_type, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        required = schema.get("minItems", 0)
        items = [_type(item) + ("?" if n >= required else "") for n, item in enumerate(schema["prefixItems"])]
        return f"[{', '.join(items)}]"
    if schema.get("type") == "array":
        return f"({_type(schema.get('items', {}))})[]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"{{ [name: string]: {_type(values) if isinstance(values, dict) else 'unknown'} }}"
    return SCALARS.get(schema.get("type", ""), "unknown")

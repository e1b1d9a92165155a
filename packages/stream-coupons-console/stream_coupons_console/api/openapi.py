"""OpenAPI 3.1 document of the HTTP API, made from the types of its operations."""

import inspect
import json
import re
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from stream_coupons.contracts import schemas
from stream_coupons.contracts.docstrings import attribute_docs
from stream_coupons.contracts.schemas import DEFINITIONS, Schema, definitions_of
from stream_coupons.core.messages.fields import SCHEMA_VERSION
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, OrderEvent
from stream_coupons.ops import campaign_states
from stream_coupons.ops.explain import candidate_verdicts, explanation, feature_text
from stream_coupons_console.api import problems, routes, views
from stream_coupons_console.api.problems import MEDIA_TYPE, PREFIX, Problem
from stream_coupons_console.api.routes import JSON, OPERATIONS, Operation, path_type

NAME = "openapi.json"
MODULES = (
    *schemas.MODULES, campaign_states, candidate_verdicts, explanation, feature_text, problems, routes, views
)  # fmt: skip
"""Modules that define the types of the API."""
EVENTS = {"browse": BrowseEvent, "cart": CartEvent, "order": OrderEvent}
ALWAYS = (400, 401, 403, 421)
"""Statuses of the problems that every operation may have: a wrong request, token, origin or host."""
COMPONENTS = "#/components/schemas/"


class _Document:
    """Collects the schemas of types while the operations are described."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def schema(self, of: Any) -> Schema:
        definitions, body = definitions_of(of, MODULES)
        self.definitions |= definitions
        return body

    def event(self) -> Schema:
        """Return the schema of an event with its kind."""
        kinds = [
            {"allOf": [self.schema(of), {"properties": {"kind": {"const": kind}}, "required": ["kind"]}]}
            for kind, of in EVENTS.items()
        ]
        return {"type": "object", "oneOf": kinds}

    def operation(self, one: Operation) -> Schema:
        summary, _, description = inspect.cleandoc(one.handler.__doc__ or "").partition("\n\n")
        names = re.findall("{([a-z_]+)}", one.path)
        in_path = [
            {"name": name, "in": "path", "required": True, "schema": self.schema(path_type(name))} for name in names
        ]
        responses = {str(status): self.response(status, of) for status, of in one.answers.items()}
        failures = {str(status): {"$ref": f"#/components/responses/{status}"} for status in (*ALWAYS, *one.problems)}
        found: Schema = {
            "operationId": one.handler.__name__,
            "summary": summary,
            "description": " ".join(description.split()),
            "parameters": [*in_path, *self.query(one)],
            "responses": responses | failures,
            "security": [{"token": []}] if one.changes else [{}, {"token": []}],
        }
        if one.body is not None:
            body = self.event() if one.body is dict else self.schema(one.body)
            found["requestBody"] = {"required": one.body is dict, "content": {JSON: {"schema": body}}}
        return found

    def query(self, one: Operation) -> list[Schema]:
        body = definitions_of(one.query, MODULES)[0][one.query.__name__]
        docs = attribute_docs(one.query)
        return [
            {"name": name, "in": "query", "description": docs[name], "schema": schema}
            for name, schema in body["properties"].items()
        ]

    def response(self, status: int, of: Any) -> Schema:
        found: Schema = {
            "description": HTTPStatus(status).phrase,
            "content": {JSON: {"schema": self.schema(of)}},
        }
        if status == 202:
            found["headers"] = {"Location": {"description": "path of the result", "schema": {"type": "string"}}}
        return found


def openapi() -> Schema:
    """Return the document."""
    found, paths = _Document(), dict[str, Schema]()
    for one in OPERATIONS:
        paths.setdefault(PREFIX + one.path, {})[one.method.lower()] = found.operation(one)
    problem = found.schema(Problem)
    statuses = sorted({*ALWAYS, *(status for one in OPERATIONS for status in one.problems)})
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "stream_coupons",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "Decisions on demand, coupons of shoppers, explanations, campaigns and results. Errors are "
            "problem details (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9470"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(found.definitions.items())),
            "responses": {
                str(status): {
                    "description": HTTPStatus(status).phrase,
                    "content": {MEDIA_TYPE: {"schema": problem}},
                }
                for status in statuses
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the token of `--token-file`"}
            },
        },
    }
    replaced: Schema = json.loads(json.dumps(document).replace(DEFINITIONS, COMPONENTS))
    return replaced


@cache
def text() -> str:
    """Return the text of the document."""
    return json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"


def texts(_: Path | None) -> dict[str, str]:
    """Return the text of the document by its file name, for `stream-coupons schemas`."""
    return {NAME: text()}

"""JSON Schema of the lines of a foreign log, made from their types, for `stream-coupons schemas`."""

import json
from pathlib import Path

from stream_coupons.contracts import schemas
from stream_coupons.contracts.schemas import DEFINITIONS, DIALECT, Schema, definitions_of, stem, text_of
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.fields import SCHEMA_VERSION, Context
from stream_coupons_lab.datasets import log_records
from stream_coupons_lab.datasets.log_records import LogLine

FOREIGN_LOG = "foreign-log"
MODULES = (*schemas.MODULES, log_records)
"""Modules that define the types of lines."""


def texts(examples: Path | None) -> dict[str, str]:
    """Return the text of the schema's file, by its name; lines of `foreign-log.v1.jsonl` become its examples."""
    source = examples / f"{stem(FOREIGN_LOG)}.jsonl" if examples else None
    lines = source.read_text(encoding="utf-8").splitlines() if source and source.is_file() else []
    return {f"{stem(FOREIGN_LOG)}.schema.json": text_of(log_document(), [json.loads(line) for line in lines])}


def log_document() -> Schema:
    """Return the schema of one line of a foreign log."""
    definitions, body = definitions_of(LogLine, MODULES)
    known, _ = definitions_of(Coupon)
    _, flat = definitions_of(Context)
    coupon = known.pop("Coupon")
    coupon["title"] = "LoggedCoupon"
    coupon["description"] = "A coupon: the fields of the catalogue, where null is missing, and any other flat keys."
    coupon["properties"] = {
        name: field if name == "coupon_id" or "anyOf" in field else _nullable(field)
        for name, field in coupon["properties"].items()
    }
    coupon["required"] = ["coupon_id"]
    described = definitions["IssueLine"]["properties"]["coupon"]
    described["anyOf"] = [{"$ref": DEFINITIONS + "LoggedCoupon"}, {"type": "null"}]
    return {
        "$schema": DIALECT,
        "$id": f"urn:stream-coupons:schema:{FOREIGN_LOG}:v{SCHEMA_VERSION}",
        "title": "ForeignLogLine",
        "description": "A line of the log of another system, for `evaluate`; times are epoch seconds or have a zone.",
        **body,
        "$defs": {**definitions, **known, "LoggedCoupon": coupon | flat},
    }


def _nullable(field: Schema) -> Schema:
    return {"anyOf": [field, {"type": "null"}], "description": field["description"]}

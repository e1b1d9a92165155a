"""The JSON Schema of catalogue files, for editors: the messages, but times may be texts, and other names are errors."""

from stream_coupons.contracts.schemas import DEFINITIONS, DIALECT, Schema, definitions_of
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.times import is_time
from stream_coupons.core.validation_hints import fields_of

NAME = "catalogue-file.v1.schema.json"
ISO_8601 = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?)?$"


def catalogue_schema() -> Schema:
    """Return the schema of a file with the sections `campaigns` and `coupons`, or of a list of one of them."""
    definitions: dict[str, Schema] = {}
    for kind in (Campaign, Coupon):
        definitions |= definitions_of(kind)[0]
        properties = definitions[kind.__name__]["properties"]
        definitions[kind.__name__]["additionalProperties"] = False
        for name, of_field in fields_of(kind).items():
            if is_time(of_field):
                properties[name] = _time(properties[name])
    of_campaign, of_coupon = ({"$ref": DEFINITIONS + kind.__name__} for kind in (Campaign, Coupon))
    return {
        "$schema": DIALECT,
        "title": "catalogue file",
        "description": "Campaigns and coupons, as `stream-coupons catalog push` reads them from YAML and JSON.",
        "properties": {
            "$schema": {"type": "string", "description": "This schema, for editors of JSON."},
            "campaigns": {
                "type": "array",
                "items": of_campaign,
                "description": "Budgets and times that coupons share.",
            },
            "coupons": {"type": "array", "items": of_coupon, "description": "Coupons, which may name a campaign."},
        },
        "additionalProperties": False,
        "items": {"if": {"required": ["coupon_id"]}, "then": of_coupon, "else": of_campaign},
        "$defs": definitions,
    }


def _time(number: Schema) -> Schema:
    """Return the schema of a time that is epoch seconds, or ISO 8601."""
    about = {key: number.pop(key) for key in ("description", "default") if key in number}
    about["description"] = about["description"].replace("UTC epoch seconds", "ISO 8601, or UTC epoch seconds")
    text: Schema = {"type": "string", "pattern": ISO_8601, "examples": ["2026-11-27T08:00"]}
    return {"anyOf": [number, text]} | about
